"""Up, down and status, with stand-ins for the servers."""

import socket
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from consumers.cli import app
from consumers.localstack import LocalStack
from consumers.localstack.parts import (
    Ask,
    Part,
    localstack_version,
    postgres_version,
    redis_version,
)
from consumers.progress import Progress
from pipeline.core.errors import SystemFault

QUIET = Progress(enabled=False)


@pytest.fixture
def taken() -> Iterator[int]:
    """Hold a port, and say nothing on it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def stack_of(tmp_path: Path, address: str, ask: Ask) -> LocalStack:
    """Make a stack of Redis alone."""
    return LocalStack(QUIET, tmp_path / "folder", [Part("redis", address, ask)])


def test_servers_that_answer_are_used_as_they_are(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, "redis://127.0.0.1:1/0", lambda _: "6.2")
    assert stack.up() is False
    assert [(s.version, s.ours) for s in stack.status()] == [("6.2", False)]


def test_port_that_another_program_has_is_named(tmp_path: Path, taken: int) -> None:
    stack = stack_of(tmp_path, f"redis://127.0.0.1:{taken}/0", lambda _: None)
    with pytest.raises(SystemFault, match=f"^port {taken}, for redis, is taken by another program"):
        stack.up()


def test_what_does_not_answer_is_down(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, "redis://127.0.0.1:1/0", redis_version)
    assert [(s.version, s.ours) for s in stack.status()] == [(None, False)]


def test_there_may_be_nothing_to_stop(tmp_path: Path) -> None:
    assert LocalStack(QUIET, tmp_path).down() is False


@pytest.mark.parametrize(("version", "code"), [("6.2", 0), (None, 1)])
def test_status_is_an_exit_code_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, code: int
) -> None:
    stack = stack_of(tmp_path, "redis://127.0.0.1:1/0", lambda _: version)
    monkeypatch.setattr("consumers.localstack.LocalStack", lambda _: stack)
    ended = CliRunner().invoke(app, ["localstack", "status", "--json"])
    assert (ended.exit_code, [part["version"] for part in orjson.loads(ended.stdout)]) == (
        code,
        [version],
    )


@pytest.mark.parametrize(
    ("ask", "address"),
    [
        (localstack_version, "http://127.0.0.1:1"),
        (postgres_version, "postgresql://a:b@127.0.0.1:1/c"),
        (redis_version, "redis://:a@127.0.0.1:1/0"),
    ],
)
def test_server_that_is_not_there_has_no_version(ask: Ask, address: str) -> None:
    assert ask(address) is None
