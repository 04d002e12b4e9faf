"""Combos: every rule of the pairing, each in a scene of its own.

A scene is a few sales (`jacket`, `pants`) and returns (`back`), at seconds after the start.
"""

from hashlib import sha1
from uuid import NAMESPACE_DNS, UUID, uuid5

import pytest

from pipeline.core.changes import ChangeAnnotated, ComboChanged
from pipeline.core.combo_state import combo_id
from pipeline.core.combos import ComboFold
from pipeline.core.events import PosEvent
from pipeline.core.instants import MICROSECOND, SECOND
from pipeline.core.rules import Rules
from tests.unit.traffic import KEY, SHOP, back, event, jacket, one_by_one, pants, play

ACTIVE, CANCELLED, RETRACTED = "active", "cancelled", "retracted"
LONG_RETURNS = Rules(return_window_us=5_000 * SECOND, allowed_lateness_us=0)


def quantities(events: list[PosEvent], rules: Rules = Rules()) -> dict[str, int]:  # noqa: B008 - frozen
    """Map `jacket+pants` to the units that stand."""
    found = play(events, rules).combos
    return {f"{c.jacket_transaction_id}+{c.pants_transaction_id}": c.quantity for c in found}


# ------------------------------------------------------------------------------- what pairs
def test_jacket_and_pants_sold_together_are_a_combo() -> None:
    assert quantities([jacket(0, "j"), pants(5, "p")]) == {"j+p": 1}


def test_combo_is_found_once_when_pants_arrive_before_jacket() -> None:
    assert one_by_one([pants(5, "p"), jacket(0, "j")]).shown() == {("j", "p"): (1, 0, ACTIVE)}


def test_two_jackets_are_no_combo() -> None:
    assert quantities([jacket(0, "a"), jacket(1, "b")]) == {}


@pytest.mark.parametrize(("apart", "found"), [(600 * SECOND, 1), (600 * SECOND + 1, 0)])
def test_window_includes_its_edge_and_not_a_microsecond_more(apart: int, found: int) -> None:
    late = pants(0, "p")
    late = late.model_copy(update={"instant": late.instant + apart})
    assert len(play([jacket(0, "j"), late]).combos) == found


def test_sales_at_the_same_instant_pair() -> None:
    assert quantities([pants(0, "p"), jacket(0, "j")]) == {"j+p": 1}


def test_sale_takes_the_oldest_partner() -> None:
    assert quantities([jacket(0, "old"), jacket(1, "new"), pants(2, "p")]) == {"old+p": 1}


def test_of_equally_old_partners_the_least_code_points_come_first() -> None:
    scene = [jacket(0, "\U0001f454"), jacket(0, "\uffee"), jacket(0, "a"), pants(0, "p", 2)]
    assert quantities(scene) == {"a+p": 1, "\uffee+p": 1}


def test_partner_out_of_the_window_is_passed_over() -> None:
    assert quantities([jacket(0, "old"), jacket(500, "new"), pants(700, "p")]) == {"new+p": 1}


def test_sale_of_many_takes_several_partners_oldest_first() -> None:
    scene = [jacket(0, "a", 2), jacket(1, "b", 2), jacket(2, "c", 2), pants(3, "p", 3)]
    assert quantities(scene) == {"a+p": 2, "b+p": 1}


def test_what_is_left_of_a_sale_waits_for_the_next_partner() -> None:
    assert quantities([jacket(0, "j", 3), pants(1, "p"), pants(2, "q", 9)]) == {"j+p": 1, "j+q": 2}


def test_partner_used_up_is_not_taken_twice() -> None:
    assert quantities([jacket(0, "j"), pants(1, "p"), pants(2, "q")]) == {"j+p": 1}


def test_hundred_thousand_units_are_one_combo() -> None:
    assert quantities([jacket(0, "j", 100_000), pants(1, "p", 100_000)]) == {"j+p": 100_000}


def test_combo_is_paired_at_the_later_instant() -> None:
    (combo,) = play([pants(7, "p"), jacket(3, "j")]).combos
    assert combo.paired_at == pants(7, "p").instant


@pytest.mark.parametrize("category", ["shirt", "tie"])
def test_fold_reads_only_jackets_and_pants(category: str) -> None:
    assert ComboFold(Rules()).key(event(0, "t", category, -1, "X")) is None


def test_batch_delivery_is_no_customer() -> None:
    assert ComboFold(Rules()).key(jacket(0, "j").model_copy(update={"source": "batch"})) is None


