"""Installations to hold a contract against: the same ports, on every stack that can serve them.

A contract suite takes the fixture `ports` (one installation a module; tests keep apart by names
that nobody else uses), `empty_ports` (one of its own, where a test must find nothing), `aws_ports`
(the real adapters alone) or `servers` (the addresses that those use). All are parametrised by the
option `--stacks`; another stack over servers is one more line in `ON_SERVERS`.
"""

import secrets
from datetime import timedelta
from itertools import count
from typing import NamedTuple

import pytest

from consumers.deployment import deploy
from consumers.embedded import Endpoints
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.dynamodb import BatchWrites
from pipeline.adapters.kinesis import KinesisStream
from pipeline.bootstrap import AwsPorts, Ports, memory_ports
from pipeline.settings import Settings, WriteMode
from tests.localstack_servers import let_shards_age

DEFAULT_STACKS = ("memory", "embedded")
SHARDS = 2
PATIENCE = timedelta(minutes=1)
"""For one call: megabytes through an emulator on a busy machine take longer than the default."""
_numbers = count(1)
_run = secrets.token_hex(3)


class Servers(NamedTuple):
    """What a stack over servers is made of."""

    fixture: str
    """Lends their addresses for the whole run."""
    writes: WriteMode


ON_SERVERS = {
    "embedded": Servers("embedded", "single"),
    "localstack-single": Servers("localstack", "single"),
    "localstack-batch": Servers("localstack", "batch"),
}


def fresh(stem: str) -> str:
    """Make a name that no other test uses, nor an earlier run on servers that stayed up."""
    return f"{stem}-{_run}-{next(_numbers)}"


def install(stack: str, request: pytest.FixtureRequest) -> Ports:
    """Build an empty installation under a prefix of its own."""
    if stack == "memory":
        clock = SystemClock()
        return memory_ports(Settings(prefix=fresh("contract")), SHARDS, clock.now)
    return install_on_servers(stack, request)


def install_on_servers(stack: str, request: pytest.FixtureRequest) -> AwsPorts:
    """Build an empty installation over servers."""
    servers = ON_SERVERS[stack]
    endpoints = request.getfixturevalue(servers.fixture)
    return deployed(fresh("contract"), endpoints, SystemClock(), servers.writes)


def deployed(
    prefix: str, endpoints: Endpoints, clock: SystemClock, writes: WriteMode = "single"
) -> AwsPorts:
    """Deploy everything to servers."""
    settings = Settings(
        prefix=prefix,
        endpoint_url=endpoints.aws_endpoint_url,
        aws_credentials="test",
        conditional_writes=writes,
        postgres_dsn=endpoints.postgres_dsn,
        redis_url=endpoints.redis_url,
        call_timeout=PATIENCE,
    )
    deploy(settings, clock, SHARDS, protect=False)
    let_shards_age(endpoints)
    return AwsPorts(settings, clock)


def write_call(ports: AwsPorts, single: str) -> str:
    """Name the operation that writes; `single` is what it is where each item has its own call."""
    return "BatchExecuteStatement" if isinstance(ports.writer, BatchWrites) else single


def table(ports: AwsPorts, name: str) -> str:
    """Name a table of an installation, to look at it past its adapter."""
    assert isinstance(ports.events, KinesisStream)
    return ports.events.name.removesuffix("pos-events") + name
