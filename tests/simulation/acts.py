"""What is done to the installation from outside: records put, reshards, outages, rebuilds.

The acts of an operator come with the operator's duties. Whoever restores the warehouse starts the
loaders again that he knows of; those that sleep through it wake with a batch that does not join on,
and must not move the position past the gap. Whoever rebuilds the states stops the fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.adapters.memory import MemoryStream
from pipeline.bootstrap import folds
from pipeline.core.changes import (
    ChangeAnnotated,
    ComboChanged,
    Effect,
    fact_partition_key,
    merge,
    to_wire,
)
from pipeline.core.events import PosEvent
from pipeline.core.keyed_state import KeyedState, next_revision
from pipeline.core.records import HashRange, UserRecord, hash_key, write_aggregate
from pipeline.ports.streams import Message, Shard, open_shards
from tests.simulation.ledger import flat
from tests.simulation.traffic import FOREIGN, Put

if TYPE_CHECKING:
    from tests.simulation.world import World


class Acts:
    """Acts upon one world."""

    def __init__(self, world: World) -> None:
        self._world, self._ports, self._rng = world, world.ports, world.rng
        self._saved: tuple[dict[Any, Any], ...] | None = None

    def act(self, name: str) -> None:
        """Do one by its name."""
        getattr(self, f"_{name}")()

    # -------------------------------------------------------------------------------- the streams
    def put(self, put: Put) -> None:
        """Put records on the stream as their producer would; now and then a stranger's fact too."""
        open_shards = _open(self._ports.events)
        explicit = None
        if put.place is not None:
            owned = open_shards[int(put.place * len(open_shards))].hash_range
            explicit = self._rng.randint(owned.start, owned.end)
        data = put.data[0]
        if put.aggregated:
            data = self._aggregate(put, explicit, [shard.hash_range for shard in open_shards])
        self._ports.events.publish([Message(data, put.key, explicit)])
        names = ", ".join(map(repr, put.data))
        self._world.tell("put", f"{names}{' as an aggregate' if put.aggregated else ''}")
        if self._rng.random() < 0.02:
            self._ports.changes.publish([Message(self._rng.choice(FOREIGN), "stranger")])

    def _aggregate(self, put: Put, explicit: int | None, ranges: list[HashRange]) -> bytes:
        members = [UserRecord(put.key, data, explicit) for data in put.data]
        wanted = hash_key(put.key) if explicit is None else explicit
        foreign = [owned.start for owned in ranges if not owned.holds(wanted)]
        if put.stale and foreign:
            members[-1] = members[-1]._replace(explicit_hash_key=foreign[0])
        return write_aggregate(members)

    def _reshard(self) -> None:
        stream = self._rng.choice((self._ports.events, self._ports.events, self._ports.changes))
        shards = _open(stream)
        at = self._rng.randrange(len(shards))
        if at and self._rng.random() < 0.5:
            low, high = shards[at - 1].shard_id, shards[at].shard_id
            child = stream.merge(low, high)
            self._world.happen("merge", f"{stream.name}: {low}, {high} into {child.shard_id}")
        else:
            stream.split(shards[at].shard_id)
            self._world.happen("split", f"{stream.name}: {shards[at].shard_id}")

    # ------------------------------------------------------------------------------- the systems
    def _outage(self) -> None:
        port = self._rng.choice(("warehouse", "cache", "warehouse", "cache", "states", "changes"))
        until = self._world.scheduler.now_s + self._rng.choice((5, 70, 900))
        self._world.chaos.down_until[port] = until
        self._world.happen("outage", f"{port} until {until:.3f}")

    def _snapshot(self) -> None:
        self._saved = tuple(map(dict, self._tables()))

    def _tables(self) -> tuple[dict[Any, Any], ...]:
        held = self._ports.warehouse
        return held.changes, held.effects, held.positions

    def _restore(self) -> None:
        """Put yesterday's warehouse back; the loaders that own a shard start again."""
        if self._saved is None:
            return
        self._stop("etl", zombies=False)
        for table, kept in zip(self._tables(), self._saved, strict=True):
            table.clear()
            table.update(kept)
        self._world.happen("restore", "the warehouse, from a snapshot")

    def _rebuild(self) -> None:
        """Fold every state anew from the log, in the next epoch, with the fleet stopped."""
        self._stop("inventory")
        states = self._ports.states
        if states.pinned is None:
            return
        epoch = states.pinned.epoch + 1
        states.pinned = states.pinned._replace(epoch=epoch)
        for key, state in list(states.items.items()):
            states.items[key] = self._folded_anew(state, next_revision(0, epoch))
        self._world.happen("rebuild", f"all states, epoch {epoch}")

    def _folded_anew(self, state: KeyedState, revision: int) -> KeyedState:
        """Fold one state's events and deliver what they show now."""
        fold = next(f for f in folds(self._world.rules) if f.name == state.key.fold)
        body, effects = b"", tuple[Effect, ...]()
        for event in self._log(state):
            body, produced = fold.apply(state.key.parts, body, [event], revision)
            effects = merge(effects, produced)
        if fold.name == "stock":
            self._world.watch.levels[state.key.parts, revision] = int(body)
        ports = self._ports
        ports.combos.upsert([e for e in effects if isinstance(e, ComboChanged)])
        ports.change_log.annotate([e for e in effects if isinstance(e, ChangeAnnotated)])
        ports.changes.publish([Message(to_wire(e), fact_partition_key(e)) for e in effects])
        return KeyedState(state.key, revision, body, state.marks)

    def _log(self, state: KeyedState) -> list[PosEvent]:
        """List the events that were folded into a state, in that order."""
        world, found = self._world, []
        claims = {claim.position: claim.event for claim in self._ports.claims.items.values()}
        fold = next(f for f in folds(world.rules) if f.name == state.key.fold)
        for shard_id, behind, upto in world.watch.folded.get(state.key, ()):
            for entry in flat(world.ledger.shard(shard_id)):
                event = claims.get(entry.position)
                if event is None or not behind < entry.order <= upto:
                    continue
                if fold.key(event) == state.key.parts:
                    found.append(event)
        return found

    def _stop(self, consumer: str, *, zombies: bool = True) -> None:
        owners = self._world.slots.values()
        for task in list(self._world.scheduler.tasks):
            if task.name.startswith(consumer) and (zombies or task in owners):
                self._world.scheduler.kill(task)
        self._world.finished[consumer].clear()  # a fleet that starts looks at every shard


def _open(stream: MemoryStream) -> list[Shard]:
    """List the shards that still take records, by hash key."""
    return sorted(open_shards(stream.shards()), key=lambda shard: shard.hash_range.start)
