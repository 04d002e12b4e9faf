"""Control totals, and differences in words."""

from typing import Any

import pytest

from consumers.contents import gather, in_words, refusal_findings, sink_findings
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    RefusedAs,
    StockChanged,
)
from pipeline.core.instants import DAY, parse_instant
from pipeline.core.positions import Position
from pipeline.core.reconciling import (
    ChangeTotals,
    Check,
    ComboTotals,
    Kind,
    Part,
    StockTotals,
    business_day,
    change_totals,
    combo_totals,
    stock_totals,
)
from pipeline.core.records import Record
from pipeline.core.rules import Rules
from pipeline.core.step import Refusal
from tests.unit.traffic import ARRIVAL, START, line

NOON = parse_instant("2011-10-03T12:00:00Z")


def change(name: str = "t1", **fields: Any) -> ChangeRecorded:
    row = ChangeRecorded(
        "GB-1", name, "J1", "1", "jacket", -2, NOON, "POS", "shard-7", 12, 0, NOON + 5
    )
    return row._replace(**fields)


def combo(name: str = "c1", **fields: Any) -> ComboChanged:
    status = ComboStatus.ACTIVE
    made = ComboChanged(name, "GB-1", "1", "t1", "t2", NOON, 3, 1, status, 7)
    return made._replace(**fields)


def test_business_day_is_that_of_utc() -> None:
    midnight = parse_instant("2011-10-04T00:00:00Z")
    days = (business_day(instant) for instant in (midnight - 1, midnight))
    assert tuple(days) == ("2011-10-03", "2011-10-04")


def test_changes_add_up_by_location_and_day() -> None:
    rows = [change(), change("t2", change=5), change("t3", location="GB-2")]
    assert change_totals([*rows, change("t4", instant=NOON + DAY)]) == {
        ("GB-1", "2011-10-03"): ChangeTotals(2, 7, 3),
        ("GB-2", "2011-10-03"): ChangeTotals(1, 2, -2),
        ("GB-1", "2011-10-04"): ChangeTotals(1, 2, -2),
    }


def test_retracted_combos_do_not_count() -> None:
    gone = combo("c2", status=ComboStatus.RETRACTED, quantity=0, voided=0)
    assert combo_totals([combo(), gone]) == {("GB-1", "2011-10-03"): ComboTotals(1, 3, 1)}


def test_stock_adds_up_by_location() -> None:
    levels = [StockChanged("GB-1", "J1", -3, 1), StockChanged("GB-1", "J2", 5, 1)]
    assert stock_totals(levels) == {("GB-1", ""): StockTotals(2, 2)}


@pytest.mark.parametrize(
    ("part", "holds"),
    [
        (Part(), True),
        (Part("GB-1"), True),
        (Part("GB-2"), False),
        (Part(since=NOON), True),
        (Part(since=NOON + 1), False),
        (Part("GB-1", NOON + 1), False),
    ],
)
def test_part_holds_its_location_and_days(part: Part, holds: bool) -> None:
    assert part.holds("GB-1", NOON) is holds


def test_thing_without_a_day_belongs_to_all_days() -> None:
    assert Part("GB-1", NOON).holds("GB-1")


def test_equal_sides_have_no_findings() -> None:
    side = gather([(change(), None)], [combo()], [StockChanged("GB-1", "J1", 1, 1)])
    assert sink_findings(side, side) == []


def test_each_way_of_differing_is_named() -> None:
    tables = gather([(change("a"), None), (change("b"), None)], [], [])
    warehouse = gather([(change("b", change=-9), None), (change("c"), None)], [], [])
    found = {(finding.key[1], finding.kind) for finding in sink_findings(tables, warehouse)}
    assert found == {("a", Kind.MISSING), ("b", Kind.DIFFERENT), ("c", Kind.EXTRA)}


def test_second_row_of_a_transaction_is_extra() -> None:
    tables = gather([(change(), None)], [], [])
    warehouse = gather([(change(), None), (change(instant=NOON + DAY), None)], [], [])
    (found,) = sink_findings(tables, warehouse)
    assert (found.check, found.kind, len(found.key)) == (Check.WAREHOUSE_CHANGE, Kind.EXTRA, 3)


def test_annotation_is_placed_where_its_row_is() -> None:
    note = ChangeAnnotated("GB-1", "t1", ("c1",), 1, False, 3)
    tables, warehouse = gather([(change(), note)], [], []), gather([(change(), None)], [], [])
    (found,) = sink_findings(tables, warehouse)
    assert (found.check, found.place) == (Check.WAREHOUSE_NOTE, ("GB-1", "2011-10-03"))


def test_words_hold_only_what_differs() -> None:
    tables, warehouse = (gather([], [combo(quantity=q)], []) for q in (3, 99))
    (found,) = sink_findings(tables, warehouse)
    assert in_words(found) == (
        "different combo in the warehouse (GB-1 2011-10-03) c1: is quantity 99, must be quantity 3"
    )


def test_words_say_what_is_missing() -> None:
    level = StockChanged("GB-1", "J1", -3, 2)
    (found,) = sink_findings(gather([], [], [level]), gather([], [], []))
    assert in_words(found) == (
        "missing stock level in the warehouse (GB-1) GB-1/J1: is nothing, must be"
        " location GB-1, product_id J1, on_hand -3, revision 2"
    )


# ---------------------------------------------------------------------------- refused deliveries
def kept(kind: str, reason: str, data: bytes, sequence: int) -> Refusal:
    return Refusal(kind, reason, "", Record(data, Position("events", "shard-7", sequence), ARRIVAL))


QUARANTINE = [kept("conflict", "conflict", line(), 1), kept("rejected", "empty", b"", 2)]
CONFLICT = DeliveryRefused(
    RefusedAs.CONFLICT, "", "GB-1", "t-1", "POS", START, "shard-7", 1, 0, ARRIVAL
)
REJECTED = DeliveryRefused(
    RefusedAs.REJECTED, "empty", None, None, None, None, "shard-7", 2, 0, ARRIVAL
)
REPEAT = CONFLICT._replace(verdict=RefusedAs.DUPLICATE, sequence=3)


def test_duplicates_are_held_against_nothing() -> None:
    assert refusal_findings(QUARANTINE, [CONFLICT, REJECTED, REPEAT], Rules()) == []


@pytest.mark.parametrize(
    ("told", "key", "kind"),
    [
        ([CONFLICT], ("shard-7", "2", "0"), Kind.MISSING),
        ([REJECTED], ("shard-7", "1", "0"), Kind.MISSING),
        ([CONFLICT, REJECTED._replace(reason="bad_type")], ("shard-7", "2", "0"), Kind.DIFFERENT),
        ([CONFLICT, REJECTED, CONFLICT._replace(sub=1)], ("shard-7", "1", "1"), Kind.EXTRA),
    ],
)
def test_warehouse_that_tells_otherwise_than_the_quarantine_is_found(
    told: list[DeliveryRefused], key: tuple[str, ...], kind: Kind
) -> None:
    (found,) = refusal_findings(QUARANTINE, told, Rules())
    assert (found.check, found.key, found.kind) == (Check.WAREHOUSE_REFUSAL, key, kind)


def test_words_about_a_rejected_record_leave_out_what_it_does_not_say() -> None:
    (found,) = refusal_findings(QUARANTINE, [CONFLICT], Rules())
    assert in_words(found) == (
        "missing refused delivery in the warehouse (2011-03-14) shard-7/2/0: is nothing, must be"
        " verdict rejected, reason empty, shard_id shard-7, sequence 2, sub 0,"
        " ingested_at 2011-03-14T07:06:40.000000Z"
    )
