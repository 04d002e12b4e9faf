"""The inventory on real daemons of the Kinesis Client Library, over LocalStack.

One run serves several claims, since a daemon takes half a minute to its first record.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.engines.local import LocalEngine, LocalOptions, LocalPorts
from consumers.fleet.properties import FleetOptions
from consumers.fleet.supervision import Fleet, daemon
from consumers.handlers import Consumer, build_handler
from consumers.run_local import RunOptions
from consumers.sources import Line, PartitionBy
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import backoff
from pipeline.core.records import UserRecord, write_aggregate
from pipeline.ports.streams import TRIM_HORIZON
from pipeline.settings import Settings
from tests.e2e.hostile import event
from tests.e2e.runs import in_memory, numbered, rows, tables
from tests.engines.test_lambda_runs import mixed
from tests.lambda_functions import ServerRun, run_on_servers
from tests.stacks import fresh
from tests.unit.test_records import BAD_BODIES, sealed

WAIT_S = 180.0
SHARDS = 2
QUICK = {
    "kcl_failover_time": "5s",
    "kcl_assignment_interval": "2s",
    "kcl_shard_sync_interval": "2s",
    "kcl_parent_poll_interval": "1s",
    "idle_wait": "250ms",
    "batch_records_max": 50,
    "conditional_writes": "batch",
}
INSIDE = write_aggregate([UserRecord("k", event("inside"))])
ODD = [
    *(sealed(body) for body in BAD_BODIES.values()),  # a daemon would skip the batch around these
    b"\xf3\x89\x9a\xc2 no aggregate",
    write_aggregate([UserRecord("k", INSIDE)]),
    b"{",
]


def odd_and_good() -> list[Line]:
    """Take plain events and aggregates, and in the midst of them every kind of odd aggregate."""
    good = [line.data for line in mixed(demo_lines()[:420])]
    return numbered([*good[:60], *ODD, *good[60:]])


# ---------------------------------------------------------------------------------- the fleet
@contextmanager
def fleet(published: ServerRun, folder: Path, workers: int) -> Iterator[Fleet]:
    """Run daemons of the inventory; they are asked to stop at the end, and must."""
    options = FleetOptions(workers)
    names = [folder / str(number) for number in range(workers)]
    settings, clock = published.place.settings, SystemClock()
    running = Fleet([daemon(Consumer.INVENTORY, settings, options, n) for n in names], clock)

    def run() -> None:
        with suppress(Exception):
            running.run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield running
    finally:
        clock.stop.set()
        thread.join(WAIT_S)


def leases(published: ServerRun) -> dict[str, dict[str, Any]]:
    """Read the lease table; empty while there is none."""
    client = published.ports.aws.dynamodb
    table = f"{published.place.settings.prefix}-inventory"
    try:
        found = client.scan(TableName=table, ConsistentRead=True)["Items"]
    except client.exceptions.ResourceNotFoundException:
        return {}
    return {item["leaseKey"]["S"]: item for item in found}


def place_of(lease: dict[str, Any]) -> int:
    text = lease["checkpoint"]["S"]
    return int(text) if text.isdigit() else 0


def wanted(published: ServerRun) -> dict[str, int]:
    """Find the last sequence number of every shard."""
    last: dict[str, int] = {}
    for place in (place for places in published.run.placed.values() for place in places):
        last[place.shard_id] = max(last.get(place.shard_id, 0), place.sequence)
    return last


def wait_until_drained(published: ServerRun) -> None:
    """Wait until every shard's lease is checkpointed at its last record."""
    deadline = time.monotonic() + WAIT_S
    while {shard: place_of(found) for shard, found in leases(published).items()} != wanted(
        published
    ):
        assert time.monotonic() < deadline, leases(published)
        time.sleep(0.5)  # noqa: TID251 - waits for other processes


def load_warehouse(published: ServerRun) -> None:
    """Run the other two consumers here."""
    settings, ports = published.place.settings, published.ports
    clock = SystemClock()
    patience = backoff(settings, clock)
    for consumer in (Consumer.ETL, Consumer.CACHE):
        handler = build_handler(consumer, settings, ports, clock, TRIM_HORIZON)
        local = LocalPorts(ports.changes, ports.checkpoints, clock, patience, threading.Event())
        options = LocalOptions("test", 500, 0.1)
        LocalEngine(handler, local, options, lambda *_: None).run(lambda: True)


@contextmanager
def published(lines: list[Line], localstack: Endpoints, folder: Path) -> Iterator[ServerRun]:
    settings = Settings.model_validate({"prefix": fresh("kcl"), **QUICK})
    options = RunOptions(SHARDS, PartitionBy.KEY, False, folder)
    with run_on_servers(lines, localstack, settings, options) as found:
        yield found


# -------------------------------------------------------------------------------- one worker
class Outcome(NamedTuple):
    """What came of the run: exports of both engines, and the records that were refused."""

    folder: Path
    reconciled: bool
    refused: list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def outcome(localstack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Run odd and good records through one daemon, and through the stack in memory."""
    root, lines = tmp_path_factory.mktemp("kcl"), odd_and_good()
    with published(lines, localstack, root / "kcl") as run:
        with fleet(run, root / "daemons", 1):
            wait_until_drained(run)
        load_warehouse(run)
        refused = [(r.reason, r.record.data) for r in run.ports.quarantine.scan()]
        reconciled = bool(run.export()["reconciled"])
    in_memory(lines, root / "memory")
    return Outcome(root, reconciled, refused)


def test_exports_are_those_of_the_memory_stack(outcome: Outcome) -> None:
    assert tables(outcome.folder / "kcl") == tables(outcome.folder / "memory")
    assert outcome.reconciled


@pytest.mark.parametrize("export", ["verdicts", "quarantine"])
def test_odd_aggregates_take_no_other_record_with_them(outcome: Outcome, export: str) -> None:
    found = [rows(outcome.folder / name, export) for name in ("kcl", "memory")]
    assert found[0] == found[1]


def test_bad_aggregates_are_kept_whole(outcome: Outcome) -> None:
    bad = [data for reason, data in outcome.refused if reason == "bad_aggregate"]
    assert sorted(bad) == sorted(ODD[: len(BAD_BODIES) + 1])


# ------------------------------------------------------------------------------------ a crash
def test_daemon_that_is_killed_in_the_middle_loses_and_doubles_nothing(
    localstack: Endpoints, tmp_path: Path
) -> None:
    lines = demo_lines()[:600]
    with published(lines, localstack, tmp_path / "kcl") as run:
        with fleet(run, tmp_path / "daemons", 1) as running:
            wait_for_a_first_row(run)
            os.killpg(running.pids[0], signal.SIGKILL)
            forget_the_leader(run)
            wait_until_drained(run)
        load_warehouse(run)
        assert run.export()["reconciled"]
    in_memory(lines, tmp_path / "memory")
    assert tables(tmp_path / "kcl") == tables(tmp_path / "memory")


def wait_for_a_first_row(published: ServerRun) -> None:
    deadline = time.monotonic() + WAIT_S
    while next(iter(published.ports.change_log.scan()), None) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)  # noqa: TID251 - waits for other processes


def forget_the_leader(published: ServerRun) -> None:
    """Let go of the dead leader's lock, which would hold for two minutes more."""
    table = f"{published.place.settings.prefix}-inventory-CoordinatorState"
    published.ports.aws.dynamodb.delete_item(TableName=table, Key={"key": {"S": "Leader"}})
