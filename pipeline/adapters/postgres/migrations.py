"""Migrations of the warehouse: bring a database to the newest schema, all of it or nothing.

One transaction holds the lock, the migrations and the grants. So two processes that start together
do it once, a migration that fails half-way leaves no trace, and a database is never seen between
two versions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from pipeline.adapters.postgres.server import PostgresServer, server
from pipeline.core.errors import RefusedToStart, SystemFault, TransientFault

_SCRIPTS = "warehouse"
# Advisory locks are named by numbers, for the whole database: "till" in ASCII, and which of ours.
# (…, 2) is taken by the function that creates partitions, (…, 3) by the one that refreshes reports.
_LOCK = "select pg_advisory_xact_lock(1953066092, 1)"
# Asked first: CREATE SCHEMA IF NOT EXISTS needs the right to create even where there is nothing to.
_SCHEMA_EXISTS = "select to_regnamespace('inventory') is not null"


class Migrated(NamedTuple):
    """The version that the database is at, and what is left for the operator (None: nothing)."""

    version: str
    complaint: str | None


def migrate(where: str | PostgresServer) -> Migrated:
    """Bring the warehouse to the newest version; a second call changes nothing.

    Safe to call from several processes at once: the later ones wait, then find nothing to do.
    Raises RefusedToStart, UsageError or a SystemFault; no message holds the password.
    """
    with _locked(where) as connection:
        encoding = connection.exec_driver_sql("show server_encoding").scalar_one()
        if encoding != "UTF8":
            raise RefusedToStart(f"the database's encoding is {encoding}; identifiers need UTF8")
        if not connection.exec_driver_sql(_SCHEMA_EXISTS).scalar_one():
            connection.exec_driver_sql("create schema inventory")
        command.upgrade(_config(connection), "head")
        complaint = connection.exec_driver_sql("select inventory.admit_roles()").scalar_one()
        version = connection.exec_driver_sql("select version_num from inventory.alembic_version")
        return Migrated(version.scalar_one(), complaint)


def roll_back(where: str | PostgresServer, version: str) -> None:
    """Take the schema back to an older version, or to `base`: no tables, and no facts, at all.

    For whoever must run an older release against this database. Consumers must be stopped: they
    load into the newest version alone.
    """
    with _locked(where) as connection:
        command.downgrade(_config(connection), version)


@contextmanager
def _locked(where: str | PostgresServer) -> Iterator[Connection]:
    there = server(where)
    there.parameters()  # SQLAlchemy would wrap its complaint
    engine = create_engine("postgresql+psycopg://", creator=there.connect, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(_LOCK)
            yield connection
    except DBAPIError as fault:
        raise _translated(fault) from fault.orig


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _scripts() -> Path:
    """Find the migrations: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parents[2]
    candidates = (package / "_infra" / _SCRIPTS, package.parent / "infra" / _SCRIPTS)
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise RefusedToStart("the warehouse's migrations are not installed with the package")


def _translated(fault: DBAPIError) -> SystemFault:
    reason = str(fault.orig).strip().partition("\n")[0]
    if isinstance(fault.orig, psycopg.OperationalError):
        return TransientFault(f"PostgreSQL cannot be migrated now: {reason}")
    return SystemFault(f"PostgreSQL refused the migration: {reason}")
