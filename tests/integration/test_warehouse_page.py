"""What the report's page asks of a warehouse, over the facts of one morning and over many shops.

`tests/report` holds the page's numbers against SQL; here is what is asked for, and of which state.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import psycopg
import pytest

from pipeline.adapters.postgres import page_questions, page_reports
from pipeline.adapters.postgres.migrations import migrate
from pipeline.adapters.postgres.page_reports import PostgresPageReports
from pipeline.core.changes import RefusedAs
from pipeline.core.errors import SystemFault
from pipeline.ports.page_reports import (
    AttachDay,
    ComboTotals,
    Deliveries,
    GapBin,
    Pair,
    ProductSales,
    Question,
    Rejected,
    Sales,
    Snapshot,
    StockFall,
)
from tests.databases import analyst_login, new_database
from tests.warehouse_facts import MORNING, load, load_morning, paired, refresh, refused, sold

MONDAY, TUESDAY = date(2011, 10, 3), date(2011, 10, 4)
SHOPS = 500


@pytest.fixture(scope="module")
def morning(postgres_server: str) -> Iterator[str]:
    """The facts of one morning, FR-1 in its own time zone; for reading only."""
    with new_database(postgres_server) as database:
        load_morning(database)
        yield database


@pytest.fixture
def dsn(postgres_server: str) -> Iterator[str]:
    """An empty warehouse."""
    with new_database(postgres_server) as database:
        migrate(database)
        yield database


def execute(dsn: str, statement: str) -> None:
    """Run one statement."""
    with psycopg.connect(dsn) as connection:
        connection.execute(statement.encode())


def asked(dsn: str, question: Question | None = None) -> Snapshot:
    """Ask for a page."""
    return PostgresPageReports(dsn).snapshot(question or Question())


def controls(seen: Snapshot) -> dict[str, tuple[int, int]]:
    """Return both sides of each control."""
    return {control.name: (control.left, control.right) for control in seen.controls}


# ------------------------------------------------------------------------------------- the period
def test_period_is_of_the_clocks_on_the_wall(morning: str) -> None:
    seen = asked(morning)
    assert (seen.first_day, seen.last_day) == (MONDAY, TUESDAY)


@pytest.mark.parametrize(
    ("question", "totals"),
    [
        (Question(), Sales(15, 1, 6, 1)),
        (Question(location="GB-1"), Sales(13, 1, 5, 1)),
        (Question(since=TUESDAY), Sales(2, 0, 1, 0)),
        (Question(days=1), Sales(2, 0, 1, 0)),
        (Question(days=2), Sales(15, 1, 6, 1)),
        (Question(location="GB-1", days=1), Sales(13, 1, 5, 1)),
        (Question(since=TUESDAY, days=2), Sales(2, 0, 1, 0)),
        (Question(location="'; drop schema inventory"), Sales(0, 0, 0, 0)),
    ],
)
def test_question_bounds_every_sum(morning: str, question: Question, totals: Sales) -> None:
    seen = asked(morning, question)
    assert seen.totals == totals
    assert sum(row.units_sold for row in seen.days) == totals.units_sold
    assert sum(row.units_sold for row in seen.location_hours) == totals.units_sold
    assert sum(row.units_sold for row in seen.best_sellers.rows) == totals.units_sold


def test_hours_are_told_where_the_period_is_short(morning: str) -> None:
    hours = {row.at.hour: row.units_sold for row in asked(morning).hours}
    assert hours == {9: 5, 10: 1, 11: 7, 1: 2}


def test_hours_are_left_out_where_the_period_is_long(dsn: str) -> None:
    load(dsn, sold("t1", "J1", -1, "2011-10-03T09:00:00Z"))
    load(dsn, sold("t2", "J1", -1, "2011-10-05T09:00:00Z"), last=2)
    refresh(dsn)
    seen = asked(dsn)
    assert (len(seen.days), seen.hours) == (2, ())


def test_empty_warehouse_answers_with_nothing(dsn: str) -> None:
    seen = asked(dsn)
    assert (seen.first_day, seen.totals, seen.gap) == (None, Sales(0, 0, 0, 0), None)
    assert set(controls(seen).values()) == {(0, 0)}


# -------------------------------------------------------------------------------------- the lists
def test_combos_and_attach_rate_are_those_of_the_views(morning: str) -> None:
    seen = asked(morning)
    assert seen.combos == ComboTotals(2, 1, 1, 1)
    assert seen.pairs.rows == (Pair("J1", "P1", 2, 1, 1),)
    assert seen.attach_days == (AttachDay(MONDAY, 4, 2, 2, 2), AttachDay(TUESDAY, 2, 0, 0, 0))


def test_gaps_are_counted_in_steps_from_zero_to_the_longest(morning: str) -> None:
    seen = asked(morning)
    assert seen.gap is not None
    assert (seen.gap.shortest, seen.gap.longest) == (timedelta(minutes=5), timedelta(minutes=10))
    counted = [each for each in seen.gap_bins if each.combos]
    assert counted == [GapBin(300, 360, 1), GapBin(600, 660, 1)]
    assert [each.start_s for each in seen.gap_bins] == list(range(0, 660, 60))


def test_stock_that_fell_has_its_change_and_what_is_on_hand(morning: str) -> None:
    falls = asked(morning).falls.rows
    assert falls[:2] == (StockFall("J1", "jacket", -504, -502), StockFall("T9", "tie", -7, 0))


def test_part_of_the_warehouse_has_products_of_that_part(morning: str) -> None:
    seen = asked(morning, Question(location="FR-1"))
    assert seen.best_sellers.rows == (ProductSales("J1", "jacket", 2, 0),)
    assert seen.falls.rows == (StockFall("J1", "jacket", -2, 0),)


def test_many_shops_are_a_bounded_answer(dsn: str) -> None:
    facts = [
        sold(f"t{n}", f"J{n}", -n, "09:00:00", location=f"shop-{n:03d}") for n in range(1, SHOPS)
    ]
    load(dsn, *facts)
    refresh(dsn)
    seen = asked(dsn)
    assert [row.location for row in seen.locations.rows[:2]] == ["shop-499", "shop-498"]
    assert (len(seen.locations.rows), seen.locations.of) == (12, SHOPS - 1)
    assert len(seen.location_hours) == 13
    assert sum(row.units_sold for row in seen.location_hours) == seen.totals.units_sold
    assert (len(seen.best_sellers.rows), seen.best_sellers.left_out) == (10, SHOPS - 11)
    assert (len(seen.freshness.rows), seen.freshness.of) == (12, SHOPS - 1)


def test_deliveries_and_rejected_records_are_those_of_the_views(morning: str) -> None:
    seen = asked(morning)
    assert seen.deliveries == (Deliveries("POS", 10, 7, 2, 1), Deliveries("batch", 2, 1, 1, 0))
    assert seen.rejected == (Rejected("bad_type", 2),)
    assert asked(morning, Question(location="FR-1")).deliveries == (Deliveries("POS", 2, 1, 1, 0),)


# --------------------------------------------------------------------------------- reconciliation
def test_controls_find_what_does_not_agree(morning: str) -> None:
    # The morning's stock levels are of two products alone, and one of them is no event's.
    assert controls(asked(morning)) == {
        "stock": (-514, -462),
        "stored_rows": (8, 8),
        "stored_units": (16, 16),
        "stored_combos": (2, 2),
        "combo_rows": (2, 2),
        "combo_annotations": (2, 2),
        "dimensions": (8, 8),
    }


@pytest.mark.parametrize(
    ("damage", "control", "sides"),
    [
        ("delete from inventory.fact_change where transaction_id = 't2'", "combo_rows", (2, 1)),
        ("delete from inventory.dim_product where product_id = 'J2'", "dimensions", (8, 7)),
        ("delete from inventory.dim_location where location = 'FR-1'", "dimensions", (8, 7)),
        ("delete from inventory.dim_date", "dimensions", (8, 0)),
        ("update inventory.change_annotation set combo_count = 0", "combo_annotations", (2, 0)),
        ("update inventory.stock_level set on_hand = 0", "stock", (-514, 0)),
        ("delete from inventory.fact_change where product_id = 'T9'", "stored_rows", (7, 8)),
        ("delete from inventory.fact_change where product_id = 'T9'", "stored_units", (9, 16)),
        ("delete from inventory.fact_combo where voided = 1", "stored_combos", (1, 2)),
    ],
)
def test_each_control_sees_the_damage_that_it_is_for(
    dsn: str, damage: str, control: str, sides: tuple[int, int]
) -> None:
    load(dsn, *MORNING)
    refresh(dsn)
    execute(dsn, damage)
    assert controls(asked(dsn))[control] == sides


def test_stored_reports_are_judged_once_loads_and_refresh_lie_apart(dsn: str) -> None:
    load(dsn, *MORNING)
    refresh(dsn)
    assert unsettled(dsn) == {*OF_TABLES, *OF_REPORTS}
    execute(dsn, "update inventory.etl_position set loaded_at = now() - interval '1 hour'")
    assert unsettled(dsn) == set()


def test_tables_are_judged_while_reports_wait_for_a_refresh(dsn: str) -> None:
    load(dsn, *MORNING)
    execute(dsn, "update inventory.etl_position set loaded_at = now() - interval '1 hour'")
    assert unsettled(dsn) == OF_REPORTS


@pytest.mark.parametrize(("location", "known"), [("GB-1", True), ("GB-9", True), ("GB-8", False)])
def test_location_is_known_once_anything_of_it_came(dsn: str, location: str, known: bool) -> None:
    load(dsn, *MORNING, refused(RefusedAs.DUPLICATE, 99, "09:00:00", location="GB-9"))
    refresh(dsn)
    found = PostgresPageReports(dsn).snapshot(Question(location))
    assert found.location_known is known


OF_TABLES = {"stock", "combo_rows", "combo_annotations"}
OF_REPORTS = {"stored_rows", "stored_units", "stored_combos"}


def unsettled(dsn: str) -> set[str]:
    return {control.name for control in asked(dsn).controls if not control.settled}


# --------------------------------------------------------------------------------- which state
def test_all_answers_are_of_one_moment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load(dsn, sold("t1", "J1", -1, "09:00:00"), sold("t2", "P1", -1, "09:01:00"))
    refresh(dsn)
    original = page_reports._Page._top

    def meanwhile(page: object, *arguments: object) -> object:
        load(dsn, paired("t1", "t2", 1), sold("t3", "J1", -5, "09:02:00"), last=2)
        refresh(dsn)
        return original(page, *arguments)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(page_reports._Page, "_top", meanwhile)
    seen = asked(dsn)
    assert (seen.totals.units_sold, seen.combos.combos, len(seen.pairs.rows)) == (2, 0, 0)
    assert controls(seen)["stored_rows"] == (2, 2)
    monkeypatch.undo()
    assert asked(dsn).totals.units_sold == 7


def test_nothing_can_be_written_while_asking(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_questions, "PERIOD", "delete from inventory.dim_date")
    with pytest.raises(SystemFault, match="read-only"):
        asked(dsn)


def test_login_that_sees_one_location_has_a_page_of_it(dsn: str) -> None:
    load(dsn, *MORNING)
    refresh(dsn)
    with analyst_login(dsn, "FR-1") as analyst:
        seen = asked(analyst)
    assert (seen.sees_all, [row.location for row in seen.locations.rows]) == (False, ["FR-1"])
    assert controls(seen)["stored_rows"] == (1, 1)


def test_page_says_since_when_reports_are_stored(dsn: str) -> None:
    before = asked(dsn).refreshed_at
    refresh(dsn)
    assert (before, asked(dsn).refreshed_at is None) == (None, False)
