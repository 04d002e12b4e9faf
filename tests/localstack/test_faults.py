"""Faults on the real thing, each in the middle of traffic: drained, exports equal, none stopped."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import orjson
from botocore.exceptions import ClientError

from consumers.embedded import Endpoints, postgres, redis
from consumers.embedded.servers import Account, Server, Servers, free_port
from consumers.localstack.parts import AWS
from consumers.sources import Line
from tests.e2e.runs import rows, tables
from tests.localstack.golden import CONSUMERS, KCL, Site, site

OUTAGE_S = 30.0
ERROR_RATE = 0.1
REDIS_PASSWORD = "secret"
SHORT: dict[str, Any] = {"retry_budget": 5}
"""Shorter than the outage: a consumer gives its batches up meanwhile, and takes them up again."""


def assert_all_is_well(place: Site, wanted: Path) -> None:
    """Wait until all is done; then nothing may be lost, doubled or different."""
    place.wait()
    assert tables(place.folder) == tables(wanted)
    assert rows(place.folder, "verdicts") == rows(wanted, "verdicts")


# ------------------------------------------------------------------------------- the services
@contextmanager
def failing(*variables: str) -> Iterator[None]:
    """Let LocalStack refuse a tenth of the calls."""
    address = f"http://{AWS.host}:{AWS.port}/_localstack/config"

    def tell(value: float) -> None:
        for variable in variables:
            body = orjson.dumps({"variable": variable, "value": value})
            with urlopen(Request(address, body, {"Content-Type": "application/json"})) as answer:
                assert orjson.loads(answer.read()) == {"variable": variable, "value": value}

    tell(ERROR_RATE)
    try:
        yield
    finally:
        tell(0.0)


def assert_it_fails(place: Site) -> None:
    """Ask often enough for a tenth to show: not once in 300 calls would be 1 in 10^13."""
    dynamodb, kinesis = place.ports.aws.dynamodb, place.ports.aws.kinesis
    table, key = f"{place.settings.prefix}-keyed_state", {"state_key": {"S": "nobody"}}
    calls: list[Callable[[], object]] = [
        lambda: dynamodb.get_item(TableName=table, Key=key),
        lambda: kinesis.put_record(StreamName="nobody", Data=b"", PartitionKey="k"),
    ]
    for call in calls:
        found = Counter(_refusal(call) for _ in range(300))
        assert found["ProvisionedThroughputExceededException"], found


def _refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except ClientError as fault:
        return fault.response["Error"]["Code"]
    return "none"


def test_services_that_refuse_every_tenth_call_change_nothing(
    localstack: Endpoints, golden: list[Line], wanted: Path, tmp_path: Path
) -> None:
    # LocalStack refuses no PartiQL: written one call an item, every kind of call meets it.
    with site(localstack, tmp_path, golden, "single") as place:
        for name in CONSUMERS:
            place.start(name)
        with failing("KINESIS_ERROR_PROBABILITY", "DYNAMODB_ERROR_PROBABILITY"):
            assert_it_fails(place)
            place.publish()
            deadline = time.monotonic() + OUTAGE_S
            while time.monotonic() < deadline:
                time.sleep(1)  # noqa: TID251 - consumers work against it, on real time
                assert all(process.poll() is None for process in place.processes.values())
        assert_all_is_well(place, wanted)


class Breakable:
    """A server that can be stopped and started again where it was."""

    def __init__(self, servers: Servers, name: str) -> None:
        self._servers = servers
        self._server: Server = next(s for s in servers._launched if s.name == name)

    def stop(self) -> None:
        """Stop it at once, whoever is connected."""
        self._server.process.send_signal(self._server.stop_signal)
        self._server.process.wait(OUTAGE_S)

    def start(self) -> None:
        """Start it over what is on its disk."""
        old, arguments = self._server, [str(word) for word in _words(self._server)]
        owner = os.stat(arguments[arguments.index("-D") + 1]) if "-D" in arguments else None
        self._server = self._servers.launch(
            old.name,
            arguments,
            stop_signal=old.stop_signal,
            account=Account(owner.st_uid, owner.st_gid) if owner and os.geteuid() == 0 else None,
        )


def _words(server: Server) -> Sequence[object]:
    arguments = server.process.args
    assert isinstance(arguments, Sequence)
    return arguments


@contextmanager
def servers_of_its_own(localstack: Endpoints, folder: Path) -> Iterator[tuple[Endpoints, Any]]:
    """Run a PostgreSQL and a Redis that nobody else uses."""
    folder.mkdir()
    servers, executable = Servers(folder), redis.find_executable()
    assert executable is not None, "no Redis here"
    try:
        dsn = postgres.start(servers)
        url = redis.start_at(servers, executable, free_port(), REDIS_PASSWORD)
        both = Breakable(servers, "postgres"), Breakable(servers, "redis")
        yield replace(localstack, postgres_dsn=dsn, redis_url=url), both
    finally:
        servers.stop()
        servers.remove_files()


def test_sinks_that_are_away_for_half_a_minute_hold_nobody_else_up(
    localstack: Endpoints, golden: list[Line], wanted: Path, tmp_path: Path
) -> None:
    with (
        servers_of_its_own(localstack, tmp_path / "servers") as (endpoints, both),
        site(endpoints, tmp_path / "run", golden, **SHORT) as place,
    ):
        half = len(golden) // 2
        place.publish(0, half)
        for name in CONSUMERS:
            place.start(name)
        place.wait(lambda: place.rows() > 0)
        for server in both:
            server.stop()
        stopped = time.monotonic()
        place.publish(half)
        accepted = len(rows(wanted, "change_log"))
        place.wait(lambda: place.rows() == accepted, OUTAGE_S)  # inventory goes on
        time.sleep(max(0.0, stopped + OUTAGE_S - time.monotonic()))  # noqa: TID251 - the outage
        for server in both:
            server.start()
        assert_all_is_well(place, wanted)


# ------------------------------------------------------------------------------- the fleet
def shard_processes(place: Site) -> list[int]:
    """Find the processes of the shards under a fleet's daemons."""
    mark, found = f"TILLSTREAM_PREFIX={place.settings.prefix}\0".encode(), []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is no process
            words = (folder / "cmdline").read_bytes()
            if b"consumers.fleet.worker" in words and mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def lease_owners(place: Site) -> set[str]:
    """Say who holds the open leases of the inventory's fleet."""
    table = f"{place.settings.prefix}-inventory"
    items = place.ports.aws.dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]
    return {item["leaseOwner"]["S"] for item in items if "leaseOwner" in item}


