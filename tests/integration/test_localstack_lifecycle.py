"""Up and down with real servers, PostgreSQL and Redis, in a folder and on ports of their own."""

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.embedded.servers import free_port
from consumers.localstack import LocalStack, processes
from consumers.localstack.parts import POSTGRES, REDIS, Part
from consumers.progress import Progress
from pipeline.core.errors import SystemFault

pytestmark = pytest.mark.long


def elsewhere(part: Part) -> Part:
    return replace(part, address=part.address.replace(str(part.port), str(free_port())))


class Site:
    """A stack without LocalStack itself, which tests/localstack has."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.parts = folder, [elsewhere(POSTGRES), elsewhere(REDIS)]
        self.stack = LocalStack(Progress(enabled=False), folder, self.parts)

    def running(self) -> list[processes.Process]:
        return processes.of_folder(self.folder)

    def kill(self, word: str) -> None:
        """Kill the one process that has a word in its command."""
        (pid,) = [one.pid for one in self.running() if word in " ".join(one.command)]
        os.kill(pid, signal.SIGKILL)

    def ours(self) -> list[bool]:
        return [part.ours and part.version is not None for part in self.stack.status()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.stack.down()


def test_up_is_idempotent_and_down_leaves_nothing(site: Site) -> None:
    assert (site.stack.up(), site.ours()) == (True, [True, True])
    before = site.running()
    assert (site.stack.up(), site.running()) == (False, before)
    assert (site.stack.down(), site.running()) == (True, [])
    assert (site.ours(), (site.folder / "run").exists()) == ([False, False], False)


def test_what_died_is_started_again_by_the_next_up(site: Site) -> None:
    site.stack.up()
    site.kill("redis-server")
    assert (site.stack.up(), site.ours()) == (True, [True, True])


def test_down_finds_the_servers_of_a_keeper_that_was_killed(site: Site) -> None:
    site.stack.up()
    site.kill("consumers.localstack.keeper")
    assert (site.stack.down(), site.running()) == (True, [])


def test_interrupt_while_starting_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(site.stack, "_follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        site.stack.up()
    assert site.running() == []


def test_server_that_cannot_start_is_told_and_stops_the_others(site: Site) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", site.parts[1].port))  # taken, though nobody answers there
        with pytest.raises(SystemFault, match=r"^redis ended with code 1"):
            site.stack.up()
    assert site.running() == []
