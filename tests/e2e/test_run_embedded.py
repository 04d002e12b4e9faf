"""Files through real servers, with the consumers as processes; and those processes killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.embedded_run import EmbeddedRun, read_map
from consumers.run_local import RunOptions, write_exports
from consumers.sources import Line, PartitionBy
from pipeline.adapters.clock import SystemClock
from pipeline.settings import Settings
from tests.databases import new_database
from tests.e2e.hostile import CASES, as_base64
from tests.e2e.runs import QUIET, SAMPLE, in_memory, rows, shuffled, tables

HOUR_US = 3_600_000_000


def run_local(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a person would."""
    command = [sys.executable, "-m", "consumers.cli", "run-local", *arguments]
    return subprocess.run(command, capture_output=True, timeout=280, check=False)


@pytest.mark.long
def test_sample_gives_the_same_exports_on_servers_as_in_memory(tmp_path: Path) -> None:
    file = str(SAMPLE / "pos_suits.jsonl.gz")
    ended = run_local(file, "--export", str(tmp_path / "servers"), "--json")
    summary = orjson.loads(ended.stdout)
    combos = summary["combos"]
    found = ended.returncode, summary["accepted"], combos["active"], combos["quantity"]
    assert found == (0, 6_619, 484, 4_258)
    run_local(file, "--export", str(tmp_path / "memory"), "--stack", "memory")
    assert tables(tmp_path / "servers") == tables(tmp_path / "memory")
    assert rows(tmp_path / "servers", "verdicts") == rows(tmp_path / "memory", "verdicts")


def test_hostile_records_get_their_verdicts_on_servers(tmp_path: Path) -> None:
    (tmp_path / "hostile.b64").write_bytes(as_base64())
    # One shard: which of two shards claims a transaction first is a race, and meant to be one.
    ended = run_local(
        str(tmp_path / "hostile.b64"), "--export", str(tmp_path), "--shards", "1", "--json"
    )
    assert ended.returncode == 0, ended.stderr.decode()
    found = [row["verdict"] for row in rows(tmp_path, "verdicts")]
    assert found == [case.verdict for case in CASES]


class KilledRun:
    """A run over shared servers whose consumers die and are started again."""

    def __init__(self, endpoints: Endpoints, prefix: str, batch: int) -> None:
        settings = Settings(prefix=prefix, batch_records_max=batch)
        self.run = EmbeddedRun(settings, endpoints, SystemClock(), QUIET)

    def consumers(self) -> list[subprocess.Popen[bytes]]:
        """Start the three consumers; the first of them tells of each batch as it ends."""
        command = [sys.executable, "-m", "consumers.cli", "consume"]
        return [
            subprocess.Popen(
                [*command, name, "--until-drained", "--json"],
                env=self.run.settings.environment(),
                stdout=subprocess.PIPE if name == "inventory" else subprocess.DEVNULL,
            )
            for name in ("inventory", "cache", "etl")
        ]

    def work(self, batches: int) -> None:
        """Let the consumers finish some batches; kill them as the next ones are under way."""
        processes = self.consumers()
        told = processes[0].stdout
        assert told is not None
        with told:
            for _ in range(batches):
                told.readline()
            time.sleep(0.05)  # noqa: TID251 - into the middle of the next batch, on real time
            for process in processes:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()

    def finish(self) -> list[int]:
        """Let the consumers drain the streams; return their exit codes."""
        processes = self.consumers()
        processes[0].communicate(timeout=120)
        return [process.wait(120) for process in processes]

    def rows_written(self) -> int:
        """Count the change-log rows so far."""
        return sum(1 for _ in self.run.ports.change_log.scan())


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """Take a part of the demo's deliveries, out of order."""
    return shuffled(demo_lines()[:600], 5, HOUR_US - 1)


@pytest.fixture(scope="module")
def killed(
    embedded: Endpoints, lines: list[Line], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, list[int]]]:
    """Kill all consumers with -9 at several points of a run; return its exports, and those."""
    folder = tmp_path_factory.mktemp("killed")
    with new_database(embedded.postgres_dsn) as dsn:
        victim = KilledRun(replace(embedded, postgres_dsn=dsn), "killed", batch=40)
        yield folder, kill_and_export(victim, lines, folder)


def kill_and_export(victim: "KilledRun", lines: list[Line], folder: Path) -> list[int]:
    """Kill, start again, export; return how many rows there were at each kill."""
    victim.run.deploy(2)
    victim.run.publish(lines, PartitionBy.KEY, folder / "positions.jsonl")
    points = []
    for batches in (1, 3, 3):  # at most two were under way at the kill before
        victim.work(batches)
        points.append(victim.rows_written())
    assert victim.finish() == [0, 0, 0]
    placed = read_map(folder / "positions.jsonl")
    options = RunOptions(2, PartitionBy.KEY, False, folder)
    write_exports(lines, placed, victim.run.ports, victim.run.settings, options)
    return points


@pytest.mark.long
def test_consumers_were_killed_in_the_middle(
    killed: tuple[Path, list[int]], lines: list[Line]
) -> None:
    _, points = killed
    assert points == sorted(set(points))
    assert points[-1] < len(rows(killed[0], "change_log")) <= len(lines)


@pytest.mark.long
def test_exports_after_kills_are_those_of_a_quiet_run(
    killed: tuple[Path, list[int]], lines: list[Line], tmp_path: Path
) -> None:
    folder, _ = killed
    in_memory(lines, tmp_path)
    assert tables(folder) == tables(tmp_path)
    assert rows(folder, "verdicts") == rows(tmp_path, "verdicts")


@pytest.mark.long
def test_stores_agree_after_kills(killed: tuple[Path, list[int]]) -> None:
    summary = orjson.loads((killed[0] / "summary.json").read_bytes())
    assert (summary["reconciled"], summary["lost_lines"]) == (True, [])
