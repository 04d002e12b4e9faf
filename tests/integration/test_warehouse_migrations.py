"""The warehouse's schema: migrated once, up and down, partitioned as facts come."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pipeline.adapters.postgres.migrations import migrate, roll_back
from pipeline.adapters.postgres.upkeep import PostgresUpkeep
from pipeline.core.changes import Fact, StockChanged
from pipeline.core.errors import RefusedToStart, SystemFault, TransientFault, UsageError
from pipeline.core.instants import parse_instant
from tests.databases import new_database
from tests.warehouse_facts import MORNING, ask, load, refresh, sold

NEWEST = "0006"
ALL_OBJECTS = """
select c.oid, c.relname from pg_class c
join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'inventory' order by 1
"""
PARTITIONS = """
select oid::regclass::text from pg_class where relispartition and relkind = 'r' order by 1
"""
PARTITIONS_WITH_ROWS = """
select tableoid::regclass::text, count(*) from inventory.fact_change group by 1 order by 1
"""


@pytest.fixture
def dsn(postgres_server: str) -> Iterator[str]:
    """An empty database."""
    with new_database(postgres_server) as empty:
        yield empty


# ------------------------------------------------------------------------------------- migrating
def test_migrating_twice_changes_nothing(dsn: str) -> None:
    migrate(dsn)
    before = ask(dsn, ALL_OBJECTS)
    migrate(dsn)
    assert ask(dsn, ALL_OBJECTS) == before


def test_migrating_from_several_processes_at_once_does_it_once(dsn: str) -> None:
    with ThreadPoolExecutor(4) as starters:
        versions = {result.version for result in starters.map(migrate, [dsn] * 4)}
    assert versions == {NEWEST}


VERSIONS = ["0005", "0004", "0003", "0002", "0001"]
CONTENTS = [
    f"select * from inventory.{table} order by 1, 2"
    for table in ("fact_change", "change_annotation", "fact_combo", "stock_level", "etl_position")
]
SHAPE = """
select relname, relkind, attname, format_type(atttypid, atttypmod), relrowsecurity, relacl::text
from pg_class c join pg_attribute a on a.attrelid = c.oid and attnum > 0 and not attisdropped
where relnamespace = 'inventory'::regnamespace and not relispartition order by 1, 3
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_filled_warehouse_goes_back_to_a_version_and_up_again_and_keeps_its_rows(
    dsn: str, version: str
) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    before = [ask(dsn, query) for query in CONTENTS]
    roll_back(dsn, version)
    back = [ask(dsn, query) for query in CONTENTS]
    migrate(dsn)
    load(dsn, sold("t9", "J1", -1, "2011-11-01T00:00:00Z"))
    assert (back, ask(dsn, "select count(*) from inventory.change")) == (before, [(9,)])


@pytest.mark.parametrize("version", VERSIONS)
def test_up_again_is_the_same_schema_as_before(dsn: str, version: str) -> None:
    migrate(dsn)
    before = ask(dsn, SHAPE)
    roll_back(dsn, version)
    migrate(dsn)
    assert ask(dsn, SHAPE) == before


