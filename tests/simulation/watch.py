"""What is checked at every step: nothing here waits for the end of a run.

A claim never changes hands. Revisions never go back, in any table or sink. No checkpoint moves past
an effect that is not durable. The counts of a batch are those of its records, one by one. The order
in which the states took events in is noted too, for the checks at the end: only it decides what
was late.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.bootstrap import MemoryPorts
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    DeliveryRefused,
    Effect,
    FactRejected,
    effect_key,
    from_wire,
)
from pipeline.core.keyed_state import StateKey
from pipeline.core.outbox import unpack
from pipeline.core.positions import Order, Position
from pipeline.core.records import Batch
from pipeline.core.rules import Rules
from pipeline.ports.checkpoints import Checkpoint
from pipeline.runtime.handler import BatchReport
from tests.reference_events import Fact
from tests.simulation.ledger import Entry, Ledger, Violation, flat, keys_of

COUNTED = {"accepted", "duplicate", "conflict", "rejected"}


class Folded(NamedTuple):
    """One commit: a shard's events behind one position and up to another are in the state."""

    shard_id: str
    behind: tuple[int, int]
    upto: tuple[int, int]


class Noted:
    """Facts that were seen somewhere once: deliveries by place, and each effect's newest revision.

    A delivery is accepted or refused, and never the one and then the other.
    """

    def __init__(self) -> None:
        self.rows: set[Position] = set()
        self.refused: set[Position] = set()
        self.newest: dict[tuple[str, ...], int] = {}

    def note(self, fact: Any) -> None:
        """Remember a fact."""
        if isinstance(fact, ChangeRecorded):
            self._add(self.rows, self.refused, fact)
        elif isinstance(fact, DeliveryRefused):
            self._add(self.refused, self.rows, fact)
        elif not isinstance(fact, FactRejected):
            key = effect_key(fact)
            self.newest[key] = max(fact.revision, self.newest.get(key, 0))

    @staticmethod
    def _add(seen: set[Position], never: set[Position], fact: Any) -> None:
        place = _place(fact)
        if place in never:
            raise Violation(f"{place} was both accepted and refused: {fact}")
        seen.add(place)

    def holds(self, fact: Any) -> bool:
        """Say whether this fact, or a newer one on the same thing, was seen."""
        if isinstance(fact, ChangeRecorded | DeliveryRefused):
            return _place(fact) in (self.rows if isinstance(fact, ChangeRecorded) else self.refused)
        newest = self.newest.get(effect_key(fact), 0)
        return newest >= int(fact.revision)


def _place(fact: ChangeRecorded | DeliveryRefused) -> Position:
    return Position("", fact.shard_id, fact.sequence, fact.sub)


class Published(Noted):
    """What is on the stream of facts."""

    def __init__(self, ports: MemoryPorts) -> None:
        super().__init__()
        self._stream, self._seen = ports.changes, dict[str, int]()

    def look(self) -> "Published":
        """Read on to the tip."""
        for shard_id, records in self._stream.records.items():
            for record in records[self._seen.get(shard_id, 0) :]:
                self.note(from_wire(record.data))
            self._seen[shard_id] = len(records)
        return self


