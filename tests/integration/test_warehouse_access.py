"""Who may do what in the warehouse: analysts read, the loader loads, and neither does more."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.adapters.postgres.migrations import migrate
from tests.databases import new_database
from tests.warehouse_facts import MORNING, ask, load, refresh, sold

TABLES = [
    "fact_change", "change_annotation", "fact_combo", "stock_level", "dim_location",
    "dim_product", "dim_date", "fact_refusal", "etl_position", "location_freshness",
    "report_refresh",
]  # fmt: skip
VIEWS = [
    "change", "sale", "stock_on_hand", "sales_by_hour", "sales_by_day", "sales_by_location",
    "sales_by_category", "sales_by_product", "product_conflict", "combo", "combo_attach_rate",
    "combo_gap", "top_pairs", "late_rate", "delivery_rate", "rejected_record", "freshness",
    "shard_freshness",
]  # fmt: skip
STORED = "select relname from pg_class where relkind = 'm'"
OF_A_LOCATION = [
    "fact_change", "change_annotation", "fact_combo", "stock_level", "dim_location",
    "location_freshness", "change", "sale", "stock_on_hand", "sales_by_hour", "sales_by_day",
    "sales_by_location", "combo", "combo_attach_rate", "combo_gap", "top_pairs", "late_rate",
    "freshness", "fact_refusal", "delivery_rate",
]  # fmt: skip
GROUPS = ("tillstream_analyst", "tillstream_etl_writer")
LOGINS = ("wh_analyst", "wh_french_analyst", "wh_loader")


@pytest.fixture(scope="module")
def morning(postgres_server: str) -> Iterator[str]:
    """A filled database, with two analysts, one of them for France, and a loader."""
    with new_database(postgres_server) as database:
        migrate(database)
        load(database, *MORNING)
        refresh(database)
        with psycopg.connect(database, autocommit=True) as owner:
            for login in LOGINS:
                owner.execute(f"create role {login} login password 'pw'")
            owner.execute("select inventory.add_analyst('wh_analyst')")
            owner.execute("select inventory.add_analyst('wh_french_analyst', '5 seconds')")
            owner.execute(
                "insert into inventory.location_access values ('wh_french_analyst','FR-1')"
            )
            owner.execute("grant tillstream_etl_writer to wh_loader")
        yield database
        with psycopg.connect(database, autocommit=True) as owner:
            for login in LOGINS:
                owner.execute(f"drop owned by {login}; drop role {login}")


def as_login(dsn: str, login: str) -> str:
    return make_conninfo(dsn, user=login, password="pw")


def denied(dsn: str, statement: str) -> None:
    with (
        psycopg.connect(dsn) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("set default_transaction_read_only = off")
        connection.commit()
        connection.execute(statement)


# -------------------------------------------------------------------------------------- analysts
@pytest.mark.parametrize("name", [*TABLES, *VIEWS])
def test_an_analyst_can_read(morning: str, name: str) -> None:
    analyst = as_login(morning, "wh_analyst")
    assert ask(analyst, f"select count(*) from inventory.{name}")


def test_these_are_all_that_analysts_can_read(morning: str) -> None:
    query = """
    select relname from pg_class
    where relnamespace = 'inventory'::regnamespace and relkind in ('r', 'p', 'v', 'm')
        and has_table_privilege('tillstream_analyst', oid, 'select')
    """
    assert {name for (name,) in ask(morning, query)} == {*TABLES, *VIEWS, "alembic_version"}


def test_an_analyst_reads_neither_partitions_nor_what_reports_store(morning: str) -> None:
    analyst = as_login(morning, "wh_analyst")
    for name in ("fact_change_2011_10", *(name for (name,) in ask(morning, STORED))):
        denied(analyst, f"select from inventory.{name}")


@pytest.mark.parametrize(
    "statement",
    [
        *(f"delete from inventory.{table}" for table in TABLES),
        "insert into inventory.dim_location values ('x')",
        "update inventory.stock_level set on_hand = 0",
        "truncate inventory.fact_combo",
        "create table inventory.mine (x integer)",
        "select inventory.ensure_change_partition('2030-01-01')",
        "select inventory.refresh_reports()",
        "select inventory.add_analyst('postgres')",
        "select from inventory.location_access",
    ],
)
def test_an_analyst_cannot_write(morning: str, statement: str) -> None:
    denied(as_login(morning, "wh_analyst"), statement)


@pytest.mark.parametrize(("login", "limit"), [("wh_analyst", "30s"), ("wh_french_analyst", "5s")])
def test_an_analysts_statements_have_a_time_limit(morning: str, login: str, limit: str) -> None:
    assert ask(as_login(morning, login), "show statement_timeout") == [(limit,)]


@pytest.mark.parametrize("name", OF_A_LOCATION)
def test_an_analyst_of_one_location_sees_nothing_of_others(morning: str, name: str) -> None:
    query = f"select distinct location from inventory.{name}"
    seen = {location for (location,) in ask(as_login(morning, "wh_french_analyst"), query)}
    everything = {location for (location,) in ask(as_login(morning, "wh_analyst"), query)}
    assert (seen, "GB-1" in everything) == (everything & {"FR-1"}, True)


@pytest.mark.parametrize(
    ("query", "own", "all_of_them"),
    [
        ("select units_sold from inventory.sales_by_category where category = 'jacket'", 2, 6),
        ("select units_sold from inventory.sales_by_product where product_id = 'J1'", 2, 5),
    ],
)
def test_sums_over_locations_have_the_own_ones_alone(
    morning: str, query: str, own: int, all_of_them: int
) -> None:
    found = [ask(as_login(morning, login), query) for login in LOGINS[1::-1]]
    assert found == [[(own,)], [(all_of_them,)]]


def test_changing_to_the_group_is_no_way_round_row_security(morning: str) -> None:
    with psycopg.connect(as_login(morning, "wh_french_analyst")) as connection:
        connection.execute("set role tillstream_analyst")
        query = "select count(*) from inventory.fact_change where location <> 'FR-1'"
        assert connection.execute(query).fetchone() == (0,)


def test_a_record_that_names_no_location_is_seen_by_those_who_see_all(morning: str) -> None:
    query = "select records from inventory.rejected_record"
    found = [ask(as_login(morning, login), query) for login in LOGINS[1::-1]]
    assert found == [[], [(2,)]]


# ---------------------------------------------------------------------------------------- loader
def test_a_loader_loads_what_the_owner_would_have(morning: str) -> None:
    loader = as_login(morning, "wh_loader")
    load(loader, *MORNING, sold("u1", "J3", -1, "2012-02-01T00:00:00Z", location="IT-1"))
    with psycopg.connect(loader) as connection:
        connection.execute("select inventory.refresh_reports()")
    query = "select units_sold from inventory.sales_by_location where location = 'IT-1'"
    assert ask(morning, query) == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "delete from inventory.fact_change",
        "truncate inventory.stock_level",
        "drop table inventory.fact_combo",
        "create table inventory.mine (x integer)",
        "insert into inventory.location_access values ('wh_loader', 'GB-1')",
        "select inventory.admit_roles()",
    ],
)
def test_a_loader_cannot_delete_or_create(morning: str, statement: str) -> None:
    denied(as_login(morning, "wh_loader"), statement)


# ---------------------------------------------------------------------- without an administrator
def _rename(old: str, new: str) -> str:
    return (
        f"do $$ begin alter role {old} rename to {new};"
        " exception when undefined_object then null; end $$"
    )


@pytest.fixture
def dsn(postgres_server: str) -> Iterator[str]:
    """An empty database."""
    with new_database(postgres_server) as empty:
        yield empty


@pytest.fixture
def humble(postgres_server: str, dsn: str) -> Iterator[str]:
    """A database whose owner may create no roles, on a server that has no groups yet."""
    with psycopg.connect(postgres_server, autocommit=True) as server:
        name = conninfo_to_dict(dsn)["dbname"]
        for group in GROUPS:
            server.execute(_rename(group, f"{group}_away"))
        server.execute("create role humble login password 'humble'")
        server.execute(f"alter database {name} owner to humble")
        try:
            yield make_conninfo(dsn, user="humble", password="humble")
        finally:
            server.execute(f"alter database {name} owner to postgres")
            with psycopg.connect(dsn) as connection:
                connection.execute("drop owned by humble cascade")
                for group in GROUPS:
                    connection.execute(f"drop role if exists {group}")
            server.execute("drop role humble")
            for group in GROUPS:
                server.execute(_rename(f"{group}_away", group))


def test_without_the_right_to_create_roles_all_but_the_roles_is_done(humble: str) -> None:
    complaint = migrate(humble).complaint or ""
    load(humble, *MORNING)
    assert all(f"create role {group} nologin" in complaint for group in GROUPS)


def test_roles_that_an_administrator_adds_are_admitted_by_the_next_migration(
    humble: str, dsn: str
) -> None:
    migrate(humble)
    with psycopg.connect(dsn) as administrator:
        for group in GROUPS:
            administrator.execute(f"create role {group} nologin")
    assert migrate(humble).complaint is None
