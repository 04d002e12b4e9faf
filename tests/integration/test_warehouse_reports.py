"""The analysts' views, over the facts of one morning."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pipeline.adapters.postgres.migrations import migrate
from pipeline.adapters.postgres.reports import PostgresReports
from pipeline.adapters.postgres.upkeep import PostgresUpkeep
from pipeline.core.changes import RefusedAs
from pipeline.core.errors import SystemFault
from pipeline.ports.reports import Fall, Seller
from tests.databases import new_database
from tests.warehouse_facts import MORNING, ask, load, load_morning, refresh, refused, sold

MONDAY, TUESDAY = date(2011, 10, 3), date(2011, 10, 4)


@pytest.fixture(scope="module")
def morning(postgres_server: str) -> Iterator[str]:
    """A database with the facts of one morning, FR-1 in its own time zone; for reading only."""
    with new_database(postgres_server) as database:
        load_morning(database)
        yield database


@pytest.fixture
def dsn(postgres_server: str) -> Iterator[str]:
    """An empty warehouse."""
    with new_database(postgres_server) as database:
        migrate(database)
        yield database


def test_a_change_shows_its_annotation(morning: str) -> None:
    query = """
    select transaction_id, combo, combo_id, combo_ids, combo_count, late from inventory.change
    where transaction_id in ('t1', 't5', 't6') order by 1
    """
    assert ask(morning, query) == [
        ("t1", True, "t1+t2", ["t1+t2"], 1, False),
        ("t5", False, None, [], 0, True),
        ("t6", False, None, [], 0, False),
    ]


def test_stock_on_hand_shows_products_not_described_yet(morning: str) -> None:
    assert ask(morning, "select * from inventory.stock_on_hand order by product_id") == [
        ("GB-1", "J1", "1", "jacket", -502),
        ("GB-1", "T8", None, None, 40),
    ]


# ----------------------------------------------------------------------------------------- sales
def test_sales_are_counted_by_hour_and_category(morning: str) -> None:
    query = """
    select extract(hour from hour at time zone 'UTC')::integer, category,
        units_sold, units_returned, sales, returns
    from inventory.sales_by_hour where location = 'GB-1' order by 1, 2
    """
    assert ask(morning, query) == [
        (9, "jacket", 3, 0, 1, 0),
        (9, "pants", 2, 0, 2, 0),
        (10, "jacket", 1, 1, 1, 1),
        (11, "tie", 7, 0, 1, 0),
    ]


def test_an_hour_is_told_by_utc_and_by_the_clock_on_the_wall(morning: str) -> None:
    query = "select hour, local_hour from inventory.sales_by_hour where location = 'FR-1'"
    assert ask(morning, query) == [
        (datetime(2011, 10, 3, 23, tzinfo=UTC), datetime(2011, 10, 4, 1))  # noqa: DTZ001 - local
    ]


def test_a_sale_before_midnight_utc_is_on_the_next_day_in_paris(morning: str) -> None:
    query = "select date, units_sold, local_units_sold from inventory.sales_by_day"
    found = ask(morning, f"{query} where location = 'FR-1' order by 1")
    assert found == [(MONDAY, 2, 0), (TUESDAY, 0, 2)]


def test_days_know_their_fiscal_week(morning: str) -> None:
    query = "select distinct fiscal_year, fiscal_week from inventory.sales_by_day"
    assert ask(morning, query) == [(2011, 36)]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ("location", [("FR-1", 2, 0, 1, 0), ("GB-1", 13, 1, 5, 1)]),
        ("category", [("jacket", 6, 1, 3, 1), ("pants", 2, 0, 2, 0), ("tie", 7, 0, 1, 0)]),
    ],
)
def test_sales_are_summed_up(morning: str, view: str, expected: list[tuple[Any, ...]]) -> None:
    query = f"select {view}, units_sold, units_returned, sales, returns"
    assert ask(morning, f"{query} from inventory.sales_by_{view} order by 1") == expected


def test_products_are_ranked_by_what_tills_sold(morning: str) -> None:
    query = """
    select product_id, units_sold, units_returned, sales, returns, stock_change
    from inventory.sales_by_product order by units_sold desc, product_id limit 3
    """
    assert ask(morning, query) == [
        ("T9", 7, 0, 1, 0, -7),
        ("J1", 5, 1, 2, 1, -504),
        ("P1", 2, 0, 2, 0, -2),
    ]


def test_best_sellers_and_steepest_falls_come_from_the_views(morning: str) -> None:
    reports = PostgresReports(morning)
    assert (reports.best_sellers(2), reports.steepest_falls(2)) == (
        [Seller("T9", 7, 0), Seller("J1", 5, 1)],
        [Fall("J1", -504), Fall("T9", -7)],
    )


# ---------------------------------------------------------------------------------------- combos
def test_attach_rate_is_the_share_of_jackets_sold_with_pants_and_the_reverse(morning: str) -> None:
    query = """
    select location, date, jackets_sold, jackets_in_combos, jacket_attach_rate,
        pants_sold, pants_in_combos, pants_attach_rate
    from inventory.combo_attach_rate where date = '2011-10-03' order by location
    """
    assert ask(morning, query) == [
        ("FR-1", MONDAY, 2, 0, Decimal("0.0000"), 0, 0, None),
        ("GB-1", MONDAY, 4, 2, Decimal("0.5000"), 2, 2, Decimal("1.0000")),
    ]


def test_attach_rate_is_told_by_local_days_too(morning: str) -> None:
    query = """
    select date, jackets_sold, local_jackets_sold from inventory.combo_attach_rate
    where location = 'FR-1' order by 1
    """
    assert ask(morning, query) == [(MONDAY, 2, 0), (TUESDAY, 0, 2)]


def test_time_between_the_two_sales(morning: str) -> None:
    five, ten = timedelta(minutes=5), timedelta(minutes=10)
    assert ask(morning, "select * from inventory.combo_gap") == [
        ("GB-1", 2, 2, five, timedelta(minutes=7.5), timedelta(minutes=7.5),
         timedelta(minutes=9.5), ten)
    ]  # fmt: skip


def test_top_pairs_are_ranked_by_what_stands(morning: str) -> None:
    assert ask(morning, "select * from inventory.top_pairs") == [("GB-1", "J1", "P1", 2, 1, 1, 1)]


def test_a_retracted_combo_is_in_no_report(morning: str) -> None:
    assert ask(morning, "select combo_id from inventory.combo order by 1") == [
        ("t1+t2",),
        ("t1+t3",),
    ]


# ------------------------------------------------------------------------------ late, and fresh
def test_late_rate_is_the_share_of_what_could_pair(morning: str) -> None:
    query = """
    select location, source, changes, could_pair, late_changes, late_rate from inventory.late_rate
    order by 1, 2
    """
    assert ask(morning, query) == [
        ("FR-1", "POS", 1, 1, 0, Decimal("0.0000")),
        ("GB-1", "POS", 6, 5, 1, Decimal("0.2000")),
        ("GB-1", "batch", 1, 1, 0, Decimal("0.0000")),
    ]


def test_freshness_names_the_newest_event_of_each_location(morning: str) -> None:
    query = "select location, time_zone, newest_occurred_at from inventory.freshness order by 1"
    assert ask(morning, query) == [
        ("FR-1", "Europe/Paris", datetime(2011, 10, 3, 23, 30, tzinfo=UTC)),
        ("GB-1", "UTC", datetime(2011, 10, 3, 11, tzinfo=UTC)),
    ]


def test_the_low_watermark_is_that_of_the_slowest_shard_of_a_location(dsn: str) -> None:
    load(dsn, sold("t1", "J1", -1, "09:00:00"), shard_id="slow")
    load(dsn, sold("t2", "J1", -1, "10:00:00"), shard_id="quick")
    load(dsn, sold("t3", "J1", -1, "11:00:00", location="FR-1"), shard_id="quick", last=2)
    query = """
    select location, extract(hour from low_watermark at time zone 'UTC')::integer
    from inventory.freshness order by 1
    """
    assert ask(dsn, query) == [("FR-1", 11), ("GB-1", 9)]


def test_a_shard_that_ended_longer_ago_than_the_stream_keeps_holds_no_watermark_back(
    dsn: str,
) -> None:
    load(dsn, sold("t1", "J1", -1, "09:00:00"), shard_id="ended")
    load(dsn, sold("t2", "J1", -1, "10:00:00"), shard_id="open")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update inventory.etl_position set loaded_at = now() - interval '169 hours'"
            " where shard_id = 'ended'"
        )
    query = "select extract(hour from low_watermark at time zone 'UTC')::integer"
    assert ask(dsn, f"{query} from inventory.freshness") == [(10,)]


# --------------------------------------------------------------------------------- what came twice
def test_what_came_twice_or_otherwise_is_counted_by_who_delivered_it(morning: str) -> None:
    query = """
    select location, source, deliveries, accepted, duplicates, conflicts, duplicate_rate,
        conflict_rate
    from inventory.delivery_rate where date = '2011-10-03' order by 1, 2
    """
    assert ask(morning, query) == [
        ("FR-1", "POS", 2, 1, 1, 0, Decimal("0.5000"), Decimal("0.0000")),
        ("GB-1", "POS", 8, 6, 1, 1, Decimal("0.1250"), Decimal("0.1250")),
        ("GB-1", "batch", 2, 1, 1, 0, Decimal("0.5000"), Decimal("0.0000")),
    ]


def test_rejected_records_are_counted_by_the_day_of_their_arrival_and_reason(morning: str) -> None:
    query = "select date, reason, records from inventory.rejected_record"
    assert ask(morning, query) == [(MONDAY, "bad_type", 2)]


def test_a_location_of_which_nothing_was_accepted_has_its_rate(dsn: str) -> None:
    load(dsn, refused(RefusedAs.DUPLICATE, 1, "09:00:00", location="GB-9"))
    refresh(dsn)
    query = "select location, deliveries, duplicate_rate from inventory.delivery_rate"
    assert ask(dsn, query) == [("GB-9", 1, 1)]


# ----------------------------------------------------------------------------------- refreshing
UNITS = "select coalesce(sum(units_sold), 0)::integer from inventory.sales_by_day"


def test_reports_are_as_old_as_their_last_refresh(dsn: str) -> None:
    load(dsn, sold("t1", "J1", -1, "09:00:00"))
    before = ask(dsn, UNITS)
    refresh(dsn)
    assert (before, ask(dsn, UNITS)) == ([(0,)], [(1,)])


def test_a_refresh_that_is_not_due_is_left_out(dsn: str) -> None:
    refresh(dsn)
    load(dsn, sold("t1", "J1", -1, "09:00:00"))
    assert (PostgresUpkeep(dsn).refresh(at_most_every_s=60), ask(dsn, UNITS)) == (False, [(0,)])


def test_a_refresh_that_takes_long_is_due_more_rarely(dsn: str) -> None:
    refresh(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update inventory.report_refresh set took = '1 second',"
            " refreshed_at = now() - interval '30 seconds'"
        )
    assert PostgresUpkeep(dsn).refresh(at_most_every_s=1) is False


def test_readers_go_on_during_a_refresh(dsn: str) -> None:
    load(dsn, *MORNING)
    with psycopg.connect(dsn) as refreshing:
        refreshing.execute("select inventory.refresh_reports()")  # not committed
        impatient = make_conninfo(dsn, options="-c lock_timeout=200")
        assert ask(impatient, UNITS) == [(0,)]


def test_of_two_refreshes_at_once_one_is_left_out(dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        other.execute("select inventory.refresh_reports()")
        with ThreadPoolExecutor(1) as second:
            assert second.submit(refresh, dsn).result() is False


def test_loading_goes_on_during_a_refresh(dsn: str) -> None:
    with psycopg.connect(dsn) as refreshing:
        refreshing.execute("select inventory.refresh_reports()")
        load(dsn, sold("t1", "J1", -1, "09:00:00"))
    assert ask(dsn, "select count(*) from inventory.fact_change") == [(1,)]


# ------------------------------------------------------------------------------------ time zones
@pytest.mark.parametrize("zone", ["Europe/Atlantis", "FOO+3", "europe/paris"])
def test_a_time_zone_that_is_none_is_refused(dsn: str, zone: str) -> None:
    load(dsn, sold("t1", "J1", -1, "09:00:00"))
    with psycopg.connect(dsn) as connection, pytest.raises(psycopg.Error, match="unknown time"):
        connection.execute("update inventory.dim_location set time_zone = %s", (zone,))


def test_a_changed_time_zone_is_in_the_reports_after_a_refresh(dsn: str) -> None:
    load(dsn, sold("t1", "J1", -1, "23:30:00"))
    with psycopg.connect(dsn) as connection:
        connection.execute("update inventory.dim_location set time_zone = 'Asia/Kathmandu'")
    refresh(dsn)
    query = "select local_hour from inventory.sales_by_hour"
    assert ask(dsn, query) == [(datetime(2011, 10, 4, 5),)]  # noqa: DTZ001 - local


def test_a_server_without_a_warehouse_says_so(postgres_server: str) -> None:
    with new_database(postgres_server) as empty, pytest.raises(SystemFault, match="migrated"):
        PostgresReports(empty).best_sellers(1)
