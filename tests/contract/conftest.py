"""A warehouse on PostgreSQL for the contract suites."""

from collections.abc import Iterator

import psycopg
import pytest

from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from tests.databases import new_database


@pytest.fixture(scope="module")
def postgres_dsn(postgres_server: str) -> Iterator[str]:
    """A migrated database."""
    with new_database(postgres_server) as dsn:
        migrate(dsn)
        yield dsn


@pytest.fixture
def postgres(postgres_dsn: str) -> Iterator[PostgresWarehouse]:
    """An empty warehouse."""
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute(
            "truncate inventory.fact_change, inventory.change_annotation, inventory.fact_combo,"
            " inventory.stock_level, inventory.etl_position, inventory.dim_location,"
            " inventory.dim_product, inventory.dim_date, inventory.location_freshness,"
            " inventory.fact_refusal"
        )
    with PostgresWarehouse(postgres_dsn) as warehouse:
        yield warehouse
