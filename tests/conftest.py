"""What more than one test file needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consumers.embedded import EmbeddedStack, Endpoints
from tests import postgres_servers, query_page
from tests.databases import new_database
from tests.localstack_servers import running_localstack
from tests.sample_warehouse import SampleWarehouse, filled
from tests.stacks import DEFAULT_STACKS, ON_SERVERS, install, install_on_servers

if TYPE_CHECKING:
    from pipeline.bootstrap import AwsPorts, Ports

ON_LOCALSTACK_ALONE = Path(__file__).parent / "localstack"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the stacks to hold the contracts against."""
    parser.addoption(
        "--stacks",
        default=",".join(DEFAULT_STACKS),
        help=f"stacks for the contract suites, of memory,{','.join(ON_SERVERS)}",
    )
    parser.addoption(
        "--postgres",
        metavar="VERSION",
        help="Debian's PostgreSQL of this version for the warehouse, instead of the embedded one;"
        " 15 is the oldest that is promised",
    )
    parser.addoption(
        "--postgres-dsn",
        metavar="DSN",
        help="a superuser's DSN of a server that is there, for the warehouse",
    )
    parser.addoption(
        "--rewrite-docs",
        action="store_true",
        help="write the generated parts of docs/ anew before they are compared",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Install the server that is asked for; once, and not in each process of the run."""
    major = config.getoption("--postgres")
    if major is not None and not hasattr(config, "workerinput"):
        postgres_servers.provide(major)


def asked_for(config: pytest.Config) -> list[str]:
    """Return the stacks of the option."""
    stacks: str = config.getoption("--stacks")
    return stacks.split(",")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs LocalStack where nobody asks for LocalStack."""
    if collection_path == ON_LOCALSTACK_ALONE and "localstack" not in config.getoption("--stacks"):
        return True
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes an installation on each stack.

    Stacks that differ only in how they write tables are one to a module that says so.
    """
    stacks = asked_for(metafunc.config)
    if getattr(metafunc.module, "SAME_IN_EVERY_WRITE_MODE", False):
        stacks = list({ON_SERVERS[s].fixture if s in ON_SERVERS else s: s for s in stacks}.values())
    on_servers = [stack for stack in stacks if stack in ON_SERVERS]
    of_fixture = {"ports": stacks, "empty_ports": stacks, "aws_ports": on_servers}
    for fixture in of_fixture.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(fixture, of_fixture[fixture], indirect=True)


@pytest.fixture(scope="session")
def other_postgres(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str | None]:
    """A superuser's DSN of the server of `--postgres` or `--postgres-dsn`."""
    major: str | None = request.config.getoption("--postgres")
    if major is None:
        yield request.config.getoption("--postgres-dsn")
        return
    with postgres_servers.running(major, tmp_path_factory.mktemp("postgres")) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def embedded(other_postgres: str | None) -> Iterator[Endpoints]:
    """One embedded stack for the whole run: tests keep apart by names, not by servers."""
    with EmbeddedStack() as endpoints:
        yield replace(endpoints, postgres_dsn=other_postgres or endpoints.postgres_dsn)


@pytest.fixture(scope="session")
def localstack() -> Iterator[Endpoints]:
    """LocalStack for the whole run, and an empty warehouse."""
    with running_localstack() as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Endpoints:
    """The servers of the first stack that has any, for what cares little how it is written."""
    stack = next(stack for stack in asked_for(request.config) if stack in ON_SERVERS)
    endpoints: Endpoints = request.getfixturevalue(ON_SERVERS[stack].fixture)
    return endpoints


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest, other_postgres: str | None) -> str:
    """A superuser's DSN: of the other server, or of the stack's own."""
    if other_postgres is not None:
        return other_postgres
    endpoints: Endpoints = request.getfixturevalue("servers")
    return endpoints.postgres_dsn


@pytest.fixture(scope="session")
def sample_warehouse(postgres_server: str) -> Iterator[SampleWarehouse]:
    """The bundled sample in a warehouse, as docs/queries.md has it; for reading only."""
    with new_database(postgres_server) as dsn, filled(dsn, query_page.read()) as sample:
        yield sample


@pytest.fixture(scope="module")
def ports(request: pytest.FixtureRequest) -> Ports:
    """One installation a module and stack: tests keep apart by names that nobody else uses."""
    return install(request.param, request)


@pytest.fixture
def empty_ports(request: pytest.FixtureRequest) -> Ports:
    """An installation of its own."""
    return install(request.param, request)


@pytest.fixture(scope="module")
def aws_ports(request: pytest.FixtureRequest) -> AwsPorts:
    """The real adapters alone, for what only a service can do."""
    return install_on_servers(request.param, request)