def test_batch_pairs_where_the_rules_say_so() -> None:
    fold = ComboFold(Rules(combo_sources=frozenset({"POS", "batch"})))
    assert fold.key(jacket(0, "j").model_copy(update={"source": "batch"})) == KEY


# ------------------------------------------------------------------------------- returns
def test_return_of_the_jacket_cancels_the_combo() -> None:
    scene = [jacket(0, "j"), pants(1, "p"), back(2, "r", "J1")]
    assert play(scene).shown() == {("j", "p"): (0, 1, CANCELLED)}


def test_return_of_some_units_shrinks_the_combo() -> None:
    scene = [jacket(0, "j", 3), pants(1, "p", 3), back(2, "r", "P1", 2)]
    assert play(scene).shown() == {("j", "p"): (1, 2, ACTIVE)}


def test_partner_of_a_returned_unit_does_not_pair_again() -> None:
    scene = [jacket(0, "j"), pants(1, "p"), back(2, "r", "J1"), jacket(3, "k")]
    assert quantities(scene) == {"j+p": 0}


def test_unit_returned_before_its_partner_came_pairs_with_nobody() -> None:
    assert quantities([jacket(0, "j"), back(1, "r", "J1"), pants(2, "p")]) == {}


def test_return_that_arrives_last_but_happened_before_the_partner_retracts_the_combo() -> None:
    scene = [jacket(0, "j"), pants(2, "p"), back(1, "r", "J1")]
    assert one_by_one(scene).shown() == {("j", "p"): (0, 0, RETRACTED)}


def test_at_one_instant_sales_come_before_returns() -> None:
    scene = [back(5, "a", "J1"), jacket(5, "j"), pants(5, "p")]
    assert play(scene).shown() == {("j", "p"): (0, 1, CANCELLED)}


def test_return_before_its_sale_touches_stock_only() -> None:
    assert quantities([back(4, "a", "J1"), jacket(5, "j"), pants(5, "p")]) == {"j+p": 1}


def test_return_of_another_product_undoes_nothing() -> None:
    assert quantities([jacket(0, "j"), pants(1, "p"), back(2, "r", "J2")]) == {"j+p": 1}


def test_unpaired_units_are_undone_before_paired_ones() -> None:
    scene = [jacket(0, "j"), pants(1, "p"), jacket(2, "k"), back(3, "r", "J1")]
    assert quantities([*scene, pants(4, "q")]) == {"j+p": 1}


def test_of_unpaired_units_the_newest_is_undone_first() -> None:
    scene = [jacket(0, "old"), jacket(1, "new"), back(2, "r", "J1"), pants(3, "p", 2)]
    assert quantities(scene) == {"old+p": 1}


def test_of_paired_units_the_newest_is_undone_first() -> None:
    scene = [jacket(0, "a"), pants(1, "p"), jacket(2, "b"), pants(3, "q"), back(4, "r", "J1")]
    assert quantities(scene) == {"a+p": 1, "b+q": 0}


def test_newest_is_the_returned_unit_not_the_pair() -> None:
    scene = [jacket(0, "a"), jacket(1, "b"), pants(2, "p"), pants(3, "q", 1, "P2")]
    assert quantities([*scene, back(4, "r", "J1")]) == {"a+p": 1, "b+q": 0}


def test_of_one_sale_in_several_pairs_the_pair_made_first_is_undone_first() -> None:
    scene = [jacket(0, "j", 2), pants(1, "p"), pants(2, "q"), back(3, "r", "J1")]
    assert quantities(scene) == {"j+p": 0, "j+q": 1}


def test_pair_made_first_is_the_one_of_the_older_partner_when_one_sale_took_both() -> None:
    scene = [jacket(0, "b"), jacket(1, "a"), pants(2, "p", 2), back(3, "r", "P1")]
    assert quantities(scene) == {"b+p": 0, "a+p": 1}


def test_large_return_goes_on_to_older_pairs_and_stops_at_nothing() -> None:
    scene = [jacket(0, "j", 2), pants(1, "p"), pants(2, "q"), back(3, "r", "J1", 99)]
    assert quantities(scene) == {"j+p": 0, "j+q": 0}


@pytest.mark.parametrize(("later", "standing"), [(0, 0), (MICROSECOND, 1)])
def test_return_reaches_back_exactly_the_return_window(later: int, standing: int) -> None:
    late = back(300, "r", "J1")
    late = late.model_copy(update={"instant": late.instant + later})
    scene = [jacket(0, "j"), pants(200, "p"), late]
    assert quantities(scene, Rules(return_window_us=300 * SECOND)) == {"j+p": standing}


