"""What only a server can do to a load: refuse it, lose it, hold it up, and come back."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import psycopg
import pytest

from pipeline.adapters.postgres import PostgresServer, PostgresWarehouse, TimeLimits
from pipeline.core.changes import ChangeRecorded, StockChanged
from pipeline.core.errors import SystemFault, TransientFault, UsageError, ValueRefused
from pipeline.core.instants import parse_instant
from pipeline.ports.warehouse import FactBatch

NOON = parse_instant("2011-10-03T12:00:00.000001Z")
LEVEL = StockChanged("GB-1", "J1", -1, 1)


def change(transaction_id: str = "t1", **fields: Any) -> ChangeRecorded:
    row = ChangeRecorded(
        "GB-1", transaction_id, "J1", "1", "jacket", -1, NOON, "POS", "shard-7", 12, 3, NOON + 5
    )
    return row._replace(**fields)


def batch(*facts: ChangeRecorded | StockChanged, last: int = 1) -> FactBatch:
    return FactBatch("etl", "shard-1", (last, 0), facts)


def rows(warehouse: PostgresWarehouse) -> Counter[str]:
    return Counter(row.transaction_id for row, _ in warehouse.rows().changes)


def end_sessions(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 1000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


def end_waiting_sessions(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 1000) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        )


def wait_until_waiting(dsn: str) -> None:
    """Return once somebody waits for a lock."""
    query = "select count(*) from pg_locks where not granted"
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(query).fetchone() == (0,):
            connection.execute("select pg_sleep(0.01)")


def test_a_value_that_is_refused_is_no_transient_fault(postgres: PostgresWarehouse) -> None:
    with pytest.raises(ValueRefused, match=r"22003.*out of range"):
        postgres.load(batch(LEVEL._replace(on_hand=2**63)))


def test_a_value_that_a_check_refuses_is_refused(
    postgres: PostgresWarehouse, postgres_dsn: str
) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as owner:
        owner.execute("alter table inventory.stock_level add constraint dear check (on_hand <> 13)")
        try:
            with pytest.raises(ValueRefused, match="23514"):
                postgres.load(batch(LEVEL._replace(on_hand=13)))
        finally:
            owner.execute("alter table inventory.stock_level drop constraint dear")


def test_a_time_zone_that_the_server_does_not_know_is_no_refused_value(postgres_dsn: str) -> None:
    with (
        PostgresWarehouse(postgres_dsn, time_zone="Mars/Olympus") as warehouse,
        pytest.raises(SystemFault, match="Mars/Olympus") as caught,
    ):
        warehouse.load(batch(change(location="never seen")))
    assert type(caught.value) is SystemFault


# ---------------------------------------------------------------------------------- connections
def test_a_connection_that_was_lost_between_two_loads_costs_nothing(
    postgres: PostgresWarehouse, postgres_dsn: str
) -> None:
    postgres.load(batch(change()))
    end_sessions(postgres_dsn)
    postgres.load(batch(change("t2"), last=2))
    assert rows(postgres) == Counter(["t1", "t2"])


@contextmanager
def held_up(dsn: str, warehouse: PostgresWarehouse) -> Iterator[list[Exception]]:
    """Hold a load up in the middle of its transaction; collect what it raises."""
    raised: list[Exception] = []

    def load() -> None:
        try:
            warehouse.load(batch(change("t2"), LEVEL, last=2))
        except Exception as fault:  # noqa: BLE001 - handed to the test
            raised.append(fault)

    with psycopg.connect(dsn) as other:
        other.execute("lock table inventory.stock_level")
        thread = Thread(target=load)
        thread.start()
        wait_until_waiting(dsn)
        yield raised
        other.close()
        thread.join()


def test_a_connection_that_is_lost_during_a_load_is_a_transient_fault_and_loads_nothing(
    postgres: PostgresWarehouse, postgres_dsn: str
) -> None:
    with held_up(postgres_dsn, postgres) as raised:
        end_waiting_sessions(postgres_dsn)
    assert [type(fault) for fault in raised] == [TransientFault]
    assert (rows(postgres), postgres.position("etl", "shard-1")) == (Counter(), None)


def test_loading_goes_on_after_a_connection_was_lost_during_a_load(
    postgres: PostgresWarehouse, postgres_dsn: str
) -> None:
    with held_up(postgres_dsn, postgres):
        end_waiting_sessions(postgres_dsn)
    postgres.load(batch(change("t2"), LEVEL, last=2))
    assert rows(postgres) == Counter(["t2"])


def test_a_read_only_server_is_a_transient_fault_until_it_can_be_written(
    postgres: PostgresWarehouse, postgres_dsn: str
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(postgres_dsn)["dbname"]
    setting = f"alter database {name} set default_transaction_read_only"
    with psycopg.connect(postgres_dsn, autocommit=True) as owner:
        owner.execute(f"{setting} = on")
        try:
            with pytest.raises(TransientFault, match="read-only"):
                postgres.load(batch(change()))
        finally:
            owner.execute("set default_transaction_read_only = off")
            owner.execute(f"alter database {name} reset default_transaction_read_only")
    postgres.load(batch(change()))
    assert rows(postgres) == Counter(["t1"])


def test_a_lock_that_is_not_given_is_a_transient_fault(postgres_dsn: str) -> None:
    limits = TimeLimits(lock_s=0.05)
    with (
        psycopg.connect(postgres_dsn) as other,
        PostgresWarehouse(postgres_dsn, limits=limits) as warehouse,
    ):
        other.execute("lock table inventory.stock_level")
        with pytest.raises(TransientFault, match="lock timeout"):
            warehouse.load(batch(LEVEL))


def test_a_statement_that_takes_too_long_is_a_transient_fault(postgres_dsn: str) -> None:
    limits = TimeLimits(statement_s=0.05)
    with (
        psycopg.connect(postgres_dsn) as other,
        PostgresWarehouse(postgres_dsn, limits=limits) as warehouse,
    ):
        other.execute("lock table inventory.stock_level")
        with pytest.raises(TransientFault, match="statement timeout"):
            warehouse.load(batch(LEVEL))


def test_no_time_limit_outlives_its_load(postgres_dsn: str) -> None:
    limits = TimeLimits(statement_s=0.2)
    with PostgresWarehouse(postgres_dsn, limits=limits) as warehouse:
        warehouse.load(batch(change()))
        with warehouse._connection() as connection:
            assert connection.execute("show statement_timeout").fetchone() == ("0",)


def test_a_server_that_is_away_is_a_transient_fault_without_the_password() -> None:
    dsn = "postgresql://shop:s3cret@127.0.0.1:1/inventory"
    with (
        PostgresWarehouse(dsn, patience_s=0.1) as away,
        pytest.raises(TransientFault, match=r"^(?!.*s3cret)"),
    ):
        away.load(batch(change()))


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql:/shop:s3cret@localhost",
        "postgresql://shop:s3cret%zz@localhost/inventory",
        "postgresql://shop:pa@s3cret@localhost/inventory",
    ],
)
def test_a_dsn_that_cannot_be_read_is_refused_without_the_password(dsn: str) -> None:
    with pytest.raises(UsageError, match=r"^(?!.*s3cret)") as caught:
        PostgresWarehouse(dsn)
    assert caught.value.__cause__ is None


def test_an_export_does_not_see_half_a_batch_of_another_shard(postgres: PostgresWarehouse) -> None:
    postgres.load(batch(*(change(f"t{number}") for number in range(20_000))))
    reading = postgres.rows().changes
    seen = 1 if next(reading) else 0
    postgres.load(batch(*(change(f"u{number}") for number in range(10)), last=2))
    assert seen + sum(1 for _ in reading) == 20_000


# ------------------------------------------------------------------------------------- logging in
DSN = "postgresql://loader@db.example.org:6432/inventory"


def test_each_connection_logs_in_with_a_token_of_its_own() -> None:
    asked: list[tuple[str, int, str]] = []

    def token(*where: Any) -> str:
        asked.append(where)
        return f"token {len(asked)}"

    server = PostgresServer(DSN, tls="verify-full", token=token)
    passwords = [server.parameters()["password"] for _ in range(2)]
    assert (passwords, asked) == (["token 1", "token 2"], [("db.example.org", 6432, "loader")] * 2)


def test_the_pool_takes_a_fresh_token_for_a_new_connection(
    postgres_dsn: str, postgres: PostgresWarehouse
) -> None:
    del postgres  # only its empty tables are wanted
    password = str(psycopg.conninfo.conninfo_to_dict(postgres_dsn)["password"])
    tokens = Counter[str]()

    class Fresh(PostgresServer):
        def parameters(self) -> dict[str, Any]:
            tokens["made"] += 1
            return super().parameters() | {"password": password}

    server = Fresh(psycopg.conninfo.make_conninfo(postgres_dsn, password="old"))
    with PostgresWarehouse(server) as warehouse:
        warehouse.load(batch(change()))
        end_sessions(postgres_dsn)
        before = tokens["made"]
        warehouse.load(batch(change("t2"), last=2))
    assert tokens["made"] > before


@pytest.mark.parametrize("tls", [None, "prefer"])
def test_a_token_is_not_sent_without_encryption(tls: Any) -> None:
    server = PostgresServer(DSN, tls=tls, token=lambda *where: "token")
    with pytest.raises(UsageError, match="postgres_tls"):
        server.parameters()


def test_a_token_needs_a_host_and_a_user() -> None:
    server = PostgresServer("dbname=inventory", tls="require", token=lambda *where: "token")
    with pytest.raises(UsageError, match="host and one user"):
        server.parameters()


def test_tls_of_the_settings_wins_over_that_of_the_dsn() -> None:
    server = PostgresServer(f"{DSN}?sslmode=disable", tls="verify-full", ca_file="/ca.pem")
    found = server.parameters()
    assert (found["sslmode"], found["sslrootcert"]) == ("verify-full", "/ca.pem")
