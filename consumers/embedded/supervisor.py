"""The parent of the embedded servers: starts them together, stops them when its own parent ends.

Runs as `python -m consumers.embedded.supervisor PARENT_PID [WORKDIR]`, started by stack.py, which
argues why it exists. stdout carries one JSON object a line: `notice`, then `endpoints` or `error`.
The end of stdin means that the parent is gone or done.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from consumers.embedded import moto, postgres, redis
from consumers.embedded.servers import EmbeddedStackError, Servers

# How long a copy of the pipe, held by a process that the parent forked, can hide the parent's end.
PARENT_POLL_INTERVAL_SECONDS = 0.1


class Parent:
    """Whoever started this process, and the signals that ask us to leave on its behalf."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._leaving = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # A flag and no exception: the clean-up must not be interrupted by a second signal.
            signal.signal(number, lambda *_: self._leaving.set())

    def is_gone(self, timeout_seconds: float) -> bool:
        """Wait for the parent's end, but no longer than `timeout_seconds`."""
        readable, _, _ = select.select([sys.stdin], [], [], timeout_seconds)
        if readable and not sys.stdin.readline():
            return True
        return self._leaving.is_set() or os.getppid() != self._pid


def main(arguments: list[str]) -> int:
    """Run the servers until the parent is gone; return 1 if they could not start."""
    parent = Parent(int(arguments[0]))
    workdir = arguments[1] if len(arguments) > 1 else None
    servers = Servers(Path(tempfile.mkdtemp(prefix="tillstream-", dir=workdir)))
    try:
        _say("endpoints", _start(servers, parent))
        _wait_for_the_end(servers, parent)
    except BrokenPipeError:
        return 1  # the parent ended while the servers were starting
    except EmbeddedStackError as error:
        with suppress(BrokenPipeError):
            _say("error", str(error))
        return 1
    finally:
        servers.stop()
        servers.remove_files()
    return 0


def _start(servers: Servers, parent: Parent) -> dict[str, str]:
    executable = redis.find_executable()
    with ThreadPoolExecutor(max_workers=3) as pool:
        starting = {
            "aws_endpoint_url": pool.submit(moto.start, servers),
            "postgres_dsn": pool.submit(postgres.start, servers),
            "redis_url": pool.submit(redis.start, servers, executable, _notice),
        }
        while not all(future.done() for future in starting.values()):
            if parent.is_gone(PARENT_POLL_INTERVAL_SECONDS):
                servers.stop()  # ends the waits of the three threads
    return {name: future.result() for name, future in starting.items()}


def _wait_for_the_end(servers: Servers, parent: Parent) -> None:
    reported: set[str] = set()
    while not parent.is_gone(PARENT_POLL_INTERVAL_SECONDS):
        for name in set(servers.ended()) - reported:
            sys.stderr.write(f"the embedded {name} ended unexpectedly\n")
            reported.add(name)


def _notice(line: str) -> None:
    _say("notice", line)


def _say(kind: str, content: str | dict[str, str]) -> None:
    sys.stdout.write(json.dumps({kind: content}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
