"""The loader's role, made as infra/README.md says, can load and cannot do more."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from consumers.embedded import Endpoints
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    RefusedAs,
    StockChanged,
)
from pipeline.core.instants import parse_instant
from pipeline.ports.warehouse import FactBatch
from tests.databases import new_database
from tests.infra.test_templates import README

ROLE = "tillstream_etl"
NOON = parse_instant("2011-10-03T12:00:00Z")
FACTS = (
    ChangeRecorded("GB-1", "t1", "J1", "1", "jacket", -1, NOON, "POS", "shard-7", 12, 0, NOON),
    ChangeAnnotated("GB-1", "t1", ("c1",), 1, False, 1),
    ComboChanged("c1", "GB-1", "1", "t1", "t2", NOON, 1, 0, ComboStatus.ACTIVE, 1),
    StockChanged("GB-1", "J1", -1, 1),
    DeliveryRefused(RefusedAs.DUPLICATE, "", "GB-1", "t1", "POS", NOON, "shard-7", 13, 0, NOON),
)


@pytest.fixture
def loader_dsn(embedded: Endpoints) -> Iterator[str]:
    """Migrate as the owner, make the role by the README's statements, and log in as it."""
    (block,) = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    # rds_iam is a role that only RDS has.
    lines = block.replace(", rds_iam", "").splitlines()
    statements = [line for line in lines if ROLE in line]
    assert len(statements) == 2
    with new_database(embedded.postgres_dsn) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as owner:
            for statement in statements:
                owner.execute(statement)
            owner.execute(f"alter role {ROLE} password 'word'")  # for want of tokens
        yield make_conninfo(dsn, user=ROLE, password="word")
    with psycopg.connect(embedded.postgres_dsn, autocommit=True) as owner:
        owner.execute(f"drop role {ROLE}")


def test_loader_loads_every_kind_of_fact_into_months_that_are_new(loader_dsn: str) -> None:
    with PostgresWarehouse(loader_dsn) as warehouse:
        warehouse.load(FactBatch("etl", "shard-7", (12, 0), FACTS))
        assert warehouse.position("etl", "shard-7") == (12, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from inventory.fact_change",
        "truncate inventory.stock_level",
        "drop table inventory.fact_combo",
        "create table inventory.mine (id int)",
        "select inventory.admit_roles()",
    ],
)
def test_loader_neither_deletes_nor_alters(loader_dsn: str, statement: str) -> None:
    with (
        psycopg.connect(loader_dsn) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
