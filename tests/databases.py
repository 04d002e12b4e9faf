"""Databases of their own for tests that share one PostgreSQL server."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo


@contextmanager
def new_database(server_dsn: str, options: str = "") -> Iterator[str]:
    """Lend a database made with `options` of CREATE DATABASE; drop it, whoever is still in it."""
    name = f"tillstream_test_{secrets.token_hex(6)}"
    _execute(server_dsn, f"create database {name} {options}")
    try:
        yield make_conninfo(server_dsn, dbname=name)
    finally:
        _execute(server_dsn, f"drop database {name} with (force)")


@contextmanager
def analyst_login(dsn: str, *locations: str) -> Iterator[str]:
    """Lend the DSN of an analyst, who sees these locations alone if any are named."""
    login = f"analyst_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(f"create role {login} login password 'pw'")
        owner.execute("select inventory.add_analyst(%s)", (login,))
        for location in locations:
            owner.execute(
                "insert into inventory.location_access values (%s, %s)", (login, location)
            )
    try:
        yield make_conninfo(dsn, user=login, password="pw")
    finally:
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute("delete from inventory.location_access where login = %s", (login,))
            owner.execute(f"drop owned by {login}; drop role {login}")


def _execute(server_dsn: str, statement: str) -> None:
    # A connection each time: tests stop the server in between.
    with psycopg.connect(server_dsn, autocommit=True) as server:
        server.execute(statement)
