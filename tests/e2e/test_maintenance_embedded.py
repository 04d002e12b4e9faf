"""`audit` and `warehouse rebuild` as a person runs them, over real servers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.embedded_run import EmbeddedRun
from consumers.handlers import Consumer
from consumers.sources import PartitionBy
from pipeline.adapters.clock import SystemClock
from pipeline.core.reconciling import Check
from pipeline.ports.cache import CachedStock
from pipeline.settings import Settings
from tests.databases import new_database
from tests.e2e.runs import QUIET
from tests.stacks import fresh

pytestmark = pytest.mark.long

LINES = 300
SEGMENTS = 60
UNITS_AT_KILL = 5


class Installation:
    """A run that has ended, on servers that go on."""

    def __init__(self, endpoints: Endpoints, folder: Path) -> None:
        self.run = EmbeddedRun(Settings(prefix=fresh("audited")), endpoints, SystemClock(), QUIET)
        self.dsn = endpoints.postgres_dsn
        self.run.deploy(2)
        self.run.publish(demo_lines()[:LINES], PartitionBy.KEY, folder / "positions.jsonl")
        self.run.consume()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that answers in JSON."""
        return subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", *arguments, "--json"],
            env=self.run.settings.environment(),
            stdout=subprocess.PIPE,
        )

    def tell(self, *arguments: str) -> tuple[int, Any]:
        """Run a command to its end; return its exit code and what it says."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=120)
        return process.returncode, orjson.loads(said)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse, past everything."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def damage(self) -> None:
        """Lose a row of the change log, and spoil warehouse and cache."""
        ports = self.run.ports
        row = next(recorded for recorded, note in ports.change_log.scan() if note is not None)
        key = {"location": {"S": row.location}, "transaction_id": {"S": row.transaction_id}}
        table = f"{self.run.settings.prefix}-inventory_change_log"
        ports.aws.dynamodb.delete_item(TableName=table, Key=key)
        self.sql("update inventory.fact_combo set quantity = 99, revision = revision + 7")
        self.sql("delete from inventory.fact_change where source = 'POS' and change = -2")
        self.sql("update inventory.stock_level set on_hand = 1000 where on_hand < -10")
        self.sql("insert into inventory.dim_product (product_id) values ('invented')")
        level = next(ports.states.scan("stock"))
        location, product_id = level.key.parts
        ports.cache.fill((location, product_id), CachedStock(1_000, level.version))


@pytest.fixture(scope="module")
def installation(
    embedded: Endpoints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with new_database(embedded.postgres_dsn) as dsn:
        yield Installation(replace(embedded, postgres_dsn=dsn), tmp_path_factory.mktemp("run"))


def test_clean_run_ends_with_0_and_equal_totals(installation: Installation) -> None:
    code, told = installation.tell("audit")
    changes, combos, stock = (told["totals"][name] for name in ("changes", "combos", "stock"))
    assert (code, told["findings"], told["clean"]) == (0, 0, True)
    assert changes["claims"] == changes["change log"] == changes["warehouse"]
    assert (combos["tables"], stock["tables"]) == (combos["warehouse"], stock["warehouse"])
    assert changes["claims"]["rows"] > 0


def test_damage_is_found_and_repaired(installation: Installation) -> None:
    installation.damage()
    code, told = installation.tell("audit")
    wanted = {
        Check.CLAIM_WITHOUT_ROW,
        Check.WAREHOUSE_CHANGE,
        Check.WAREHOUSE_COMBO,
        Check.WAREHOUSE_STOCK,
        Check.DIMENSION,
        Check.CACHE,
    }
    assert (code, {str(check) for check in wanted} <= told["by_check"].keys()) == (1, True)
    code, told = installation.tell("audit", "--repair")
    assert (code, told["repair"]["left"]) == (0, 0)
    installation.run.consume([Consumer.CACHE, Consumer.ETL])
    code, told = installation.tell("audit")
    assert (code, told["listed"]) == (0, [])


def test_part_bounds_the_audit(installation: Installation) -> None:
    code, told = installation.tell("audit", "--location", "GB-1", "--since", "2011-06-02")
    places = {(row["location"], row["day"] >= "2011-06-02") for row in told["by_day"] if row["day"]}
    assert (code, places) == (0, {("GB-1", True)})


def test_rebuild_that_was_killed_goes_on_and_swaps_in(installation: Installation) -> None:
    installation.sql("truncate inventory.fact_change, inventory.fact_combo, inventory.stock_level")
    process = installation.start("warehouse", "rebuild", "--segments", str(SEGMENTS))
    units = "select count(*) from inventory_rebuild.unit"
    exists = "select to_regclass('inventory_rebuild.unit') is not null"
    while not (installation.sql(exists)[0][0] and installation.sql(units)[0][0] > UNITS_AT_KILL):
        time.sleep(0.01)  # noqa: TID251 - waits for a process
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert installation.sql("select count(*) from inventory.fact_change") == [(0,)]
    code, told = installation.tell("warehouse", "rebuild", "--segments", str(SEGMENTS))
    assert (code, told["done"]) == (0, True)
    assert UNITS_AT_KILL < told["units_staged_before"] < told["units"] == 3 * SEGMENTS
    assert installation.tell("audit")[1]["listed"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "--since", "yesterday"),
        ("warehouse", "rebuild", "--segments", "0"),
        ("warehouse", "rebuild", "--since", "2011-13-01"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "consumers.cli", *arguments]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_rebuild_has_help_with_an_example() -> None:
    command = [sys.executable, "-m", "consumers.cli", "warehouse", "rebuild", "--help"]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    assert b"Example: tillstream warehouse rebuild" in said
