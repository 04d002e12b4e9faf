"""`tillstream consume etl --health-port`, while its warehouse is away and once it is back."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from consumers.deployment import deploy
from consumers.embedded import Endpoints
from consumers.embedded.servers import free_port
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.core.changes import StockChanged, fact_partition_key, to_wire
from pipeline.ports.streams import Message
from pipeline.settings import Settings
from tests.killed_loaders import OwnServer
from tests.probes import probe
from tests.stacks import fresh

pytestmark = pytest.mark.long

WITHIN_S = 60.0
LEVEL = StockChanged("GB-1", "J1", -1, 1)
Told = tuple[int, Any]


@contextmanager
def consumer(environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "consumers.cli", "consume", "etl", "--health-port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def eventually(port: int, claim: Callable[[Told], bool]) -> Told:
    """Ask until the answer is the one that is wanted; return the last."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            told = probe(port, "/health")
        except ConnectionRefusedError:  # the process has just been started
            told = 0, None
        if claim(told) or time.monotonic() > deadline:
            return told
        time.sleep(0.1)  # noqa: TID251 - another process, on real time


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    """A server that can be away."""
    server = OwnServer(tmp_path, None)
    yield server
    server.servers.stop()
    server.servers.remove_files()


@pytest.fixture
def settings(embedded: Endpoints, server: OwnServer) -> Settings:
    """An installation with one fact to load, whose warehouse has just gone away."""
    settings = Settings(
        prefix=fresh("health"),
        endpoint_url=embedded.aws_endpoint_url,
        aws_credentials="test",
        conditional_writes="single",
        postgres_dsn=server.dsn,
        redis_url=embedded.redis_url,
    )
    deploy(settings, SystemClock(), 2, protect=False)
    server.settle()
    changes = AwsPorts(settings, SystemClock()).changes
    changes.publish([Message(to_wire(LEVEL), fact_partition_key(LEVEL))])
    server.kill()
    return settings


def waits(told: Told) -> bool:
    return bool(told[1] and told[1]["waiting"])


def has_loaded(told: Told) -> bool:
    shards = told[1]["shards"].values()
    return told[0] == 200 and any(shard["behind_ms"] is not None for shard in shards)


def test_consumer_is_ready_when_its_warehouse_is_back_and_alive_all_the_time(
    server: OwnServer, settings: Settings
) -> None:
    with consumer(settings.environment(), port := free_port()) as process:
        status, told = eventually(port, waits)
        assert (status, told["ok"]) == (503, False)
        assert told["waiting"].keys() <= told["shards"].keys()
        assert probe(port, "/live")[0] == 200
        server.restart()
        status, told = eventually(port, has_loaded)
        assert (status, told["ok"], told["waiting"]) == (200, True, {})
        process.terminate()
        assert process.wait(WITHIN_S) == 0
