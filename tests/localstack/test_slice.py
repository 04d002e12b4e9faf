"""The demo's slice through LocalStack, by the commands that a person would use: as in memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.run_local import RunOptions, write_exports
from consumers.sources import Line, PartitionBy
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.settings import Settings
from tests.e2e.runs import in_memory, tables
from tests.stacks import fresh

CONSUMERS = ("inventory", "cache", "etl")
COUNTS = ("accepted", "duplicates", "rejected", "late", "combos", "stock")


class Shop:
    """One installation on LocalStack, and the commands that work on it."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.prefix, self.dsn = fresh("slice"), endpoints.postgres_dsn

    def begin(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a command."""
        own = f"TILLSTREAM_PREFIX={self.prefix}", f"TILLSTREAM_POSTGRES_DSN={self.dsn}"
        program = sys.executable, "-m", "consumers.cli", "--target", "localstack"
        return subprocess.Popen(["env", *own, *program, *arguments], stdout=subprocess.DEVNULL)

    def run(self, *arguments: str) -> None:
        """Run a command to its end."""
        assert self.begin(*arguments).wait(120) == 0

    def export(self, lines: list[Line], directory: Path) -> dict[str, Any]:
        """Read the stores back."""
        settings = Settings(prefix=self.prefix, postgres_dsn=self.dsn, target="localstack")
        ports = AwsPorts(settings, SystemClock())
        options = RunOptions(2, PartitionBy.KEY, False, directory)
        # Without the positions of the lines: `publish` does not tell them.
        return write_exports(lines, {}, ports, settings, options)


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return demo_lines()


@pytest.fixture(scope="module")
def summary(localstack: Endpoints, lines: list[Line], served: Path) -> dict[str, Any]:
    """Deploy, publish and consume by commands; export."""
    shop, file = Shop(localstack), served / "lines.jsonl"
    file.write_bytes(b"".join(line.data + b"\n" for line in lines))
    shop.run("deploy")
    shop.run("publish", str(file))
    consumers = [shop.begin("consume", name, "--until-drained") for name in CONSUMERS]
    assert [consumer.wait(250) for consumer in consumers] == [0, 0, 0]
    return shop.export(lines, served)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("localstack")


@pytest.fixture(scope="module")
def wanted(lines: list[Line], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("memory")
    return folder, in_memory(lines, folder)


def test_exports_are_those_of_memory(
    summary: dict[str, Any], served: Path, wanted: tuple[Path, Any]
) -> None:
    assert (tables(served), summary["lines"]) == (tables(wanted[0]), 3_000)


def test_counts_are_those_of_memory(summary: dict[str, Any], wanted: tuple[Path, Any]) -> None:
    assert {name: summary[name] for name in COUNTS} == {name: wanted[1][name] for name in COUNTS}


def test_stores_agree_with_each_other(summary: dict[str, Any]) -> None:
    assert (summary["differences"], summary["lost_lines"]) == ([], [])
