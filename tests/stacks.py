"""Installations to hold a contract against: the same ports, on every stack that can serve them.

A contract suite takes the fixture `ports` (one installation a module; tests keep apart by names
that nobody else uses) or `empty_ports` (one of its own, where a test must find nothing). Both are
parametrised by `STACKS`; another stack is one more name here and one more branch in `install`.
"""

from itertools import count

import pytest

from consumers.deployment import deploy
from consumers.embedded import Endpoints
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kinesis import KinesisStream
from pipeline.bootstrap import AwsPorts, Ports, memory_ports
from pipeline.settings import Settings

STACKS = ("memory", "embedded")
SHARDS = 2
_numbers = count(1)


def fresh(stem: str) -> str:
    """Make a name that no other test uses."""
    return f"{stem}-{next(_numbers)}"


def install(stack: str, request: pytest.FixtureRequest) -> Ports:
    """Build an empty installation under a prefix of its own."""
    clock, prefix = SystemClock(), fresh("contract")
    if stack == "memory":
        return memory_ports(Settings(prefix=prefix), SHARDS, clock.now)
    return deployed(prefix, request.getfixturevalue("embedded"), clock)


def deployed(prefix: str, endpoints: Endpoints, clock: SystemClock) -> AwsPorts:
    """Deploy everything to the embedded stack."""
    settings = Settings(
        prefix=prefix,
        endpoint_url=endpoints.aws_endpoint_url,
        aws_credentials="test",
        postgres_dsn=endpoints.postgres_dsn,
        redis_url=endpoints.redis_url,
    )
    deploy(settings, clock, SHARDS, protect=False)
    return AwsPorts(settings, clock)


def table(ports: AwsPorts, name: str) -> str:
    """Name a table of an installation, to look at it past its adapter."""
    assert isinstance(ports.events, KinesisStream)
    return ports.events.name.removesuffix("pos-events") + name
