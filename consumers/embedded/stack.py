"""Start the embedded stack, and leave nothing of it behind.

The servers are not children of this process but of a small *supervisor* (supervisor.py), which
holds the reading end of a pipe whose writing end only this process has. The kernel closes our end
when we end, however we end: at the close of the `with` block, on Ctrl+C, on SIGTERM, and by
SIGKILL, where no code of ours runs any more. The supervisor then stops the servers and removes
their files.

Rejected: PR_SET_PDEATHSIG on each server. It fires when the *thread* that forked ends (we start
from several), is lost when credentials change (PostgreSQL under root), exists on Linux alone, and
would leave the temporary files. Rejected: atexit and signal handlers here. They miss SIGKILL and
take handlers away from the program that uses the stack.

The supervisor leads a session of its own, so that a Ctrl+C at the terminal reaches the consumers
and not their servers: the consumers can finish their batch against servers that still answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from consumers.embedded.servers import STOP_TIMEOUT_SECONDS, EmbeddedStackError

# Longer than the supervisor needs for servers that ignore their stop signal until it kills them.
SUPERVISOR_STOP_TIMEOUT_SECONDS = STOP_TIMEOUT_SECONDS + 5.0

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Endpoints:
    """Where the running servers answer; credentials are part of the addresses."""

    aws_endpoint_url: str
    postgres_dsn: str
    redis_url: str

    def environment(self) -> dict[str, str]:
        """Return the variables that point a child process at these servers."""
        return {
            "TILLSTREAM_ENDPOINT_URL": self.aws_endpoint_url,
            "TILLSTREAM_POSTGRES_DSN": self.postgres_dsn,
            "TILLSTREAM_REDIS_URL": self.redis_url,
            "TILLSTREAM_CONDITIONAL_WRITES": "single",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


class EmbeddedStack:
    """Run moto, PostgreSQL and Redis for the length of a `with` block.

    Entering returns the `Endpoints` once all three answer, or raises `EmbeddedStackError` with the
    end of the failing server's log. `workdir` is where the stack makes its own temporary folder
    (default: the system's); only that folder is removed. `notice` gets one line for each thing a
    user should know, such as a stand-in for Redis; by default it goes to stderr.

    Misuse to fear: a process forked by the caller without exec keeps a copy of the pipe. The
    supervisor therefore also notices when its parent is gone, but only within a second.
    """

    def __init__(
        self, workdir: Path | None = None, notice: Callable[[str], None] | None = None
    ) -> None:
        self._workdir = workdir
        self._notice = notice or _to_stderr
        self._supervisor: subprocess.Popen[str] | None = None

    def __enter__(self) -> Endpoints:
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "consumers.embedded.supervisor", *self._arguments()],
            cwd=_PACKAGE_ROOT,  # what `-m` resolves against; works installed and from a checkout
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            return self._read_endpoints(_open(self._supervisor.stdout))
        except BaseException:
            self._stop()
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def process_group(self) -> int:
        """The group of the running servers; it is empty after the block, however that ended."""
        assert self._supervisor is not None, "only inside the `with` block"
        return self._supervisor.pid

    def _arguments(self) -> list[str]:
        workdir = [] if self._workdir is None else [str(self._workdir.resolve())]
        return [str(os.getpid()), *workdir]

    def _read_endpoints(self, lines: IO[str]) -> Endpoints:
        # Without a time-out: every wait of the supervisor is bounded, and its death ends the file.
        for line in lines:
            message = json.loads(line)
            if "endpoints" in message:
                return Endpoints(**message["endpoints"])
            if "error" in message:
                raise EmbeddedStackError(message["error"])
            self._notice(message["notice"])
        raise EmbeddedStackError("the embedded stack ended before its servers were ready")

    def _stop(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        _open(supervisor.stdin).close()
        try:
            code = supervisor.wait(SUPERVISOR_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        if code < 0:  # stuck, or killed by someone: the servers are in its group, their files stay
            with suppress(ProcessLookupError):
                os.killpg(supervisor.pid, signal.SIGKILL)
            supervisor.wait()
        _open(supervisor.stdout).close()


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
