"""One stream that has everything in it, and installations on LocalStack that it is read from.

Sales and returns of the sample, part of them in KPL aggregates, a second delivery of many, records
of every fault, and a reshard in the middle: what an engine does with it must not show in the
exports.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.embedded_run import EmbeddedRun
from consumers.exports import Json
from consumers.run_local import RunOptions, write_exports
from consumers.sources import Line, PartitionBy
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, stream_names
from pipeline.ports.streams import open_shards
from pipeline.settings import Settings, WriteMode
from tests.databases import new_database
from tests.e2e.hostile import CASES
from tests.e2e.runs import QUIET, numbered
from tests.engines.test_lambda_runs import mixed
from tests.localstack_servers import let_shards_age
from tests.stacks import fresh

CONSUMERS = ("inventory", "cache", "etl")
SHARDS = 2
RACES = ("elsewhere", "kpl-0")
"""Transactions of the hostile cases that come through two shards: which is first is a race."""
DONE_S = 240
LOOK_S = 2.0
STOP_S = 60

FAST_KCL = (
    *("failoverTimeMillis=5000", "leaseAssignmentIntervalMillis=2000"),
    *("shardSyncIntervalMillis=2000", "parentShardPollIntervalMillis=1000"),
    *("idleTimeBetweenReadsInMillis=250",),
)
"""A fleet with nothing else to do looks around more often."""
KCL = ("--engine", "kcl", *(word for key in FAST_KCL for word in ("--set", key)))


def golden_lines() -> list[Line]:
    """Return the deliveries, in the order in which they are put on the stream."""
    sold = [line.data for line in mixed(demo_lines()[:420])]
    hostile = [c.data for c in CASES if not any(name.encode() in c.data for name in RACES)]
    half = len(sold) // 2
    return numbered([*sold[:half], *hostile, *sold[half:], *sold[half - 40 : half + 20]])


@dataclass
class Site:
    """One installation on LocalStack, its deliveries, and the processes that serve it."""

    run: EmbeddedRun
    settings: Settings
    ports: AwsPorts
    lines: Sequence[Line]
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def publish(self, start: int = 0, end: int | None = None) -> None:
        """Put some of the lines on the stream."""
        part = self.lines[start:end]
        self.run.publish(part, PartitionBy.KEY, self.folder / "positions.jsonl")

    def start(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        """Start a consumer as a process; what it says goes to a file that pytest shows."""
        command = [sys.executable, "-m", "consumers.cli", "consume", name, *more]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.settings.environment(), stdout=log, stderr=log
            )
        self.processes[name] = process
        return process

    def stop(self, name: str) -> int:
        """Ask a consumer to stop; return its exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(STOP_S)

    def split(self, stream: str | None = None) -> None:
        """Split the first open shard of a stream, and wait until it takes records again."""
        kinesis, name = self.ports.aws.kinesis, stream or stream_names(self.settings)[0]
        first = open_shards(self._stream(name).shards())[0]
        middle = (first.hash_range.start + first.hash_range.end) // 2
        kinesis.split_shard(
            StreamName=name, ShardToSplit=first.shard_id, NewStartingHashKey=str(middle)
        )
        kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        let_shards_age(self.run.endpoints)

    def merge(self, stream: str | None = None) -> None:
        """Merge the first two neighbours among the open shards of a stream."""
        kinesis, name = self.ports.aws.kinesis, stream or stream_names(self.settings)[0]
        low, high = sorted(
            open_shards(self._stream(name).shards()), key=lambda shard: shard.hash_range.start
        )[:2]
        kinesis.merge_shards(
            StreamName=name, ShardToMerge=low.shard_id, AdjacentShardToMerge=high.shard_id
        )
        kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        let_shards_age(self.run.endpoints)

    def _stream(self, name: str) -> Any:
        events = stream_names(self.settings)[0]
        return self.ports.events if name == events else self.ports.changes

    def export(self) -> Json:
        """Read everything back into the folder."""
        options = RunOptions(SHARDS, PartitionBy.KEY, False, self.folder)
        return write_exports(self.lines, self.run.placed, self.ports, self.settings, options)

    def is_done(self) -> bool:
        """Say whether every line is accounted for and the stores agree.

        A row reaches the warehouse after its effects have reached their tables, so no half-done
        batch looks like this.
        """
        summary = self.export()
        return bool(summary["reconciled"]) and summary["lost_lines"] == []

    def wait(self, done: Callable[[], bool] | None = None, seconds: float = DONE_S) -> None:
        """Wait for something, or until all is done; a consumer that ends meanwhile is a failure."""
        deadline = time.monotonic() + seconds
        while not (done or self.is_done)():
            ended = {n: p.returncode for n, p in self.processes.items() if p.poll() is not None}
            assert not ended, f"{ended}: {self.said()}"
            assert time.monotonic() < deadline, f"not done in {seconds} s: {self.said()}"
            time.sleep(LOOK_S)  # noqa: TID251 - waits for other processes, on real time

    def rows(self) -> int:
        """Count the change-log rows so far."""
        return sum(1 for _ in self.ports.change_log.scan())

    def said(self) -> str:
        """Return the last words of each consumer."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.stem}\n{log.read_text()[-3_000:]}" for log in logs)


@contextmanager
def site(
    localstack: Endpoints,
    folder: Path,
    lines: Sequence[Line],
    writes: WriteMode = "batch",
    **more: Any,
) -> Iterator[Site]:
    """Deploy an installation of its own; whatever still serves it at the end is stopped."""
    clock = SystemClock()
    folder.mkdir(parents=True, exist_ok=True)
    with new_database(localstack.postgres_dsn) as dsn:
        servers = replace(localstack, postgres_dsn=dsn)
        settings = Settings(prefix=fresh("golden")[:24].rstrip("-"), **more)
        run = EmbeddedRun(settings, servers, clock, QUIET)
        settings = run.settings.model_copy(update={"conditional_writes": writes})
        run.deploy(SHARDS)
        let_shards_age(servers)
        found = Site(run, settings, AwsPorts(settings, clock), lines, folder)
        try:
            yield found
        finally:
            for process in found.processes.values():
                process.terminate()
            for process in found.processes.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_S)
                process.kill()
