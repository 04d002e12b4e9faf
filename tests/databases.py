"""Databases of their own for tests that share one PostgreSQL server."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
from psycopg.conninfo import make_conninfo

_numbers = count(1)


@contextmanager
def new_database(server_dsn: str, options: str = "") -> Iterator[str]:
    """Lend a database made with `options` of CREATE DATABASE; drop it, whoever is still in it."""
    name = f"tillstream_test_{next(_numbers)}"
    with psycopg.connect(server_dsn, autocommit=True) as server:
        server.execute(f"create database {name} {options}")
        try:
            yield make_conninfo(server_dsn, dbname=name)
        finally:
            server.execute(f"drop database {name} with (force)")