def test_returned_unit_must_be_in_reach_itself_not_only_its_pair() -> None:
    scene = [jacket(0, "j"), pants(500, "p"), back(700, "r", "J1")]
    assert quantities(scene) == {"j+p": 1}


def test_return_window_may_be_longer_than_the_combo_window() -> None:
    scene = [jacket(0, "j"), pants(1, "p"), back(5_000, "r", "J1")]
    assert quantities(scene, Rules(return_window_us=5_000 * SECOND)) == {"j+p": 0}


def test_unpaired_unit_at_the_edge_of_the_return_window_is_undone() -> None:
    scene = [jacket(0, "j"), back(300, "r", "J1"), pants(301, "p")]
    assert quantities(scene, Rules(return_window_us=300 * SECOND)) == {}


def test_of_unpaired_units_the_newest_is_undone_first_in_whichever_category() -> None:
    scene = [pants(0, "old", 1, "X"), jacket(700, "new", 1, "X"), back(701, "r", "X")]
    assert quantities([*scene, pants(702, "p")], LONG_RETURNS) == {}


def test_settled_combo_is_cancelled_by_a_return_long_after_the_combo_window() -> None:
    scene = [jacket(0, "j"), pants(1, "p"), jacket(2_000, "x", 1, "J2"), back(3_000, "r", "J1")]
    assert one_by_one(scene, LONG_RETURNS).shown() == {("j", "p"): (0, 1, CANCELLED)}


def test_settled_unpaired_unit_is_undone_before_a_pair_long_after_the_combo_window() -> None:
    scene = [jacket(0, "j"), pants(1, "p"), jacket(2, "k"), jacket(2_000, "x", 1, "J2")]
    played = one_by_one([*scene, back(3_000, "r", "J1")], LONG_RETURNS)
    assert played.shown() == {("j", "p"): (1, 0, ACTIVE)}


# ------------------------------------------------------------------------------- stragglers
def test_straggler_takes_the_partner_from_a_newer_sale() -> None:
    scene = [jacket(5, "new"), pants(6, "p"), jacket(0, "old")]
    assert one_by_one(scene).shown() == {
        ("new", "p"): (0, 0, RETRACTED),
        ("old", "p"): (1, 0, ACTIVE),
    }


def test_annotation_of_a_sale_that_lost_its_combo_is_taken_back() -> None:
    scene = [jacket(5, "new"), pants(6, "p"), jacket(0, "old")]
    assert set(one_by_one(scene).notes) == {"old", "p"}


def test_straggler_at_the_frontier_still_pairs() -> None:
    scene = [pants(3_600, "x"), jacket(0, "j"), pants(1, "p")]
    assert one_by_one(scene).late() == set()


def test_event_before_the_frontier_is_late_and_does_not_pair() -> None:
    scene = [pants(1, "p"), pants(3_601, "x"), jacket(0, "j")]
    assert one_by_one(scene).shown() == {}


def test_event_before_the_frontier_is_annotated_as_late() -> None:
    scene = [pants(1, "p"), pants(3_601, "x"), jacket(0, "j")]
    assert one_by_one(scene).late() == {"j"}


def test_late_event_does_not_move_the_frontier_back() -> None:
    scene = [pants(3_601, "x"), jacket(0, "j"), pants(0, "p")]
    assert one_by_one(scene).late() == {"j", "p"}


def test_without_lateness_equal_instants_are_on_time() -> None:
    scene = [pants(5, "p"), jacket(5, "j")]
    assert quantities(scene, Rules(allowed_lateness_us=0)) == {"j+p": 1}


def test_late_return_undoes_nothing() -> None:
    scene = [jacket(0, "j"), pants(1, "p"), pants(3_700, "x"), back(2, "r", "J1")]
    assert one_by_one(scene).shown() == {("j", "p"): (1, 0, ACTIVE)}


def test_settled_combo_stays_listed_when_another_of_the_same_sale_is_undone() -> None:
    scene = [pants(0, "w"), jacket(500, "x", 2), pants(1_000, "y"), jacket(1_200, "k")]
    played = one_by_one([*scene, back(1_300, "r", "P1")], Rules(allowed_lateness_us=0))
    assert played.notes["x"].combo_ids == (combo_id(("x", "w"), None),)


