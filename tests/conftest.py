"""What more than one test file needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from consumers.embedded import EmbeddedStack, Endpoints
from pipeline.adapters.clock import SystemClock
from tests.stacks import STACKS, deployed, fresh, install

if TYPE_CHECKING:
    from pipeline.bootstrap import AwsPorts, Ports


@pytest.fixture(scope="session")
def embedded() -> Iterator[Endpoints]:
    """One embedded stack for the whole run: tests keep apart by names, not by servers."""
    with EmbeddedStack() as endpoints:
        yield endpoints


@pytest.fixture(scope="module", params=STACKS)
def ports(request: pytest.FixtureRequest) -> Ports:
    """One installation a module and stack: tests keep apart by names that nobody else uses."""
    return install(request.param, request)


@pytest.fixture(params=STACKS)
def empty_ports(request: pytest.FixtureRequest) -> Ports:
    """An installation of its own."""
    return install(request.param, request)


@pytest.fixture(scope="module")
def aws_ports(embedded: Endpoints) -> AwsPorts:
    """The real adapters alone, for what only a service can do."""
    return deployed(fresh("faults"), embedded, SystemClock())
