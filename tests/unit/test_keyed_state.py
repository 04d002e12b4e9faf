"""Keyed state: a batch may come again, cut otherwise, after a crash; nothing is lost or doubled."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.changes import Effect, StockChanged, effect_key
from pipeline.core.combos import ComboFold
from pipeline.core.events import PosEvent
from pipeline.core.instants import HOUR
from pipeline.core.keyed_state import (
    EPOCH_REVISIONS,
    ITEM_BYTES_MAX,
    Advanced,
    KeyedState,
    Sequenced,
    ShardMark,
    StateKey,
    Work,
    advance,
    next_revision,
)
from pipeline.core.outbox import pack, unpack
from pipeline.core.rules import Rules
from pipeline.core.stock import StockFold
from tests.unit.traffic import KEY, RULES, SHOP, jacket, pants, traffic

DYNAMODB_ITEM_BYTES_MAX = 400 * 1024
STOCK_KEY = StateKey("stock", (SHOP, "J1"))
COMBO_KEY = StateKey("combos", KEY)


def numbered(*events: PosEvent, start: int = 1) -> list[Sequenced]:
    """Give events the sequence numbers start, start + 1, ..."""
    return [((number, 0), event) for number, event in enumerate(events, start)]


def stock(state: KeyedState, items: Sequence[Sequenced], start: int = 1) -> Advanced:
    """Advance the stock fold by a batch of shard s0."""
    return advance(StockFold(), state, Work("s0", (start, 0), items), 0, 500)


def committed(advanced: Advanced) -> KeyedState:
    """Take the state that is to be written."""
    assert advanced.state is not None
    return advanced.state


def one_sale() -> KeyedState:
    """Commit one sale of one unit at sequence number 1."""
    return committed(stock(KeyedState(STOCK_KEY), numbered(jacket(0, "a"))))


def on_hand(revision: int, units: int) -> StockChanged:
    """Write the effect of the stock fold."""
    return StockChanged(SHOP, "J1", units, revision)


# ------------------------------------------------------------------------------- positions
def test_redelivered_event_is_not_folded_twice() -> None:
    assert stock(one_sale(), numbered(jacket(0, "a"))).state is None


def test_event_behind_the_mark_is_folded() -> None:
    after = committed(stock(one_sale(), numbered(jacket(0, "a"), jacket(1, "b"))))
    assert after.body == b"-2"


def test_mark_stands_at_the_last_event_folded() -> None:
    after = committed(stock(one_sale(), numbered(jacket(0, "a"), jacket(1, "b"))))
    assert after.marks["s0"].order == (2, 0)


def test_positions_are_compared_as_integers() -> None:
    nine = committed(stock(KeyedState(STOCK_KEY), numbered(jacket(0, "a"), start=9), 9))
    assert committed(stock(nine, numbered(jacket(1, "b"), start=10), 10)).body == b"-2"


def test_positions_of_129_digits_are_told_apart() -> None:
    far = 10**128
    one = committed(stock(KeyedState(STOCK_KEY), numbered(jacket(0, "a"), start=far), far))
    assert committed(stock(one, numbered(jacket(1, "b"), start=far + 1), far + 1)).body == b"-2"


def test_members_of_one_aggregate_have_positions_of_their_own() -> None:
    items = [((1, 0), jacket(0, "a")), ((1, 1), jacket(1, "b"))]
    assert committed(stock(one_sale(), items)).body == b"-2"


def test_position_of_one_shard_says_nothing_of_another() -> None:
    work = Work("s1", (1, 0), numbered(jacket(1, "b")))
    after = committed(advance(StockFold(), one_sale(), work, 0, 500))
    assert (after.body, set(after.marks)) == (b"-2", {"s0", "s1"})


def test_marks_of_other_shards_are_kept_as_they_are() -> None:
    before = one_sale()
    work = Work("s1", (1, 0), numbered(jacket(1, "b")))
    assert committed(advance(StockFold(), before, work, 0, 500)).marks["s0"] == before.marks["s0"]


# ------------------------------------------------------------------------------- the outbox
def test_commit_leaves_its_effects_in_the_outbox() -> None:
    assert unpack(one_sale().marks["s0"].outbox) == (on_hand(1, -1),)


@pytest.mark.parametrize(("start", "again"), [(0, True), (1, True), (2, False)])
def test_outbox_is_emitted_again_if_the_batch_starts_at_or_before_the_mark(
    start: int, again: bool
) -> None:
    found = advance(StockFold(), one_sale(), Work("s0", (start, 0), []), 0, 500)
    assert found.effects == ((on_hand(1, -1),) if again else ())


def test_batch_that_starts_inside_the_aggregate_of_the_mark_emits_again() -> None:
    state = KeyedState(STOCK_KEY, 1, b"-1", {"s0": ShardMark((1, 3), pack([on_hand(1, -1)]))})
    assert advance(StockFold(), state, Work("s0", (1, 0), []), 0, 500).effects == (on_hand(1, -1),)


def test_outbox_of_another_shard_is_not_emitted() -> None:
    assert advance(StockFold(), one_sale(), Work("s1", (0, 0), []), 0, 500).effects == ()


def test_outbox_that_this_batch_has_delivered_is_not_emitted_again() -> None:
    work = Work("s0", (1, 0), [], delivered=(1, 0))
    assert advance(StockFold(), one_sale(), work, 0, 500).effects == ()


def test_outbox_of_a_successor_is_emitted_though_an_older_one_was_delivered() -> None:
    work = Work("s0", (0, 0), [], delivered=(0, 0))
    assert advance(StockFold(), one_sale(), work, 0, 500).effects == (on_hand(1, -1),)


def test_old_outbox_is_merged_with_new_effects_and_the_higher_revision_wins() -> None:
    found = stock(one_sale(), numbered(jacket(0, "a"), jacket(1, "b")))
    assert found.effects == (on_hand(2, -2),)


def test_merged_effects_are_the_next_outbox() -> None:
    scene = numbered(jacket(0, "a"), pants(1, "p"), jacket(700, "b"), pants(701, "q"))
    fold, state = ComboFold(RULES), KeyedState(COMBO_KEY)
    state = committed(advance(fold, state, Work("s0", (1, 0), scene[:2]), 0, 500))
    found = advance(fold, state, Work("s0", (1, 0), scene), 0, 500)
    assert set(unpack(committed(found).marks["s0"].outbox)) == set(found.effects)


def test_effects_of_an_earlier_try_are_emitted_with_those_of_a_longer_batch() -> None:
    scene = numbered(jacket(0, "a"), pants(1, "p"), jacket(700, "b"), pants(701, "q"))
    fold, state = ComboFold(RULES), KeyedState(COMBO_KEY)
    state = committed(advance(fold, state, Work("s0", (1, 0), scene[:2]), 0, 500))
    found = advance(fold, state, Work("s0", (1, 0), scene), 0, 500)
    assert sorted(effect.revision for effect in found.effects) == [1, 1, 1, 2, 2, 2]


def test_delivered_outbox_is_overwritten_by_the_next_batch() -> None:
    after = committed(stock(one_sale(), numbered(jacket(1, "b"), start=2), 2))
    assert unpack(after.marks["s0"].outbox) == (on_hand(2, -2),)


# ------------------------------------------------------------------------------- revisions
def test_versions_count_by_one() -> None:
    assert next_revision(7, 0) == 8


def test_next_epoch_starts_above_every_revision_of_the_last() -> None:
    assert next_revision(0, 1) > next_revision(EPOCH_REVISIONS - 1, 0)


def test_epoch_is_not_begun_twice() -> None:
    assert next_revision(EPOCH_REVISIONS + 5, 1) == EPOCH_REVISIONS + 6


def test_version_of_a_state_is_the_revision_of_its_effects() -> None:
    found = advance(
        StockFold(), one_sale(), Work("s0", (2, 0), numbered(jacket(1, "b"), start=2)), 3, 9
    )
    assert {effect.revision for effect in found.effects} == {committed(found).version}


# ------------------------------------------------------------------------------- rounds
def pairs(number: int) -> list[Sequenced]:
    """Sell pairs far apart: three effects for every second event."""
    sales = [(jacket(n * 1_000, f"j{n}"), pants(n * 1_000, f"p{n}")) for n in range(number)]
    return numbered(*(sale for pair in sales for sale in pair))


def rounds(items: list[Sequenced], effects_max: int) -> list[Advanced]:
    """Advance round by round until nothing is left, as if every round were delivered."""
    fold, state, found = ComboFold(RULES), KeyedState(COMBO_KEY), []
    work = Work("s0", (1, 0), items)
    while work.events:
        found.append(advance(fold, state, work, 0, effects_max))
        state = committed(found[-1])
        work = work._replace(events=found[-1].rest, delivered=state.marks["s0"].order)
    return found


@pytest.mark.parametrize("effects_max", [3, 4, 7, 500])
def test_round_has_no_more_effects_than_allowed(effects_max: int) -> None:
    assert all(len(found.effects) <= effects_max for found in rounds(pairs(20), effects_max))


def test_rounds_together_fold_every_event_once() -> None:
    effects = [effect for found in rounds(pairs(20), 7) for effect in found.effects]
    assert len({effect_key(effect) for effect in effects}) == len(effects) == 60


def test_rounds_come_to_the_state_of_a_single_one() -> None:
    assert committed(rounds(pairs(20), 7)[-1]).body == committed(rounds(pairs(20), 500)[-1]).body


def test_single_event_may_exceed_the_limit() -> None:
    scene = [*(jacket(n, f"j{n}") for n in range(9)), pants(10, "p", 9)]
    assert max(len(found.effects) for found in rounds(numbered(*scene), 3)) == 19


def test_round_that_crashed_before_delivery_is_emitted_when_the_batch_comes_again() -> None:
    items = pairs(20)
    first = rounds(items, 7)[0]
    again = advance(ComboFold(RULES), committed(first), Work("s0", (1, 0), items), 0, 500)
    assert set(first.effects) <= set(again.effects)


# ------------------------------------------------------------------------------- room in the item
def crowded(outbox: bytes) -> KeyedState:
    """Fill a state with another shard's outbox."""
    return KeyedState(STOCK_KEY, 1, b"0", {"s1": ShardMark((5, 0), outbox)})