def test_settled_combo_stays_when_the_later_one_is_cancelled() -> None:
    scene = [pants(0, "w"), jacket(500, "x", 2), pants(1_000, "y"), jacket(1_200, "k")]
    played = one_by_one([*scene, back(1_300, "r", "P1")], Rules(allowed_lateness_us=0))
    assert played.shown() == {("x", "w"): (1, 0, ACTIVE), ("x", "y"): (0, 1, CANCELLED)}


# ------------------------------------------------------------------------------- names and lists
def test_combo_id_is_a_name_based_uuid_of_jacket_and_pants() -> None:
    space = uuid5(NAMESPACE_DNS, "combos.tillstream")
    digest = sha1(space.bytes + b"j\x1fp", usedforsecurity=False).digest()
    assert combo_id(("j", "p"), None) == str(UUID(bytes=digest[:16], version=5))


def test_location_is_part_of_the_combo_id_where_ids_are_unique_only_within_one() -> None:
    (combo,) = play([jacket(0, "j"), pants(1, "p")], Rules(dedupe_scope="location")).combos
    assert combo.combo_id == combo_id(("j", "p"), SHOP) != combo_id(("j", "p"), None)


def test_combo_ids_of_a_sale_are_in_the_order_of_pairing() -> None:
    played = play([jacket(0, "j", 3), pants(2, "a"), pants(1, "c"), pants(1, "b")])
    wanted = tuple(combo_id(("j", name), None) for name in "bca")
    assert played.notes["j"].combo_ids == wanted


def test_cancelled_combo_is_not_listed() -> None:
    assert play([jacket(0, "j"), pants(1, "p"), back(2, "r", "J1")]).notes == {}


@pytest.mark.parametrize("number", [99, 100, 101, 250])
def test_list_keeps_the_earliest_hundred_and_counts_on(number: int) -> None:
    scene = [jacket(0, "j", number), *(pants(n, f"p{n:03}") for n in range(number))]
    note = one_by_one(scene).notes["j"]
    earliest = tuple(combo_id(("j", f"p{n:03}"), None) for n in range(number))[:100]
    assert (note.combo_ids, note.combo_count) == (earliest, number)


def test_list_keeps_the_earliest_hundred_of_settled_and_standing_ones() -> None:
    rules = Rules(allowed_lateness_us=0, return_window_us=60 * SECOND)
    scene = [jacket(0, "j", 250), *(pants(n * 2, f"p{n:03}") for n in range(250))]
    note = one_by_one(scene, rules).notes["j"]
    earliest = tuple(combo_id(("j", f"p{n:03}"), None) for n in range(100))
    assert (note.combo_ids, note.combo_count) == (earliest, 250)


def test_settled_combos_are_listed_in_the_order_of_combos_not_of_making() -> None:
    said = Rules(allowed_lateness_us=0, return_window_us=0)
    scene = [jacket(0, "b"), jacket(1, "a"), pants(2, "p", 4), jacket(5, "c"), jacket(6, "d")]
    wanted = tuple(combo_id((name, "p"), None) for name in "abcd")
    assert one_by_one(scene, said).notes["p"].combo_ids == wanted


def test_settled_combo_that_was_cancelled_is_not_listed() -> None:
    said = Rules(allowed_lateness_us=0, return_window_us=10 * SECOND)
    scene = [jacket(0, "j", 2), pants(1, "w"), back(2, "r", "P1"), jacket(300, "k", 1, "J2")]
    note = one_by_one([*scene, pants(400, "y", 1, "P2")], said).notes["j"]
    assert note.combo_ids == (combo_id(("j", "y"), None),)


def test_every_effect_carries_the_revision_of_its_commit() -> None:
    _, effects = ComboFold(Rules()).apply(KEY, b"", [jacket(0, "j"), pants(1, "p")], 41)
    assert {effect.revision for effect in effects} == {41}


def test_call_says_nothing_of_what_it_did_not_change() -> None:
    fold = ComboFold(Rules())
    body, _ = fold.apply(KEY, b"", [jacket(0, "j"), pants(1, "p")], 1)
    assert fold.apply(KEY, body, [jacket(2, "k")], 2)[1] == ()


def test_effects_of_a_new_combo_are_the_combo_and_its_two_annotations() -> None:
    _, effects = ComboFold(Rules()).apply(KEY, b"", [jacket(0, "j"), pants(1, "p")], 1)
    assert [type(effect) for effect in effects] == [ComboChanged, ChangeAnnotated, ChangeAnnotated]


def test_body_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 99"):
        ComboFold(Rules()).apply(KEY, b"[99,0,[],[],[],{}]", [jacket(0, "j")], 1)
