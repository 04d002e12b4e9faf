"""The data dictionary: true of the schema, complete, and no more than a login may read.

`make docs` writes the committed page anew: `pytest --rewrite-docs` on this file.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from consumers.dictionary import page
from pipeline.adapters.postgres.dictionary import PostgresDictionary
from pipeline.adapters.postgres.migrations import migrate
from pipeline.core.errors import SystemFault
from tests.databases import analyst_login, new_database
from tests.warehouse_facts import MORNING, ask, load

PAGE = Path(__file__).parents[2] / "docs" / "data-dictionary.md"
NOWHERE = "postgresql://127.0.0.1:1/nowhere"


@pytest.fixture(scope="module")
def schema(postgres_server: str) -> Iterator[str]:
    """A database at the newest version, without facts."""
    with new_database(postgres_server) as dsn:
        migrate(dsn)
        yield dsn


@pytest.fixture(scope="module")
def analyst(schema: str) -> Iterator[str]:
    """A member of `tillstream_analyst`."""
    with analyst_login(schema) as dsn:
        yield dsn


def dictionary(dsn: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command against a replica for reports, with a warehouse that is down."""
    return subprocess.run(
        [sys.executable, "-m", "consumers.cli", "warehouse", "dictionary", *arguments],
        env=os.environ | {"TILLSTREAM_REPORTS_DSN": dsn, "TILLSTREAM_POSTGRES_DSN": NOWHERE},  # noqa: TID251 - a child's environment
        capture_output=True,
        timeout=60,
        check=False,
    )


def may_read(dsn: str, name: str) -> bool:
    """Try it."""
    with psycopg.connect(dsn) as connection:
        try:
            connection.execute(f"select from inventory.{name}")
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True


def test_the_committed_page_is_what_the_schema_says(
    schema: str, request: pytest.FixtureRequest
) -> None:
    written = page(PostgresDictionary(schema).read())
    if request.config.getoption("--rewrite-docs"):
        PAGE.write_text(written, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == written, "run `make docs`"


def test_every_relation_column_and_function_has_a_meaning(schema: str) -> None:
    described = PostgresDictionary(schema).read()
    columns = [(r.name, c.name, c.meaning) for r in described.relations for c in r.columns]
    relations = [(r.name, "", r.meaning) for r in described.relations]
    assert [name for *name, meaning in [*relations, *columns] if not meaning.strip()] == []


def test_partitions_are_part_of_their_table(schema: str, postgres_server: str) -> None:
    empty = PostgresDictionary(schema).read()
    with new_database(postgres_server) as full:
        migrate(full)
        load(full, *MORNING)
        assert ask(full, "select count(*) > 1 from pg_class where relispartition") == [(True,)]
        assert PostgresDictionary(full).read() == empty


def test_an_analyst_is_told_of_what_an_analyst_may_read(schema: str, analyst: str) -> None:
    told = {relation.name for relation in PostgresDictionary(analyst).read().relations}
    everything = PostgresDictionary(schema).read().relations
    assert told == {r.name for r in everything if may_read(analyst, r.name)} != set()


def test_the_owners_page_says_what_analysts_may_read(schema: str, analyst: str) -> None:
    everything = PostgresDictionary(schema).read().relations
    said = {relation.name: relation.for_analysts for relation in everything}
    assert said == {name: may_read(analyst, name) for name in said}


def test_an_analyst_is_told_of_functions_that_everybody_may_call(analyst: str) -> None:
    functions = PostgresDictionary(analyst).read().functions
    assert {(f.name, f.callers) for f in functions} == {
        (f"fiscal_{name}", "everybody")
        for name in ("month", "quarter", "week", "year", "year_start")
    }


def test_a_login_without_rights_gets_no_empty_dictionary(schema: str) -> None:
    with psycopg.connect(schema, autocommit=True) as owner:
        owner.execute("create role outsider login password 'pw'")
        try:
            with pytest.raises(SystemFault, match="may read nothing"):
                PostgresDictionary(make_conninfo(schema, user="outsider", password="pw")).read()
        finally:
            owner.execute("drop role outsider")


def test_the_command_writes_the_page_for_an_analyst(analyst: str, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    ended = dictionary(analyst, "--out", str(file))
    wanted = page(PostgresDictionary(analyst).read())
    assert (ended.returncode, ended.stdout, file.read_text()) == (0, b"", wanted)


def test_the_command_answers_in_json(analyst: str) -> None:
    told = orjson.loads(dictionary(analyst, "--json").stdout)
    found = {relation["name"]: relation for relation in told["relations"]}["fact_change"]
    assert found["columns"][0] == {
        "name": "location",
        "type": "text",
        "nullable": False,
        "key": 1,
        "meaning": "The shop or warehouse; opaque, compared by code point.",
    }


def test_a_file_that_cannot_be_written_is_wrong_usage(analyst: str, tmp_path: Path) -> None:
    ended = dictionary(analyst, "--out", str(tmp_path / "no" / "page.md"))
    assert (ended.returncode, ended.stderr.count(b"\n")) == (2, 1)
    assert b"No such file" in ended.stderr


def test_a_warehouse_that_is_down_is_one_clear_line() -> None:
    ended = dictionary(NOWHERE)
    assert (ended.returncode, ended.stdout, ended.stderr.count(b"\n")) == (1, b"", 1)


def test_the_command_has_help_with_an_example(analyst: str) -> None:
    text = " ".join(dictionary(analyst, "--help").stdout.decode().split())
    assert "Example: tillstream warehouse dictionary --out" in text
