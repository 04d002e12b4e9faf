"""The lines that the planted faults put in place of the product's own."""

from builtins import sorted as plainly_sorted
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from consumers import inventory
from consumers.engines.local import ShardReader
from consumers.inventory import InventoryHandler
from pipeline.bootstrap import inventory_steps
from pipeline.core.changes import Effect
from pipeline.core.claims import Holder, Verdict
from pipeline.core.combo_state import ComboState
from pipeline.core.combos import ComboFold, _move, _Report, _View
from pipeline.core.errors import SystemFault, TransientFault
from pipeline.core.events import PosEvent
from pipeline.core.keyed_state import Advanced, StateKey, Work, advance
from pipeline.core.pairing import Move
from pipeline.core.records import Batch, Record
from pipeline.core.step import Settlement, first_claims, read, settle_all
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.states import Commit
from pipeline.ports.streams import Start
from pipeline.runtime.inventory import InventorySteps

LATELY = 3
"""How many transactions the LRU remembers."""
CLAIM_LIFE_US = 100_000
RULES_CHANGE_S = 0.05
_build = inventory.build
_process: Any = InventorySteps.process
_record = InventorySteps._record
_claim = InventorySteps._claim
_decode = ComboState._decode
_handle = ShardReader._handle


# --------------------------------------------------------------------------------------- the steps
def effects_before_state(self: Any, todo: Mapping[StateKey, Work], publish: Any) -> Any:
    """Write first, then commit: whoever loses the race has written what never was."""
    states = self._backoff.gather("load", self._tables.states.load, {key: key for key in todo})
    advanced = {key: self._advance(states[key], work) for key, work in todo.items()}
    for each in advanced.values():
        self._write([*each.before, *each.effects])
        publish(each.before)
    commits = {
        key: Commit(each.state, states[key].version)
        for key, each in advanced.items()
        if each.state is not None
    }
    won = self._backoff.gather("commit", self._tables.states.commit, commits)
    return {key: each for key, each in advanced.items() if won.get(key, True)}


def facts_after_state(self: Any, batch: Any) -> Any:
    """Record rows only once the states are committed and written."""
    accepted: list[Any] = []

    def later(_: Any, deliveries: Sequence[Any]) -> Settlement:
        accepted.extend(deliveries)
        return Settlement(list(deliveries), dict.fromkeys(Verdict, 0), [], [])

    folding = self._folding
    late = _Instead(folding, run=lambda *args: (folding.run(*args), _record(self, accepted))[0])
    return _process(_Instead(self, _record=lambda ds: later(self, ds), _folding=late), batch)


class _Instead:
    """An object with some attributes replaced."""

    def __init__(self, instead_of: Any, **attributes: Any) -> None:
        self.__dict__.update(attributes)
        self._instead_of = instead_of

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instead_of, name)


def claims_skipped(self: Any, deliveries: Sequence[Any]) -> Settlement:
    """Where the first claim of a batch is there already, take the others for granted."""
    offers = list(first_claims(deliveries).values())[:1]
    held = self._backoff.gather(
        "claim", self._ports.claims.claim, {claim.claim_id: claim for claim in offers}
    )
    if (
        not offers
        or held[offers[0].claim_id].fresh
        or held[offers[0].claim_id].position != (offers[0].position)
    ):
        return _claim(self, deliveries)
    holders = {
        name: Holder(claim.fingerprint, claim.position)
        for name, claim in first_claims(deliveries).items()
    }
    return settle_all(deliveries, holders, lambda claim: claim.claim_id)


def choke_on_refusals(self: Any, batch: Any) -> Any:
    """Take a record that cannot be read for a fault of the system."""
    if read(batch, self._rules).refusals:
        raise TransientFault("cannot read this")
    return _process(self, batch)


def build_that_asks_for_the_warehouse(settings: Any, ports: Any, clock: Any, start: Any) -> Any:
    """Let the inventory look at a sink before each batch."""
    handler = _build(settings, ports, clock, start)

    def handle(batch: Batch) -> Any:
        ports.warehouse.position("etl", batch.shard_id)
        return InventoryHandler.handle(handler, batch)

    return _Instead(handler, handle=handle)


def quarantine_with_the_next_batch(self: Any, batch: Any) -> Any:
    """Hold refused records back until another batch comes."""
    held = self.__dict__.setdefault("held", [])
    quarantine = self._ports.quarantine
    if held:
        quarantine.put(list(held))
        held.clear()
    later = _Instead(quarantine, put=lambda refusals: held.extend(refusals) or ())
    ports = _Instead(self._ports, quarantine=later)
    return _process(_Instead(self, _ports=ports), batch)


def publish_with_the_next_batch(self: Any, batch: Any) -> Any:
    """Hold facts back until another batch comes; the checkpoint does not wait for them."""
    held = self.__dict__.setdefault("held", [])
    self._publish(list(held))
    held.clear()
    return _process(_Instead(self, _publish=held.extend), batch)


def build_under_other_rules(settings: Any, ports: Any, clock: Any, start: Any) -> Any:
    """Give workers that start later another window; the start-up check is there to refuse it."""
    return _build(_changed(settings, clock), ports, clock, start)


def build_unchecked(settings: Any, ports: Any, clock: Any, start: Any) -> Any:
    """The same, with nobody to refuse it."""
    return InventoryHandler(inventory_steps(_changed(settings, clock), 0, ports, clock))


