"""The warehouse's schema: migrated once, partitioned as facts come, read-only for analysts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from consumers.embedded import Endpoints
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres_migrations import migrate
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    Fact,
    StockChanged,
)
from pipeline.core.errors import RefusedToStart, SystemFault, TransientFault, UsageError
from pipeline.core.instants import parse_instant
from pipeline.ports.warehouse import FactBatch
from tests.databases import new_database

DAY = datetime(2011, 10, 3, tzinfo=UTC)
TABLES = [
    "fact_change", "change_annotation", "fact_combo", "stock_level",
    "dim_location", "dim_product", "dim_date", "etl_position",
]  # fmt: skip
VIEWS = [
    "change", "sale", "product_sales", "sales_by_hour", "stock_on_hand",
    "product_conflict", "combo_attach_rate", "late_rate", "freshness",
]  # fmt: skip
ALL_OBJECTS = """
select c.oid, c.relname from pg_class c
join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'inventory' order by 1
"""
PARTITIONS = "select inhrelid::regclass::text from pg_inherits order by 1"
PARTITIONS_WITH_ROWS = """
select tableoid::regclass::text, count(*) from inventory.fact_change group by 1 order by 1
"""


def sold(transaction_id: str, product_id: str, change: int, at: str, **fields: Any) -> Fact:
    instant = parse_instant(at if "T" in at else f"2011-10-03T{at}Z")
    category = {"J": "jacket", "P": "pants", "T": "tie"}[product_id[0]]
    row = ChangeRecorded(
        "GB-1", transaction_id, product_id, product_id[1:], category, change, instant, "POS",
        "shard-7", 12, 0, instant,
    )  # fmt: skip
    return row._replace(**fields)


def paired(jacket: str, pants: str, quantity: int, voided: int = 0) -> Fact:
    noon = parse_instant("2011-10-03T12:00:00Z")
    status = ComboStatus.ACTIVE if quantity else ComboStatus.CANCELLED
    name = f"{jacket}+{pants}"
    return ComboChanged(name, "GB-1", "1", jacket, pants, noon, quantity, voided, status, 1)


# Four jackets sold and one returned, two pairs of which one was returned, a straggler, a delivery.
MORNING: list[Fact] = [
    sold("t1", "J1", -3, "09:15:00"),
    sold("t2", "P1", -1, "09:20:00"),
    sold("t3", "P1", -1, "09:25:00"),
    sold("t4", "J1", 1, "10:00:00"),
    sold("t5", "J2", -1, "10:59:59.999999"),
    sold("t6", "T9", -7, "11:00:00"),
    sold("t7", "J1", -500, "11:00:00", source="batch"),
    sold("t8", "J1", -2, "23:30:00", location="FR-1"),
    paired("t1", "t2", 1),
    paired("t1", "t3", 0, voided=1),
    ChangeAnnotated("GB-1", "t1", ("t1+t2",), 1, False, 1),
    ChangeAnnotated("GB-1", "t2", ("t1+t2",), 1, False, 1),
    ChangeAnnotated("GB-1", "t5", (), 0, True, 1),
    StockChanged("GB-1", "J1", -502, 1),
    StockChanged("GB-1", "T8", 40, 1),
]


@pytest.fixture
def dsn(embedded: Endpoints) -> Iterator[str]:
    """An empty database."""
    with new_database(embedded.postgres_dsn) as empty:
        yield empty


@pytest.fixture(scope="module")
def morning(embedded: Endpoints) -> Iterator[str]:
    """A database with the facts of one morning; for reading only."""
    with new_database(embedded.postgres_dsn) as database:
        migrate(database)
        load(database, *MORNING)
        yield database


def load(dsn: str, *facts: Fact) -> None:
    with PostgresWarehouse(dsn) as warehouse:
        warehouse.load(FactBatch("etl", "shard-1", (1, 0), facts))


def ask(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


# ------------------------------------------------------------------------------------- migrating
def test_migrating_twice_changes_nothing(dsn: str) -> None:
    migrate(dsn)
    before = ask(dsn, ALL_OBJECTS)
    migrate(dsn)
    assert ask(dsn, ALL_OBJECTS) == before


def test_migrating_from_several_processes_at_once_does_it_once(dsn: str) -> None:
    with ThreadPoolExecutor(4) as starters:
        versions = {result.version for result in starters.map(migrate, [dsn] * 4)}
    assert versions == {"0001"}


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


def test_a_database_that_cannot_hold_every_identifier_is_refused(embedded: Endpoints) -> None:
    latin = "encoding 'LATIN1' locale_provider libc locale 'C' template template0"
    with (
        new_database(embedded.postgres_dsn, latin) as dsn,
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
    found = ask(dsn, PARTITIONS_WITH_ROWS), ask(dsn, "select date from inventory.dim_date")
    assert found == ([("inventory.fact_change_2011_10", 1)], [(date(2011, 10, 31),)])


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
    impatient = make_conninfo(dsn, options="-c lock_timeout=200")
    with psycopg.connect(dsn) as report:
        report.execute("select count(*) from inventory.change")  # its transaction stays open
        load(impatient, sold("t9", "J1", -1, "2011-11-01T00:00:00Z"))
    assert len(ask(dsn, PARTITIONS_WITH_ROWS)) == 2


def test_a_report_of_one_month_reads_one_partition(dsn: str) -> None:
    migrate(dsn)
    load(dsn, *(sold(f"t{n}", "J1", -1, f"2011-{n:02}-01T00:00:00Z") for n in range(1, 13)))
    plan = ask(
        dsn,
        "explain select sum(units_sold) from inventory.sale"
        " where occurred_at >= '2011-03-01Z' and occurred_at < '2011-04-01Z'",
    )
    assert sum("Scan on" in line for (line,) in plan) == 1


def test_a_load_that_fails_leaves_no_partition(dsn: str) -> None:
    migrate(dsn)
    with pytest.raises(SystemFault, match="out of range"):
        load(dsn, sold("t1", "J1", -1, "09:00:00"), StockChanged("GB-1", "J1", 2**63, 1))
    assert ask(dsn, PARTITIONS) == []


# ------------------------------------------------------------------------------------ dimensions
def test_every_location_product_and_date_of_a_fact_is_in_its_dimension(morning: str) -> None:
    found = [
        ask(morning, f"select {column} from inventory.dim_{column} order by 1")
        for column in ("location", "date")
    ]
    found.append(ask(morning, "select product_id from inventory.dim_product order by 1"))
    assert found == [
        [("FR-1",), ("GB-1",)],
        [(date(2011, 10, 3),)],
        [("J1",), ("J2",), ("P1",), ("T8",), ("T9",)],
    ]


def test_a_date_knows_its_calendar(morning: str) -> None:
    assert ask(morning, "select * from inventory.dim_date") == [
        (date(2011, 10, 3), 2011, 4, 10, 3, 2011, 40, 1, False)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_a_product_is_described_by_its_earliest_change(dsn: str, order: tuple[int, ...]) -> None:
    migrate(dsn)
    facts = [
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
    ten = datetime(2011, 10, 3, 10, tzinfo=UTC)
    assert ask(dsn, "select * from inventory.product_conflict") == [
        ("J1", "2", "jacket", 1, ten, ten)
    ]


# ----------------------------------------------------------------------------------------- views
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


def test_best_sellers_count_what_tills_sold(morning: str) -> None:
    query = """
    select product_id, units_sold, units_returned, sales from inventory.product_sales
    order by units_sold desc, product_id limit 3
    """
    assert ask(morning, query) == [("T9", 7, 0, 1), ("J1", 5, 1, 2), ("P1", 2, 0, 2)]


def test_sales_are_counted_by_the_hour(morning: str) -> None:
    query = """
    select extract(hour from hour at time zone 'UTC')::integer, units_sold, units_returned, sales
    from inventory.sales_by_hour where location = 'GB-1' order by 1
    """
    assert ask(morning, query) == [(9, 5, 0, 3), (10, 1, 1, 1), (11, 7, 0, 1)]


def test_stock_on_hand_shows_products_not_described_yet(morning: str) -> None:
    assert ask(morning, "select * from inventory.stock_on_hand order by product_id") == [
        ("GB-1", "J1", "1", "jacket", -502),
        ("GB-1", "T8", None, None, 40),
    ]


def test_attach_rate_is_the_share_of_jackets_sold_with_pants(morning: str) -> None:
    assert ask(morning, "select * from inventory.combo_attach_rate order by location") == [
        ("FR-1", DAY.date(), 2, 0, Decimal("0.0000")),
        ("GB-1", DAY.date(), 4, 2, Decimal("0.5000")),
    ]


def test_late_rate_is_the_share_of_what_could_pair(morning: str) -> None:
    assert ask(morning, "select * from inventory.late_rate order by location") == [
        ("FR-1", DAY.date(), 1, 0, Decimal("0.0000")),
        ("GB-1", DAY.date(), 5, 1, Decimal("0.2000")),
    ]


def test_freshness_names_the_newest_event_of_each_shard(morning: str) -> None:
    query = "select consumer, shard_id, newest_ingested_at from inventory.freshness"
    newest = datetime(2011, 10, 3, 23, 30, tzinfo=UTC)
    assert ask(morning, query) == [("etl", "shard-1", newest)]


# -------------------------------------------------------------------------------------- analysts
AS_ANALYST = "-c role=tillstream_analyst"


@pytest.mark.parametrize("name", [*TABLES, *VIEWS, "fact_change_2011_10"])
def test_an_analyst_can_read(morning: str, name: str) -> None:
    analyst = make_conninfo(morning, options=AS_ANALYST)
    assert ask(analyst, f"select count(*) from inventory.{name}")


@pytest.mark.parametrize(
    "statement",
    [
        *(f"delete from inventory.{table}" for table in TABLES),
        "insert into inventory.dim_location values ('x')",
        "update inventory.stock_level set on_hand = 0",
        "truncate inventory.fact_combo",
        "create table inventory.mine (x integer)",
        "select inventory.ensure_change_partition('2030-01-01')",
    ],
)
def test_an_analyst_cannot_write(morning: str, statement: str) -> None:
    analyst = make_conninfo(morning, options=AS_ANALYST)
    with (
        psycopg.connect(analyst) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.fixture
def humble(embedded: Endpoints, dsn: str) -> Iterator[str]:
    """A database whose owner may create no roles, on a server that has no analysts yet."""
    away = "do $$ begin alter role tillstream_analyst rename to tillstream_analyst_away;"
    away += " exception when undefined_object then null; end $$"
    with psycopg.connect(embedded.postgres_dsn, autocommit=True) as server:
        name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        server.execute(away)
        server.execute("create role humble login password 'humble'")
        server.execute(f"alter database {name} owner to humble")
        try:
            yield make_conninfo(dsn, user="humble", password="humble")
        finally:
            server.execute(f"alter database {name} owner to postgres")
            with psycopg.connect(dsn) as connection:
                connection.execute("drop owned by humble cascade")
                connection.execute("drop role if exists tillstream_analyst")
            server.execute("drop role humble")
            server.execute(_swapped(away))


def _swapped(renaming: str) -> str:
    there, back = "tillstream_analyst rename", "tillstream_analyst_away rename"
    swapped = renaming.replace(there, back)
    return swapped.replace("to tillstream_analyst_away", "to tillstream_analyst")


def test_without_the_right_to_create_roles_all_but_the_role_is_done(humble: str) -> None:
    complaint = migrate(humble).complaint or ""
    load(humble, *MORNING)
    assert "create role tillstream_analyst nologin" in complaint


def test_a_role_that_an_administrator_adds_is_admitted_by_the_next_migration(
    humble: str, dsn: str
) -> None:
    migrate(humble)
    with psycopg.connect(dsn) as administrator:
        administrator.execute("create role tillstream_analyst nologin")
    assert migrate(humble).complaint is None
