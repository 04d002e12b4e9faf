"""The server processes of the embedded stack: launched, waited for with a bound, stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Generous: a first start reads a hundred megabytes from a cold disk on a busy build machine.
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 5.0
POLL_INTERVAL_SECONDS = 0.02
# Between asking for a free port and a server binding it, another process may take it.
PORT_ATTEMPTS_MAX = 3
LOG_TAIL_LINES = 15

LOOPBACK = "127.0.0.1"


class EmbeddedStackError(RuntimeError):
    """The embedded stack could not start; the message says which server and why."""


class ServerEnded(EmbeddedStackError):
    """A server ended before it was ready."""


@dataclass(frozen=True)
class Account:
    """The unprivileged account a server runs under."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Server:
    """One running server, its log and the signal that makes it stop at once."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when `ready` says so; raise when the server ends or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not ready():
            with suppress(subprocess.TimeoutExpired):
                code = self.process.wait(POLL_INTERVAL_SECONDS)
                raise ServerEnded(self._complaint(f"ended with code {code}"))
            if time.monotonic() > deadline:
                raise EmbeddedStackError(self._complaint("was not ready in time"))

    def _complaint(self, what: str) -> str:
        return f"{self.name} {what}\n{tail(self.log)}"


class Servers:
    """Every process launched, so that stopping forgets none, not even one that failed to start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folders = [folder]
        self._launched: list[Server] = []
        self._stopped = False
        self._lock = threading.Lock()

    def add_folder(self, parent: Path, owner: Account) -> Path:
        """Return a new folder that only `owner` can enter; removed with the others."""
        folder = Path(tempfile.mkdtemp(prefix="tillstream-", dir=parent))
        self._folders.append(folder)
        os.chown(folder, owner.uid, owner.gid)
        return folder

    def launch(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        account: Account | None = None,
        listener: socket.socket | None = None,
    ) -> Server:
        """Start `command`, logging to `<folder>/<name>.log`; hand over `listener` if given."""
        log = self.folder / f"{name}.log"
        with self._lock, log.open("ab") as output:
            if self._stopped:
                raise EmbeddedStackError(f"{name} was stopped before it started")
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=() if listener is None else (listener.fileno(),),
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else (),
            )
            server = Server(name, process, log, stop_signal)
            self._launched.append(server)
        return server

    def ended(self) -> list[str]:
        """Name the servers that are no longer running."""
        return [server.name for server in self._launched if server.process.poll() is not None]

    def stop(self) -> None:
        """Stop all servers at the same time, kill what does not stop, and launch no more."""
        with self._lock:
            self._stopped = True
        for server in self._launched:
            server.process.send_signal(server.stop_signal)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for server in self._launched:
            try:
                server.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()

    def remove_files(self) -> None:
        """Delete every folder of the stack with all logs and data in it."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


def on_free_port(start: Callable[[int], str]) -> str:
    """Call `start` with a free port; with another one if the server ended before it was ready."""
    for _ in range(PORT_ATTEMPTS_MAX - 1):
        try:
            return start(free_port())
        except ServerEnded:
            continue
    return start(free_port())


def tail(log: Path) -> str:
    """Return the last lines of a log file."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-LOG_TAIL_LINES:])
