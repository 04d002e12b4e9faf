"""Keyed state: how a fold survives crashes, zombies and re-cut batches.

A state remembers, per shard, the position up to which that shard's events are folded in, and the
*outbox*: the effects of the shard's last commit on this key. State and outbox are written in one
compare-and-set, so

  * an event at or before the position is already in, and is not folded twice;
  * a batch that starts at or before the position is a batch that came again: the earlier try may
    have died
    between commit and delivery, so the outbox is emitted once more, merged with what is new;
  * a batch that starts behind the position proves that the outbox was delivered (the checkpoint
    moved), so
    the next commit may overwrite it.

Rejected: "effects first, then state" (a re-cut batch would leave orphans of pairings that never
were), and "seen means skip" (a crash between commit and delivery would lose the effects).

A revision is the state's own version. A state rebuilt from the log starts in the next epoch, far
above every revision of the last one, so that its effects win.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

from pipeline.core.changes import Effect, merge
from pipeline.core.events import PosEvent
from pipeline.core.outbox import pack, unpack
from pipeline.core.positions import Order

EPOCH_REVISIONS = 2**40
"""Revisions in one epoch: a commit a millisecond for 34 years."""
_MARK_BYTES = 256
"""A shard's name, a position of 129 digits and their attribute names."""
ITEM_BYTES_MAX = 350 * 1024
"""DynamoDB refuses items over 400 KB, keys and attribute names included.

The rest is room to spare.
"""


class StateKey(NamedTuple):
    """Which fold, and which of its keys.

    The parts are joined, percent-encoded, only at the edges.
    """

    fold: str
    parts: tuple[str, ...]


class ShardMark(NamedTuple):
    """How far one shard is folded in, and the packed effects of its last commit."""

    order: Order
    outbox: bytes


class KeyedState(NamedTuple):
    """The state of one key. Version 0 means that nothing is stored yet."""

    key: StateKey
    version: int = 0
    body: bytes = b""
    marks: Mapping[str, ShardMark] = MappingProxyType({})

    def size_bytes(self) -> int:
        """Measure what the item will weigh at most, but for attribute names."""
        size = len(self.body)
        for part in self.key.parts:
            size += 12 * len(part)  # four bytes a character, each percent-encoded
        for mark in self.marks.values():
            size += len(mark.outbox) + _MARK_BYTES
        return size


class Fold(Protocol):
    """A derived table: which events it reads, by which key, and how they change its body.

    Pure and total. `apply` takes events in arrival order and must give the same body however they
    are cut into calls. The body of a key never seen is b"". `table` names where the states live.
    """

    name: str
    table: str

    def key(self, event: PosEvent) -> tuple[str, ...] | None:
        """Return the key that an event belongs to; None if this fold does not read it."""

    def apply(
        self, key: tuple[str, ...], body: bytes, events: Sequence[PosEvent], revision: int
    ) -> tuple[bytes, Sequence[Effect]]:
        """Fold events in; return the new body and what changed, each effect with this revision."""


Sequenced: TypeAlias = tuple[Order, PosEvent]


class Work(NamedTuple):
    """One shard's events for one key, and where the batch that brought them starts.

    `delivered` is the position of the commit whose outbox an earlier round of this batch has
    delivered. Not a flag: after a lost race the outbox may be a successor's, which nobody has
    delivered yet. `count_max` is what fitted into that round, and one: beginning each round with
    all that is left would fold a hot key's batch over and over.
    """

    shard_id: str
    batch_start: Order
    events: Sequence[Sequenced]
    delivered: Order | None = None
    count_max: int | None = None


class Advanced(NamedTuple):
    """The outcome of folding one round.

    `state` is to be committed unless it is None; `effects` are to be delivered after that;
    `before` are effects of earlier commits for which this one's outbox has no room, this shard's or
    others', to be delivered *before* the commit; `rest` is left for another round, after delivery.
    """

    state: KeyedState | None
    effects: tuple[Effect, ...]
    before: tuple[Effect, ...] = ()
    rest: Sequence[Sequenced] = ()


def next_revision(version: int, epoch: int) -> int:
    """Number the next commit."""
    return max(version, epoch * EPOCH_REVISIONS) + 1


def advance(fold: Fold, state: KeyedState, work: Work, epoch: int, effects_max: int) -> Advanced:
    """Fold what is new of a shard's events into a state.

    See the module's text for why each part is there.
    """
    mark = state.marks.get(work.shard_id)
    pending: tuple[Effect, ...] = ()
    todo = work.events
    if mark is not None:
        todo = [item for item in todo if item[0] > mark.order]
        if work.batch_start <= mark.order != work.delivered:
            pending = unpack(mark.outbox)
    if not todo:
        return Advanced(None, pending)
    revision = next_revision(state.version, epoch)
    before: tuple[Effect, ...] = ()
    count = min(len(todo), work.count_max or len(todo))
    while True:  # halve until the outbox fits; a single event may exceed the limit
        events = [event for _, event in todo[:count]]
        body, produced = fold.apply(state.key.parts, state.body, events, revision)
        if len(pending) + len(produced) > effects_max:  # else it would grow with every crash
            before, pending = before + pending, ()
        effects = merge(pending, produced) if pending else tuple(produced)
        if len(effects) <= effects_max or count == 1:
            break
        count = (count + 1) // 2
    marks = {**state.marks, work.shard_id: ShardMark(todo[count - 1][0], pack(effects))}
    after = KeyedState(state.key, revision, body, marks)
    return _make_room(Advanced(after, effects, before, todo[count:]), after, work.shard_id)


def _make_room(advanced: Advanced, state: KeyedState, shard_id: str) -> Advanced:
    """Clear the other shards' outboxes if the item would grow too large; their positions stay."""
    if state.size_bytes() <= ITEM_BYTES_MAX:
        return advanced
    others = {s: mark for s, mark in state.marks.items() if s != shard_id and mark.outbox}
    theirs = [effect for mark in others.values() for effect in unpack(mark.outbox)]
    cleared = {s: mark._replace(outbox=b"") for s, mark in others.items()}
    roomier = state._replace(marks={**state.marks, **cleared})
    return advanced._replace(state=roomier, before=merge(advanced.before, theirs))