class Watch:
    """Look at the tables before and after each act."""

    def __init__(self, ports: MemoryPorts, ledger: Ledger, rules: Rules) -> None:
        self._ports, self._ledger, self._rules = ports, ledger, rules
        self._claimed: dict[str, Position] = {}
        self._checked: dict[tuple[str, str], int] = {}
        self.published, self._loaded = Published(ports), Noted()
        self.folded: dict[StateKey, list[Folded]] = {}
        self.levels: dict[tuple[tuple[str, ...], int], int] = {}
        self.counts: Counter[str] = Counter()

    def act(self, name: str, method: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Let one call act, looking on."""
        before = self._revisions(name, args)
        marks = self._marks(args[0]) if name == "states.commit" else {}
        answer = method(*args)
        for key, revision in self._revisions(name, args).items():
            if revision < before[key]:
                raise Violation(f"the revision of {key} went back: {before[key]} to {revision}")
        if name == "claims.claim":
            self._claims(answer)
        elif name == "states.commit":
            self._commits(args[0], answer, before, marks)
        elif name == "warehouse.load":
            for fact in args[0].facts:
                self._loaded.note(fact)
        elif name == "checkpoints.advance":
            self._checkpoint(*args)
        return answer

    # -------------------------------------------------------------------------------- revisions
    def _revisions(self, name: str, args: tuple[Any, ...]) -> dict[Any, int]:
        ports = self._ports
        items: Any = args[0] if args else ()
        found: dict[Any, Any] = {}
        if name == "states.commit":
            found = {c.state.key: ports.states.items.get(c.state.key) for c in items}
            return {key: state.version if state else 0 for key, state in found.items()}
        if name == "change_log.annotate":
            found = {
                k: ports.change_log.annotations.get(k)
                for k in [(note.location, note.transaction_id) for note in items]
            }
        elif name == "combos.upsert":
            found = {c.combo_id: ports.combos.items.get(c.combo_id) for c in items}
        elif name == "warehouse.load":
            told = ChangeRecorded, DeliveryRefused
            effects = [fact for fact in items.facts if not isinstance(fact, told)]
            found = {k: ports.warehouse.effects.get(k) for k in map(effect_key, effects)}
        elif name == "cache.invalidate":
            found = {item.entry: ports.cache.get(item.entry) for item in items}
        elif name == "cache.fill":
            found = {items: ports.cache.get(items)}
        return {key: held.revision if held else 0 for key, held in found.items()}

    def _claims(self, holders: Mapping[str, Any]) -> None:
        for name, holder in holders.items():
            first = self._claimed.setdefault(name, holder.position)
            if holder.position != first:
                raise Violation(f"the claim on {name} changed hands: {first}, {holder.position}")

    # ------------------------------------------------------------------------------------ states
    def _marks(self, commits: Iterable[Any]) -> dict[StateKey, Mapping[str, Any]]:
        stored = self._ports.states.items
        return {c.state.key: stored[c.state.key].marks for c in commits if c.state.key in stored}

    def _commits(
        self,
        commits: Iterable[Any],
        won: Mapping[StateKey, bool],
        before: Mapping[StateKey, int],
        marks: Mapping[StateKey, Mapping[str, Any]],
    ) -> None:
        for state, _ in commits:
            if not won[state.key]:
                continue
            if state.version <= before[state.key]:
                raise Violation(f"{state.key} was overwritten at version {before[state.key]}")
            if state.key.fold == "stock":
                self.levels[state.key.parts, state.version] = int(state.body)
            old = marks.get(state.key, {})
            for shard_id, mark in state.marks.items():
                behind = old[shard_id].order if shard_id in old else (-1, -1)
                if mark.order < behind:
                    raise Violation(f"{state.key} went back in {shard_id} to {mark.order}")
                if mark.order != behind:
                    step = Folded(shard_id, tuple(behind), tuple(mark.order))
                    self.folded.setdefault(state.key, []).append(step)

    # ------------------------------------------------------------------------------- checkpoints
    def _checkpoint(self, consumer: str, shard_id: str, owner: str, to: Checkpoint) -> None:
        upto = to.start.at if to.start.kind == "AFTER_SEQUENCE_NUMBER" else 0
        begun = self._checked.get((consumer, shard_id), 0)
        if consumer == "inventory":
            for entry in flat(self._ledger.shard(shard_id)[begun:upto]):
                self._durable(entry)
        elif consumer == "etl":
            for record in self._ports.changes.records[shard_id][begun:upto]:
                self._was_loaded(from_wire(record.data))
        self._checked[consumer, shard_id] = max(begun, upto)

    def _durable(self, entry: Entry) -> None:
        """Demand everything that an event implies."""
        ports, verdict, where = self._ports, self._ledger.verdict(entry), entry.position
        if verdict in ("rejected", "conflict") and (verdict, where) not in ports.quarantine.items:
            raise Violation(f"the checkpoint passed {where}, not yet in quarantine: {verdict}")
        if verdict != "accepted" or not isinstance(entry.meaning, Fact):
            if where._replace(stream="") not in self.published.look().refused:
                raise Violation(f"the checkpoint passed {where}, of which nobody is told")
            return
        fact = entry.meaning
        row = ports.change_log.rows.get((fact.location, fact.transaction_id))
        if row is None or (row.shard_id, row.sequence, row.sub) != where[1:]:
            raise Violation(f"the checkpoint passed {where}, which has no row")
        if where._replace(stream="") not in self.published.look().rows:
            raise Violation(f"the checkpoint passed {where}, whose row is not published")
        for fold, parts in keys_of(fact, self._rules):
            self._folded(StateKey(fold, parts), entry)

    def _folded(self, key: StateKey, entry: Entry) -> None:
        state, shard_id = self._ports.states.items.get(key), entry.position.shard_id
        order: Order = entry.order
        mark = state.marks.get(shard_id) if state else None
        if mark is None or mark.order < order:
            raise Violation(f"the checkpoint passed {entry.position}, not folded into {key}")
        upto = self._ports.checkpoints.items["inventory", shard_id][1].start.at
        if mark.order[0] > upto:
            return  # a later batch is at work: what its outbox holds is not promised yet
        for effect in unpack(mark.outbox):
            if not self._is_written(effect):
                raise Violation(f"the checkpoint passed {entry.position}; not written: {effect}")
            if not self.published.holds(effect):
                raise Violation(f"the checkpoint passed {entry.position}; unpublished: {effect}")

    def _is_written(self, effect: Effect) -> bool:
        held: Effect | None = effect
        if isinstance(effect, ComboChanged):
            held = self._ports.combos.items.get(effect.combo_id)
        elif isinstance(effect, ChangeAnnotated):
            key = effect.location, effect.transaction_id
            held = self._ports.change_log.annotations.get(key)
        return held is not None and held.revision >= effect.revision

    def _was_loaded(self, fact: Any) -> None:
        """Demand that a fact was loaded once; a restored warehouse is behind its checkpoints."""
        if not isinstance(fact, FactRejected) and not self._loaded.holds(fact):
            raise Violation(f"the etl checkpoint passed a fact that was not loaded: {fact}")

    # ------------------------------------------------------------------------------------ batches
    def handled(self, batch: Batch, report: BatchReport) -> list[str]:
        """Compare the counts of a finished batch with its records; return the verdicts."""
        first, last = batch.records[0].position, batch.records[-1].position
        records = self._ledger.shard(batch.shard_id)[first.sequence - 1 : last.sequence]
        verdicts = [self._ledger.verdict(entry) for entry in flat(records)]
        wanted = Counter(verdicts) + Counter(read=len(verdicts))
        wanted["dropped"] = sum(not record for record in records)
        counts = {name: report.counts[name] for name in {*COUNTED, "read", "dropped"}}
        if +Counter(counts) != +wanted:
            raise Violation(f"counts of {first} to {last}: {counts}, should be {dict(wanted)}")
        self.counts.update(verdicts)
        return verdicts