def _changed(settings: Any, clock: Any) -> Any:
    if clock.monotonic() < RULES_CHANGE_S:
        return settings
    return settings.model_copy(update={"combo_window": timedelta(seconds=1)})


# -------------------------------------------------------------------------------------- the states
def positions_ignored(fold: Any, state: Any, work: Work, epoch: int, effects_max: int) -> Advanced:
    """Fold whatever a batch brings, taken in before or not."""
    mine = state.marks.get(work.shard_id)
    if mine is None:
        return advance(fold, state, work, epoch, effects_max)
    blank = mine._replace(order=(-1, -1))
    forgetful = state._replace(marks={**state.marks, work.shard_id: blank})
    done = advance(fold, forgetful, work, epoch, effects_max)
    if done.state is None:
        return done
    after = done.state.marks[work.shard_id]
    after = after._replace(order=max(after.order, mine.order))
    marks = {**done.state.marks, work.shard_id: after}
    return done._replace(state=done.state._replace(marks=marks))


def commit_anyway(self: Any, commits: Sequence[Commit]) -> Mapping[StateKey, bool]:
    """Write whatever is offered."""
    for state, _ in commits:
        self.items[state.key] = state
    return {state.key: True for state, _ in commits}


class AsText(int):
    """A sequence number that compares as a string does."""

    def __lt__(self, other: int) -> bool:
        return str(int(self)) < str(int(other))

    def __gt__(self, other: int) -> bool:
        return str(int(self)) > str(int(other))

    def __le__(self, other: int) -> bool:
        return not self > other

    def __ge__(self, other: int) -> bool:
        return not self < other


order_as_text = property(lambda self: (AsText(self.sequence), self.sub))


# -------------------------------------------------------------------------------------- the tables
def keep_latest(held: Any, offered: Any) -> Any:
    """Let the last writer win."""
    return offered


def lately_seen(self: Any, claims: Sequence[Any]) -> Mapping[str, Holder]:
    """Remember only the last few transactions."""
    answers = {}
    for claim in claims:
        fresh = claim.claim_id not in self.items
        held = self.items.setdefault(claim.claim_id, claim)
        answers[claim.claim_id] = Holder(held.fingerprint, held.position, fresh)
        for name in list(self.items)[:-LATELY]:
            del self.items[name]
    return answers


def soon_expired(self: Any, claims: Sequence[Any]) -> Mapping[str, Holder]:
    """Let claims expire long before their resends do."""
    newest = max((claim.arrival for claim in claims), default=0)
    for name, claim in list(self.items.items()):
        if claim.arrival < newest - CLAIM_LIFE_US:
            del self.items[name]
    answers = {}
    for claim in claims:
        fresh = claim.claim_id not in self.items
        held = self.items.setdefault(claim.claim_id, claim)
        answers[claim.claim_id] = Holder(held.fingerprint, held.position, fresh)
    return answers


def position_elsewhere(self: Any, consumer: str, shard_id: str) -> Any:
    """Answer from a file beside the warehouse, which no snapshot holds."""
    beside = self.__dict__.setdefault("beside", {})
    key = consumer, shard_id
    found = self.positions.get(key)
    if found is not None:
        beside[key] = max(found, beside.get(key, found))
    return beside.get(key)


def fill_anyway(self: Any, entry: Any, level: Any) -> None:
    """Keep whatever came last."""
    self.items[entry] = level


# -------------------------------------------------------------------------------------- the engine
def skip_what_fails(self: Any, records: Sequence[Record], behind_ms: int) -> Checkpoint:
    """Leave out a batch that failed, so that the shard goes on."""
    try:
        return _handle(self, records, behind_ms)
    except SystemFault:
        last = records[-1].position.sequence
        found: Checkpoint = self._advance(Checkpoint(Start("AFTER_SEQUENCE_NUMBER", last)))
        return found


def later_half_first(self: Any, records: Sequence[Record], behind_ms: int) -> Checkpoint:
    """Handle two batches at once, of which the later one is quicker."""
    middle = len(records) // 2
    for half in (records[middle:], records[:middle]):
        if half:
            shard = self.shard
            self._handler.handle(Batch(shard.shard_id, half, shard.hash_range))
    last = records[-1].position.sequence
    found: Checkpoint = self._advance(Checkpoint(Start("AFTER_SEQUENCE_NUMBER", last)))
    return found


# ---------------------------------------------------------------------------------------- the fold
def moves_unsorted(items: Any, **how: Any) -> list[Any]:
    """Leave events in the order in which they came."""
    found = list(items)
    return found if found and isinstance(found[0], Move) else plainly_sorted(found, **how)


def forget_settled(self: Any, gone: Any) -> None:
    """Keep no list of what left the accumulator."""


def frontier_recomputed(self: Any, body: bytes) -> None:
    """Take the frontier from the events that are left."""
    _decode(self, body)
    newest = max((move.instant for move in self.suffix), default=0)
    self.frontier = max(newest - self._rules.allowed_lateness_us, 0)


def cap_per_batch(
    self: ComboFold, key: tuple[str, ...], body: bytes, events: Sequence[PosEvent], revision: int
) -> tuple[bytes, Sequence[Effect]]:
    """Look at the caps when all events are in."""
    state = ComboState(self._rules, key[0], body)
    report, view = _Report(self._rules, key, revision), _View(state)
    for event in events:
        move = _move(event)
        if state.insert(move):
            view.fresh.append(move)
        else:
            report.late(move)
    report.differences(view)
    state.settle()
    if state.exceeds():
        state.shrink()
    return state.encode(), tuple(report.effects.values())
