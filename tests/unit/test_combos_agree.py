"""Combos: whatever the order of arrival and the cut of the batches, the tables say the same."""

from collections.abc import Sequence
from random import Random  # noqa: TID251 - a type; the seed is Hypothesis'

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.combo_state import ComboState, combo_id
from pipeline.core.combos import _move
from pipeline.core.events import PosEvent
from pipeline.core.instants import HOUR, SECOND
from pipeline.core.pairing import Move, Pairing
from pipeline.core.rules import Rules
from tests.reference import combos_of
from tests.unit.traffic import (
    SHOP,
    Played,
    back,
    cuts,
    event,
    fact,
    jacket,
    one_by_one,
    pants,
    play,
    rules,
    traffic,
)

PATIENT = Rules(allowed_lateness_us=1_000 * HOUR)
CRAMPED = [
    Rules(state_entries_max=1),
    Rules(state_entries_max=5),
    Rules(state_bytes_max=600),
    Rules(state_bytes_max=250, allowed_lateness_us=0),
    Rules(state_entries_max=4, state_bytes_max=500, allowed_lateness_us=300 * SECOND),
    Rules(state_bytes_max=1),
]


def agrees(played: Played, events: Sequence[PosEvent], said: Rules) -> bool:
    """Compare combos and annotations with the oracle's."""
    return (played.combos, played.notes) == combos_of([fact(e) for e in events], said)


@given(traffic(), rules, cuts)
def test_any_arrival_in_any_cuts_gives_the_fold_of_the_sorted_input(
    events: list[PosEvent], said: Rules, cut: set[int]
) -> None:
    assert agrees(play(events, said, cut), events, said)


@given(traffic(), rules)
def test_any_arrival_event_by_event_gives_the_fold_of_the_sorted_input(
    events: list[PosEvent], said: Rules
) -> None:
    assert agrees(one_by_one(events, said), events, said)


@given(traffic(), st.randoms(use_true_random=False), cuts)
def test_order_of_arrival_within_the_lateness_changes_nothing(
    events: list[PosEvent], chance: Random, cut: set[int]
) -> None:
    shuffled = events.copy()
    chance.shuffle(shuffled)
    one, other = play(events, PATIENT), play(shuffled, PATIENT, cut)
    assert (one.combos, one.notes) == (other.combos, other.notes)


