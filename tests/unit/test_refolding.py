"""States folded anew from rows: which rows, in which order, and how certain the answer is."""

import random  # noqa: TID251 - seeded
from collections.abc import Sequence

import pytest
from hypothesis import given

from pipeline.core.changes import ChangeAnnotated, ChangeRecorded, ComboStatus, Effect, effect_key
from pipeline.core.combos import ComboFold
from pipeline.core.events import PosEvent
from pipeline.core.keyed_state import EPOCH_REVISIONS, KeyedState, ShardMark, StateKey
from pipeline.core.positions import Position
from pipeline.core.records import Record
from pipeline.core.refolding import (
    Certainty,
    History,
    all_effects,
    is_within,
    next_epoch,
    reach_of,
    rebuilt,
    refold,
    standing,
)
from pipeline.core.rules import Rules
from pipeline.core.step import claim_of, row_of
from pipeline.core.stock import StockFold
from tests.unit.traffic import ARRIVAL, KEY, RULES, SHOP, jacket, pants, traffic

COMBOS, STOCK = StateKey("combos", KEY), StateKey("stock", (SHOP, "J1"))


def rows(events: Sequence[PosEvent], shards: int = 1) -> list[ChangeRecorded]:
    """Write events as rows in this order, over shards in turn."""
    found = []
    for at, e in enumerate(events):
        record = Record(b"", Position("s", f"shard-{at % shards}", at + 1), ARRIVAL + at)
        found.append(row_of(claim_of(e, record, RULES)))
    return found


def one_by_one(events: Sequence[PosEvent], rules: Rules = RULES) -> tuple[bytes, list[Effect]]:
    """Fold events as a shard would bring them; return the body and what was said last."""
    fold, body = ComboFold(rules), b""
    said: dict[tuple[str, ...], Effect] = {}
    for revision, event in enumerate(events, 1):
        body, effects = fold.apply(KEY, body, [event], revision)
        said |= {effect_key(effect): effect for effect in effects}
    return body, list(said.values())


@given(traffic())
def test_one_shard_is_folded_again_exactly(events: list[PosEvent]) -> None:
    shuffled = rows(events)
    random.Random(1).shuffle(shuffled)
    anew = refold(ComboFold(RULES), COMBOS, History(shuffled, ()), RULES)
    body, effects = one_by_one(events)
    assert anew.certainty is Certainty.ALL
    if events:
        assert (anew.body, standing(anew.effects)) == (body, standing(effects))


@given(traffic())
def test_order_of_shards_does_not_matter_where_nothing_is_late(events: list[PosEvent]) -> None:
    anew = refold(ComboFold(RULES), COMBOS, History(rows(events, shards=3), ()), RULES)
    _, effects = one_by_one(events)
    assert standing(anew.effects) == standing(effects)


@pytest.mark.parametrize(
    ("shards", "late", "entries_max", "certainty"),
    [
        (1, True, 1, Certainty.ALL),
        (2, False, 1_000, Certainty.SHOWN),
        (2, True, 1_000, Certainty.NONE),
        (2, False, 3, Certainty.NONE),
    ],
)
def test_certainty_is_that_of_the_order(
    shards: int, late: bool, entries_max: int, certainty: Certainty
) -> None:
    there = rows([jacket(0, "j"), pants(5, "p")], shards)
    rules = Rules(state_entries_max=entries_max)
    history = History(there, {"j"} if late else ())
    assert refold(ComboFold(rules), COMBOS, history, rules).certainty is certainty


def test_sum_is_certain_in_any_order() -> None:
    there = rows([jacket(0, "a", 2), jacket(5, "b", 3)], shards=2)
    anew = refold(StockFold(), STOCK, History(there, {"a"}), RULES)
    assert (anew.body, anew.certainty) == (b"-5", Certainty.ALL)


def test_reach_is_the_further_of_mark_and_what_was_passed() -> None:
    state = KeyedState(STOCK, 3, b"", {"a": ShardMark((5, 0), b""), "b": ShardMark((5, 0), b"")})
    reach = reach_of(state, {"b": (9, 0), "c": (2, 1)})
    assert reach == {"a": (5, 0), "b": (9, 0), "c": (2, 1)}


@pytest.mark.parametrize(("sequence", "within"), [(4, True), (5, True), (6, False)])
def test_row_is_within_up_to_the_reach_of_its_shard(sequence: int, within: bool) -> None:
    (row,) = rows([jacket(0, "j")])
    assert is_within(row._replace(sequence=sequence), {"shard-0": (5, 0)}) is within
    assert not is_within(row, {"shard-1": (5, 0)})


@pytest.mark.parametrize(
    ("seen", "epoch"), [((), 1), ((0,), 1), ((7, EPOCH_REVISIONS + 4, 2), 2), ((2**50,), 1025)]
)
def test_epoch_is_behind_every_revision_seen(seen: tuple[int, ...], epoch: int) -> None:
    assert next_epoch(*seen) == epoch * EPOCH_REVISIONS + 1
    assert next_epoch(*seen) > max(seen, default=0)


def test_rebuilt_state_keeps_its_marks_and_outboxes_and_moves_over_what_was_skipped() -> None:
    state = KeyedState(STOCK, 3, b"0", {"shard-0": ShardMark((9, 0), b"outbox")})
    there = [*rows([jacket(0, "a")]), *rows([jacket(1, "b")])]
    there[1] = there[1]._replace(shard_id="shard-1", sequence=4)
    anew = refold(StockFold(), STOCK, History(there, ()), RULES, revision=8)
    after = rebuilt(state, anew, there, 8)
    assert (after.version, after.body) == (8, b"-2")
    assert after.marks == {
        "shard-0": ShardMark((9, 0), b"outbox"),
        "shard-1": ShardMark((4, 0), b""),
    }


def test_whatever_is_shown_and_is_not_so_is_taken_back() -> None:
    anew = refold(ComboFold(RULES), COMBOS, History(rows([jacket(0, "j")]), ()), RULES, 9)
    _, (combo, *notes) = one_by_one([jacket(0, "j"), pants(5, "p")])
    found = {effect_key(e): e for e in all_effects(anew, [combo, *notes], 9)}
    taken = found[effect_key(combo)]
    assert (taken.revision, getattr(taken, "status", None)) == (9, ComboStatus.RETRACTED)
    empty = [e for e in found.values() if isinstance(e, ChangeAnnotated)]
    assert {(e.transaction_id, e.combo_ids, e.revision) for e in empty} == {
        ("j", (), 9),
        ("p", (), 9),
    }