def large_outbox() -> tuple[tuple[Effect, ...], bytes]:
    """Make effects that fill an item."""
    effects = tuple(StockChanged(SHOP, f"{n:04}".ljust(256, "x"), n, 1) for n in range(1_400))
    return effects, pack(effects)


def test_outbox_of_another_shard_is_cleared_when_the_item_would_be_too_large() -> None:
    found = stock(crowded(large_outbox()[1]), numbered(jacket(0, "a")))
    assert committed(found).marks["s1"] == ShardMark((5, 0), b"")


def test_outbox_that_is_cleared_is_to_be_delivered_before_the_commit() -> None:
    effects, packed = large_outbox()
    assert stock(crowded(packed), numbered(jacket(0, "a"))).before == effects


def test_outbox_of_another_shard_stays_while_there_is_room() -> None:
    packed = pack([StockChanged(SHOP, "J2", 1, 1)])
    found = stock(crowded(packed), numbered(jacket(0, "a")))
    assert (committed(found).marks["s1"].outbox, found.before) == (packed, ())


def test_own_outbox_is_never_cleared_for_room() -> None:
    found = stock(crowded(large_outbox()[1]), numbered(jacket(0, "a")))
    assert unpack(committed(found).marks["s0"].outbox) == found.effects


def tight_suits(width: int) -> list[Sequenced]:
    """Sell jackets and pants in turn, so that one jacket before them all pairs everything anew."""
    sales = [
        (
            jacket(100 + 2 * n, f"j{n:03}".ljust(width, "x")),
            pants(101 + 2 * n, f"p{n:03}".ljust(width)),
        )
        for n in range(480)
    ]
    return numbered(*(sale for pair in sales for sale in pair))