def test_back_to_the_base_leaves_nothing_and_up_again_begins_anew(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    roll_back(dsn, "base")
    left = ask(dsn, "select relname from pg_class where relnamespace = 'inventory'::regnamespace")
    migrate(dsn)
    load(dsn, *MORNING)
    assert ({name for (name,) in left}, ask(dsn, "select count(*) from inventory.change")) == (
        {"alembic_version", "alembic_version_pkc"},
        [(8,)],
    )


def test_a_warehouse_that_the_first_version_filled_gets_its_reports(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    roll_back(dsn, "0001")
    migrate(dsn)
    days = ask(dsn, "select count(*) from inventory.dim_date where fiscal_year = 2011")
    units = ask(dsn, "select sum(units_sold) from inventory.sales_by_day")
    newest = ask(dsn, "select count(newest_occurred_at) from inventory.freshness")
    assert (days, units, newest) == ([(33,)], [(15,)], [(2,)])


def test_days_that_older_loaders_left_out_come_with_the_sixth_version(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    roll_back(dsn, "0005")
    with psycopg.connect(dsn) as connection:
        connection.execute("delete from inventory.dim_date where date > '2011-10-01'")
    migrate(dsn)
    days = ask(dsn, "select count(*), max(date) from inventory.dim_date")
    assert days == [(33, date(2011, 11, 1))]


UNCOMMENTED = """
select c.oid::regclass::text, a.attname
from pg_class c
left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'inventory'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
    and not c.relispartition
    and (obj_description(c.oid, 'pg_class') is null or col_description(c.oid, a.attnum) is null)
"""
GRAINLESS = """
select c.relname from pg_class c
where c.relnamespace = 'inventory'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
    and not c.relispartition and obj_description(c.oid, 'pg_class') not like 'Grain: %'
"""


def test_every_table_view_and_column_says_what_it_is(dsn: str) -> None:
    migrate(dsn)
    assert (ask(dsn, UNCOMMENTED), ask(dsn, GRAINLESS)) == ([], [])


def test_a_relation_without_comments_is_found(dsn: str) -> None:
    migrate(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("create view inventory.mute as select 1 as one")
    assert ask(dsn, UNCOMMENTED) == [("inventory.mute", "one")]


def test_migrating_again_keeps_the_rows(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    migrate(dsn)
    assert ask(dsn, "select count(*) from inventory.fact_change") == [(8,)]


def test_a_migration_that_fails_leaves_nothing(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create schema inventory create table stock_level (taken integer)")
    before = ask(dsn, ALL_OBJECTS)
    with pytest.raises(SystemFault, match="already exists"):
        migrate(dsn)
    assert ask(dsn, ALL_OBJECTS) == before


def test_a_database_that_cannot_hold_every_identifier_is_refused(postgres_server: str) -> None:
    latin = "encoding 'LATIN1' locale_provider libc locale 'C' template template0"
    with (
        new_database(postgres_server, latin) as dsn,
        pytest.raises(RefusedToStart, match="LATIN1"),
    ):
        migrate(dsn)


def test_a_server_that_is_away_is_a_transient_fault_without_the_password() -> None:
    with pytest.raises(TransientFault, match=r"^(?!.*s3cret)"):
        migrate("postgresql://shop:s3cret@127.0.0.1:1/inventory")


def test_a_dsn_that_cannot_be_read_is_refused_without_the_password() -> None:
    with pytest.raises(UsageError, match=r"^(?!.*s3cret)") as caught:
        migrate("postgresql://shop:s3cret%zz@localhost/inventory")
    assert caught.value.__cause__ is None


# ------------------------------------------------------------------------------------ partitions
def test_each_month_gets_a_partition_up_to_its_last_microsecond(dsn: str) -> None:
    migrate(dsn)
    load(
        dsn,
        sold("t1", "J1", -1, "2011-10-31T23:59:59.999999Z"),
        sold("t2", "J1", -1, "2011-11-01T00:00:00Z"),
        sold("t3", "J1", -1, "2000-01-01T00:00:00Z"),
        sold("t4", "J1", -1, "9999-12-31T23:59:59.999999Z"),
    )
    months = ("2000_01", "2011_10", "2011_11", "9999_12")
    assert ask(dsn, PARTITIONS_WITH_ROWS) == [
        (f"inventory.fact_change_{month}", 1) for month in months
    ]


def test_months_are_those_of_utc_whatever_the_session_says(dsn: str) -> None:
    migrate(dsn)
    elsewhere = make_conninfo(dsn, options="-c timezone=Pacific/Auckland -c datestyle=German")
    load(elsewhere, sold("t1", "J1", -1, "2011-10-31T23:59:59Z"))
    found = ask(dsn, PARTITIONS_WITH_ROWS), ask(dsn, "select min(date) from inventory.dim_date")
    assert found == ([("inventory.fact_change_2011_10", 1)], [(date(2011, 9, 30),)])


def test_loaders_that_need_the_same_new_months_at_once_all_succeed(dsn: str) -> None:
    migrate(dsn)
    facts = [sold(f"t{month}", "J1", -1, f"2011-{month:02}-01T00:00:00Z") for month in range(1, 13)]
    batches = [[*facts[shift:], *facts[:shift]] for shift in range(0, 12, 3)]
    with ThreadPoolExecutor(4) as loaders:
        list(loaders.map(lambda batch: load(dsn, *batch), batches))
    assert [count for _, count in ask(dsn, PARTITIONS_WITH_ROWS)] == [1] * 12


def test_a_new_month_does_not_wait_for_a_report(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    with psycopg.connect(dsn) as report:
        report.execute("select count(*) from inventory.change")  # its transaction stays open
        load(dsn, sold("t9", "J1", -1, "2011-11-01T00:00:00Z"))
    assert len(ask(dsn, PARTITIONS_WITH_ROWS)) == 2


def test_a_default_partition_would_make_each_new_month_wait_for_reports(dsn: str) -> None:
    """Why there is none: even empty, and known to be by a check, it is locked exclusively."""
    migrate(dsn)
    load(dsn, *MORNING)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(
            "create table inventory.stray partition of inventory.fact_change default;"
            " alter table inventory.stray add constraint stays_empty check (false)"
        )
        with psycopg.connect(dsn) as report:
            report.execute("select count(*) from inventory.change")
            owner.execute("set lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                owner.execute("select inventory.ensure_change_partition('2011-11-01')")


def test_a_row_without_a_partition_is_refused_not_lost(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    copy = 'select (jsonb_populate_record(c, \'{"occurred_at": "2030-01-01Z"}\')).*'
    with psycopg.connect(dsn) as hand, pytest.raises(psycopg.errors.CheckViolation):
        hand.execute(f"insert into inventory.fact_change {copy} from inventory.fact_change c")


def test_months_ahead_are_there_before_their_first_fact(dsn: str) -> None:
    migrate(dsn)
    december = parse_instant("2011-12-31T23:59:59Z")
    PostgresUpkeep(dsn).prepare([december, december + 1_000_000])
    found = ask(dsn, PARTITIONS), ask(dsn, "select min(date), max(date) from inventory.dim_date")
    assert found == (
        [("inventory.fact_change_2011_12",), ("inventory.fact_change_2012_01",)],
        [(date(2011, 11, 30), date(2012, 2, 1))],
    )


def test_a_report_of_one_month_reads_one_partition(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *(sold(f"t{n}", "J1", -1, f"2011-{n:02}-01T00:00:00Z") for n in range(1, 13)))
    plan = ask(
        dsn,
        "explain select sum(units_sold) from inventory.sale"
        " where occurred_at >= '2011-03-01Z' and occurred_at < '2011-04-01Z'",
    )
    assert sum("Scan" in line and " on fact_change_" in line for (line,) in plan) == 1


def test_a_load_that_fails_leaves_no_partition(dsn: str) -> None:
    migrate(dsn)
    with pytest.raises(SystemFault, match="out of range"):
        load(dsn, sold("t1", "J1", -1, "09:00:00"), StockChanged("GB-1", "J1", 2**63, 1))
    assert ask(dsn, PARTITIONS) == []


# ------------------------------------------------------------------------------------ dimensions
def test_every_location_product_and_date_of_a_fact_is_in_its_dimension(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    orphans = """
    select count(*) from inventory.fact_change f where not exists (
        select from inventory.dim_location d where d.location = f.location
    ) or not exists (
        select from inventory.dim_product d where d.product_id = f.product_id
    ) or not exists (
        select from inventory.dim_date d where d.date = (f.occurred_at at time zone 'UTC')::date
    )
    """
    products = ask(dsn, "select product_id from inventory.dim_product order by 1")
    assert (ask(dsn, orphans), products) == (
        [(0,)],
        [("J1",), ("J2",), ("P1",), ("T8",), ("T9",)],
    )


def test_dates_are_whole_months_and_a_day_more_on_either_side(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    eve = date(2011, 9, 30)
    assert ask(dsn, "select date from inventory.dim_date order by 1") == [
        (eve + timedelta(days),) for days in range(33)
    ]


def test_the_last_month_there_can_be_has_no_day_after_it(dsn: str) -> None:
    migrate(dsn)
    load(dsn, sold("t1", "J1", -1, "9999-12-31T23:59:59Z"))
    assert ask(dsn, "select max(date) from inventory.dim_date") == [(date(9999, 12, 31),)]


def test_a_date_knows_its_calendar(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *MORNING)
    assert ask(dsn, "select * from inventory.dim_date where date = '2011-10-03'") == [
        (date(2011, 10, 3), 2011, 4, 10, 3, 2011, 40, 1, False, 2011, 3, 9, 36, 2)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_a_product_is_described_by_its_earliest_change(dsn: str, order: tuple[int, ...]) -> None:
    migrate(dsn)
    facts: list[Fact] = [
        sold("t1", "J1", -1, "09:00:00"),
        sold("t2", "J1", -1, "10:00:00", base_product_id="2", category="pants"),
        StockChanged("GB-1", "J1", -2, 1),
    ]
    for place in order:
        load(dsn, facts[place])
    assert ask(dsn, "select * from inventory.dim_product") == [
        ("J1", "1", "jacket", datetime(2011, 10, 3, 9, tzinfo=UTC))
    ]


def test_a_product_of_two_minds_is_listed(dsn: str) -> None:
    migrate(dsn)
    load(
        dsn,
        sold("t1", "J1", -1, "09:00:00"),
        sold("t2", "J1", -1, "10:00:00", base_product_id="2"),
    )
    refresh(dsn)
    ten = datetime(2011, 10, 3, 10, tzinfo=UTC)
    assert ask(dsn, "select * from inventory.product_conflict") == [
        ("J1", "2", "jacket", 1, ten, ten)
    ]