def test_shard_process_that_is_killed_and_reshards_change_nothing(
    localstack: Endpoints, golden: list[Line], wanted: Path, tmp_path: Path
) -> None:
    with site(localstack, tmp_path, golden, batch_records_max=30) as place:
        third = len(golden) // 3
        place.publish(0, third)
        place.start("inventory", *KCL)
        for name in ("cache", "etl"):
            place.start(name)
        place.wait(lambda: place.rows() > 0)
        place.publish(third, 2 * third)
        killed = shard_processes(place)
        assert killed
        for process in killed:
            os.kill(process, signal.SIGKILL)
        place.split()
        place.publish(2 * third, 2 * third + third // 2)
        place.merge()
        place.publish(2 * third + third // 2)
        assert_all_is_well(place, wanted)
        assert place.stop("inventory") == 0, place.said()


def test_lease_that_moves_between_workers_loses_and_doubles_nothing(
    localstack: Endpoints, golden: list[Line], wanted: Path, tmp_path: Path
) -> None:
    with site(localstack, tmp_path, golden) as place:
        half = len(golden) // 2
        place.publish(0, half)
        for name in ("cache", "etl"):
            place.start(name)
        first = place.start("inventory", *KCL)
        place.wait(lambda: place.rows() > 0)
        before = lease_owners(place)
        second = place.start("inventory", *KCL)
        place.wait(lambda: bool(lease_owners(place) - before))
        place.publish(half)
        first.terminate()
        assert first.wait(60) == 0, place.said()
        place.wait(lambda: not lease_owners(place) & before)
        assert_all_is_well(place, wanted)
        assert second.poll() is None