def stragglers(width: int, tries: int) -> list[KeyedState]:
    """Bring stragglers in a batch that dies before delivery, and comes again one event longer."""
    said = Rules(allowed_lateness_us=10 * HOUR, combo_window_us=HOUR, return_window_us=HOUR)
    fold, state, work = (
        ComboFold(said),
        KeyedState(COMBO_KEY),
        Work("s0", (1, 0), tight_suits(width)),
    )
    while work.events:
        found = advance(fold, state, work, 0, 500)
        state, work = committed(found), work._replace(events=found.rest)
        work = work._replace(delivered=state.marks["s0"].order)
    late = [jacket(50 - n, f"s{n}".ljust(width, "x")) for n in range(tries)]
    states = []
    for count in range(1, tries + 1):
        again = Work("s0", (5_000, 0), numbered(*late[:count], start=5_000))
        state = committed(advance(fold, state, again, 0, 500))
        states.append(state)
    return states


@pytest.mark.parametrize("width", [4, 40, 60])
def test_item_of_one_straggler_that_pairs_everything_anew_stays_below_its_limit(width: int) -> None:
    assert all(state.size_bytes() <= ITEM_BYTES_MAX for state in stragglers(width, 1))


def test_item_stays_below_the_limit_of_the_store_however_often_its_batch_dies() -> None:
    assert all(state.size_bytes() <= DYNAMODB_ITEM_BYTES_MAX for state in stragglers(60, 6))


# ------------------------------------------------------------------------------- all together
@given(
    traffic(),
    st.sets(st.integers(1, 24)),
    st.lists(st.integers(0, 23), max_size=8),
    st.integers(1, 9),
)
def test_batches_that_come_again_and_rounds_leave_the_same_state(
    events: list[PosEvent], cuts: set[int], setbacks: list[int], effects_max: int
) -> None:
    fold, state, items = ComboFold(RULES), KeyedState(COMBO_KEY), numbered(*events)
    ends = sorted({0, len(items), *(cut for cut in cuts if cut < len(items))})
    batches = [(start, end) for start, end in pairwise(ends)]
    batches += [(start, len(items)) for start in setbacks if start < len(items)]
    for start, end in batches:
        work = Work("s0", items[start][0], items[start:end])
        while work.events:
            found = advance(fold, state, work, 0, effects_max)
            state = found.state or state
            work = work._replace(events=found.rest)
    assert state.body == (fold.apply(KEY, b"", events, 1)[0] if events else b"")