@given(traffic(least=12), rules, st.lists(st.integers(0, 6), min_size=24, max_size=24), cuts)
def test_events_delayed_by_no_more_than_the_lateness_give_the_fold_of_the_sorted_input(
    events: list[PosEvent], said: Rules, delays: list[int], cut: set[int]
) -> None:
    events.sort(key=lambda e: (e.instant, e.change > 0, e.transaction_id))
    delayed = [
        (e.instant + said.allowed_lateness_us * sixths // 6, number)
        for number, (e, sixths) in enumerate(zip(events, delays, strict=False))
    ]
    one, other = play(events, said), play([events[n] for _, n in sorted(delayed)], said, cut)
    assert other.late() == set()
    assert (other.combos, other.notes) == (one.combos, one.notes)


@given(traffic(), rules, cuts)
def test_body_does_not_depend_on_the_cuts(
    events: list[PosEvent], said: Rules, cut: set[int]
) -> None:
    assert play(events, said, cut).bodies[-1:] == play(events, said).bodies[-1:]


@given(traffic(size=40, units=1_000), st.sampled_from(["", "x" * 60, "\U0001f454" * 40]))
def test_long_names_and_bulk_sales_change_nothing(events: list[PosEvent], suffix: str) -> None:
    renamed = [e.model_copy(update={"transaction_id": e.transaction_id + suffix}) for e in events]
    assert agrees(one_by_one(renamed), renamed, Rules())


# ------------------------------------------------------------------------------- maximum matching
def largest_matching(events: Sequence[PosEvent], window: int) -> int:
    """Count the most pairs possible, by augmenting paths over single units."""
    jackets = [e.instant for e in events for _ in range(-e.change) if e.category == "jacket"]
    trousers = [e.instant for e in events for _ in range(-e.change) if e.category == "pants"]
    taken: dict[int, int] = {}

    def augment(one: int, seen: set[int]) -> bool:
        for other, instant in enumerate(trousers):
            if other not in seen and abs(jackets[one] - instant) <= window:
                seen.add(other)
                if other not in taken or augment(taken[other], seen):
                    taken[other] = one
                    return True
        return False

    return sum(augment(one, set()) for one in range(len(jackets)))


@given(traffic(size=14, units=3, least=6), st.sampled_from((0, 150, 300, 600)))
def test_as_many_units_pair_as_can_at_all(events: list[PosEvent], window: int) -> None:
    sales = [e for e in events if e.change < 0]
    said = Rules(combo_window_us=window * SECOND, allowed_lateness_us=HOUR)
    found = sum(combo.quantity for combo in play(sales, said).combos)
    assert found == largest_matching(sales, said.combo_window_us)


# ------------------------------------------------------------------------------- the state
@given(traffic(least=12), rules, cuts)
def test_state_is_read_back_as_it_was_written(
    events: list[PosEvent], said: Rules, cut: set[int]
) -> None:
    for body in play(events, said, cut).bodies:
        assert ComboState(said, SHOP, body).encode() == body


def inside(state: ComboState) -> tuple[object, ...]:
    """Take out everything that a state knows, in the order in which it keeps it."""
    pairs = [(p.jacket.move(), p.pants.move(), p.made, p.standing) for p in state.pairing.pairs]
    queues = [[(s.move(), s.free) for s in queue] for queue in state.pairing.queues]
    settled = {tx: tuple(kept) for tx, kept in state.settled.items()}
    return state.frontier, pairs, queues, state.suffix, settled


@given(traffic(least=12), rules)
def test_state_that_is_read_back_knows_all_that_the_living_one_knew(
    events: list[PosEvent], said: Rules
) -> None:
    state = ComboState(said, SHOP, b"")
    for each in events:
        state.insert(_move(each))
        state.settle()
        assert inside(ComboState(said, SHOP, state.encode())) == inside(state)


@given(traffic(), rules)
def test_frontier_never_moves_back(events: list[PosEvent], said: Rules) -> None:
    frontiers = [ComboState(said, SHOP, body).frontier for body in one_by_one(events, said).bodies]
    assert frontiers == sorted(frontiers)


@given(traffic())
def test_returns_only_move_units_from_standing_to_voided(events: list[PosEvent]) -> None:
    played = play(events, PATIENT)
    sold = {e.transaction_id: -e.change for e in events if e.change < 0}
    for name, units in sold.items():
        made = sum(c.quantity + c.voided for c in played.combos if name in c[3:5])
        assert made <= units


def test_quiet_key_forgets_what_no_later_event_can_reach() -> None:
    scene = [jacket(0, "j"), pants(1, "p"), jacket(2, "k"), pants(100_000, "x")]
    state = ComboState(Rules(), SHOP, play(scene).bodies[-1])
    assert (state.entries(), state.settled) == (1, {})


def test_copy_of_a_pairing_shares_nothing_with_it() -> None:
    pairing = Pairing(10, 10)
    pairing.fold([Move(0, False, "j", "J", True, 2), Move(1, False, "p", "P", False, 1)])
    twin = pairing.copy()
    twin.fold([Move(2, True, "r", "J", True, 2)])
    assert (pairing.queues[1][0].free, pairing.pairs[0].standing) == (1, 1)


# ------------------------------------------------------------------------------- the caps
@given(st.sampled_from(CRAMPED), traffic(size=30), cuts)
def test_what_a_cap_does_is_independent_of_the_cuts(
    said: Rules, events: list[PosEvent], cut: set[int]
) -> None:
    one, other = one_by_one(events, said), play(events, said, cut)
    assert (one.combos, one.notes, one.bodies[-1:]) == (
        other.combos,
        other.notes,
        other.bodies[-1:],
    )


@given(st.sampled_from(CRAMPED), traffic(size=30), cuts)
def test_state_never_holds_more_entries_than_its_cap(
    said: Rules, events: list[PosEvent], cut: set[int]
) -> None:
    states = [ComboState(said, SHOP, body) for body in play(events, said, cut).bodies]
    assert all(state.entries() <= said.state_entries_max for state in states)


@given(st.integers(100, 1_500), traffic(size=30), cuts)
def test_body_is_never_larger_than_its_cap(
    bytes_max: int, events: list[PosEvent], cut: set[int]
) -> None:
    said = Rules(state_bytes_max=bytes_max)
    assert all(len(body) <= bytes_max for body in play(events, said, cut).bodies)


@pytest.mark.parametrize("name", ["x" * 256, "\U0001f454" * 64, '"' * 256, "\\" * 250])
@pytest.mark.parametrize("lateness", [0, HOUR])
@pytest.mark.parametrize("stride", [1, 7, 20, 120])
def test_body_of_the_longest_names_stays_below_the_cap(
    name: str, lateness: int, stride: int
) -> None:
    said = Rules(state_bytes_max=9_000, allowed_lateness_us=lateness)
    scene = [
        event(n, f"{n:03}{name[3:]}", "jacket" if n % 3 else "pants", -(n % 5 + 1), name)
        for n in range(120)
    ]
    assert all(len(body) <= 9_000 for body in play(scene, said, range(0, 120, stride)).bodies)


@given(st.sampled_from(CRAMPED), traffic(size=30))
def test_cap_never_moves_the_frontier_back(said: Rules, events: list[PosEvent]) -> None:
    frontiers = [ComboState(said, SHOP, body).frontier for body in one_by_one(events, said).bodies]
    assert frontiers == sorted(frontiers)


@given(traffic(size=30), cuts)
def test_caps_that_are_not_reached_change_nothing(events: list[PosEvent], cut: set[int]) -> None:
    roomy = Rules(state_entries_max=31, allowed_lateness_us=HOUR)
    assert agrees(play(events, roomy, cut), events, roomy)


def test_cap_closes_the_oldest_window_first() -> None:
    said = Rules(state_entries_max=2)
    scene = [jacket(0, "a"), jacket(1, "b"), jacket(2, "c"), pants(3, "p")]
    assert [c.jacket_transaction_id for c in one_by_one(scene, said).combos] == ["b"]


def test_cap_that_acts_does_not_count_an_event_twice() -> None:
    said = Rules(state_entries_max=2, allowed_lateness_us=0)
    scene = [jacket(0, "a"), pants(1, "p"), pants(1, "q")]
    assert play(scene, said).shown() == {("a", "p"): (1, 0, "active")}


@pytest.mark.parametrize(("ahead", "late"), [(0, True), (1, False)])
def test_frontier_that_a_cap_moves_stands_one_microsecond_behind_the_oldest(
    ahead: int, late: bool
) -> None:
    said = Rules(state_entries_max=1)
    straggler = pants(11, "p")
    straggler = straggler.model_copy(update={"instant": straggler.instant + ahead})
    played = one_by_one([jacket(10, "a"), jacket(11, "b"), straggler], said)
    assert (played.late() == {"p"}) == late


def test_units_that_a_cap_closed_pair_with_nobody_in_a_later_call() -> None:
    said = Rules(state_entries_max=1)
    scene = [jacket(0, "j", 2), pants(0, "p"), pants(1, "q")]
    assert [c.pants_transaction_id for c in one_by_one(scene, said).combos] == ["p"]


def test_event_before_a_frontier_that_a_cap_moved_is_late() -> None:
    said = Rules(state_entries_max=1)
    scene = [jacket(10, "a"), jacket(11, "b"), pants(5, "p")]
    assert one_by_one(scene, said).late() == {"p"}


def test_combo_that_a_cap_closes_stays_listed_with_a_sale_that_is_kept() -> None:
    said = Rules(state_entries_max=2)
    scene = [jacket(0, "j", 2), pants(1, "a"), pants(2, "b", 1, "P2"), jacket(3, "k")]
    played = one_by_one([*scene, back(4, "r", "P2")], said)
    assert played.notes["j"].combo_ids == (combo_id(("j", "a"), None),)


def test_flood_of_one_instant_is_held_within_the_caps() -> None:
    said = Rules(state_entries_max=10)
    flood = [jacket(0, f"j{n}") for n in range(50)]
    assert ComboState(said, SHOP, play(flood, said).bodies[-1]).entries() <= 10
