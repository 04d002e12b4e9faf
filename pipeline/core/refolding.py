"""Refolding: what a key's state and its tables must say, by the change log alone.

Which rows. A state has folded in exactly those events of its key that stand at or before its marks,
and each of them had its row before the state was committed. So the rows at or before the marks,
folded anew, must give the state again. A row behind a mark is the consumer's to fold, unless the
consumer has *passed* it: the batch that held it is finished and does not come again. Then it was
skipped, and belongs in as well.

In which order. A shard's events are folded in the order of their positions, so a key that came
through one shard can be folded again exactly, late events and caps included. The interleaving of
several shards is not recorded anywhere. It does not matter to a sum, nor where no event came late
and no cap can have acted: then any order gives the combos that event time gives. Otherwise the
arrival times serve, and the result is a lawful one, but not the only one: it may replace a state
that is lost, but must not accuse one that is there.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    Effect,
    StockChanged,
    effect_key,
)
from pipeline.core.keyed_state import EPOCH_REVISIONS, Fold, KeyedState, ShardMark, StateKey
from pipeline.core.positions import Order
from pipeline.core.rules import Rules
from pipeline.core.step import event_of
from pipeline.core.stock import StockFold

Reach: TypeAlias = Mapping[str, Order]
"""By shard, the position up to which events are folded in, or will never come again."""

_ENTRIES_PER_EVENT = 2
"""A sale adds itself and at most one pair that it does not use up."""
_BYTES_PER_EVENT = 700
"""Of a body, beside its identifiers: two entries that may still grow."""


class Certainty(Enum):
    """How much of a refolded state is the only lawful answer."""

    ALL = "all"
    """The body, byte for byte, and what the tables show."""
    SHOWN = "shown"
    """What the tables show."""
    NONE = "none"


class History(NamedTuple):
    """The rows that make up a key's state, and which of their transactions came late.

    Rows beyond what is to be folded are left out.
    """

    rows: Collection[ChangeRecorded]
    late: Collection[str]


class Refolded(NamedTuple):
    """A key folded anew: its body, and the effects that show all of it, at one revision."""

    body: bytes
    effects: tuple[Effect, ...]
    certainty: Certainty


def order_of(row: ChangeRecorded) -> Order:
    """Return where a row's event stands in its shard."""
    return row.sequence, row.sub


def reach_of(state: KeyedState, passed: Reach) -> dict[str, Order]:
    """Join a state's marks with what the consumer has passed."""
    reach = {shard_id: mark.order for shard_id, mark in state.marks.items()}
    for shard_id, order in passed.items():
        reach[shard_id] = max(order, reach.get(shard_id, order))
    return reach


def is_within(row: ChangeRecorded, reach: Reach) -> bool:
    """Say whether a row stands at or before the reach of its shard."""
    order = reach.get(row.shard_id)
    return order is not None and order_of(row) <= order


def keys_of(row: ChangeRecorded, folds: Iterable[Fold]) -> list[StateKey]:
    """Name the states that a row's event belongs to."""
    event = event_of(row)
    found = [(fold.name, fold.key(event)) for fold in folds]
    return [StateKey(name, parts) for name, parts in found if parts is not None]


def refold(
    fold: Fold, key: StateKey, history: History, rules: Rules, revision: int = 1
) -> Refolded:
    """Fold a key's history, every effect with this revision."""
    certainty = _certainty(fold, history, rules)
    ordered = sorted(history.rows, key=_ORDERS[certainty])
    events = [event_of(row) for row in ordered]
    body, effects = fold.apply(key.parts, b"", events, revision)
    return Refolded(body, tuple(effects), certainty)


def _certainty(fold: Fold, history: History, rules: Rules) -> Certainty:
    rows = history.rows
    if fold.name == StockFold.name or len({row.shard_id for row in rows}) <= 1:
        return Certainty.ALL
    if history.late or len(rows) * _ENTRIES_PER_EVENT > rules.state_entries_max:
        return Certainty.NONE
    texts = sum(len(row.transaction_id) * 2 + len(row.product_id) for row in rows)
    bytes_max = len(rows) * _BYTES_PER_EVENT + 4 * texts
    return Certainty.SHOWN if bytes_max <= rules.state_bytes_max else Certainty.NONE


def _in_shard_order(row: ChangeRecorded) -> tuple[object, ...]:
    return row.shard_id, *order_of(row)


def _in_event_time(row: ChangeRecorded) -> tuple[object, ...]:
    return row.instant, row.change > 0, row.transaction_id


def _as_they_arrived(row: ChangeRecorded) -> tuple[object, ...]:
    return row.ingested_at, row.shard_id, *order_of(row)


_ORDERS: Mapping[Certainty, Callable[[ChangeRecorded], tuple[object, ...]]] = {
    Certainty.ALL: _in_shard_order,
    Certainty.SHOWN: _in_event_time,
    Certainty.NONE: _as_they_arrived,
}


def standing(effects: Iterable[Effect]) -> dict[tuple[str, ...], Effect]:
    """Take what tables show of effects: no revisions, no trace of the order of arrival."""
    shown: dict[tuple[str, ...], Effect] = {}
    for effect in effects:
        if isinstance(effect, ComboChanged):
            stands = effect.status is not ComboStatus.RETRACTED
        else:
            stands = isinstance(effect, StockChanged) or bool(effect.combo_ids or effect.late)
        if stands:
            shown[effect_key(effect)] = effect._replace(revision=0)
    return shown


def next_epoch(*seen: int) -> int:
    """Number a rebuilt state: the first revision of the epoch after every revision ever seen.

    The state's own version would do while it can be trusted; one that was lost or altered could
    number its effects below those that are out already, and they would be ignored everywhere.
    """
    return (max(seen, default=0) // EPOCH_REVISIONS + 1) * EPOCH_REVISIONS + 1


def rebuilt(
    state: KeyedState, anew: Refolded, rows: Iterable[ChangeRecorded], revision: int
) -> KeyedState:
    """Put a refolded body in a state's place.

    The marks never move back, and move on over what was skipped. The outboxes stay: should a
    consumer's batch come again, it emits effects of older revisions, which change nothing.
    """
    marks = dict(state.marks)
    for row in rows:
        mark = marks.get(row.shard_id, ShardMark(order_of(row), b""))
        marks[row.shard_id] = mark._replace(order=max(mark.order, order_of(row)))
    return KeyedState(state.key, revision, anew.body, marks)


def all_effects(anew: Refolded, found: Sequence[Effect], revision: int) -> list[Effect]:
    """Say everything of a rebuilt key: what is, and that whatever else was found is not."""
    said = {effect_key(effect) for effect in anew.effects}
    undone: list[Effect] = []
    for key, effect in standing(found).items():
        if key in said:
            continue
        if isinstance(effect, ComboChanged):
            retracted = ComboStatus.RETRACTED
            effect = effect._replace(quantity=0, voided=0, status=retracted, revision=revision)
        elif isinstance(effect, ChangeAnnotated):
            effect = effect._replace(combo_ids=(), combo_count=0, late=False, revision=revision)
        undone.append(effect)
    return [*anew.effects, *undone]
