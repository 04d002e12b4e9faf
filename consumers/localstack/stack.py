"""Bring LocalStack with PostgreSQL and Redis up and down, and say how it is.

What already answers at one of the addresses, docker-compose's server for instance, is used as it
is. The servers belong to the keeper, a process of its own: they outlive the command.
"""

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from consumers.localstack import processes
from consumers.localstack.installation import (
    DYNAMODB_LOCAL_VERSION,
    KINESIS_MOCK_VERSION,
    Installation,
)
from consumers.localstack.parts import AWS, PARTS, Part
from consumers.progress import Progress
from pipeline.core.errors import SystemFault

FOLDER = Path(".localstack")
INSIDE = {"kinesis-mock": KINESIS_MOCK_VERSION, "DynamoDB Local": DYNAMODB_LOCAL_VERSION}
STOP_TIMEOUT_S = 30.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Status(NamedTuple):
    """One server as it is now."""

    name: str
    address: str
    version: str | None
    """None: it does not answer."""
    ours: bool
    """Whether `up` started it, and `down` will stop it."""
    inside: dict[str, str]
    """What it runs itself, by pinned version."""


class LocalStack:
    """The LocalStack of one folder."""

    def __init__(
        self, progress: Progress, folder: Path = FOLDER, parts: Sequence[Part] = PARTS
    ) -> None:
        self._progress, self._folder, self._parts = progress, folder.resolve(), parts
        self._keeper: subprocess.Popen[str] | None = None

    def up(self) -> bool:
        """Have all parts running and ready; say whether anything had to be started.

        Safe to repeat. Raises SystemFault with one line that says what cannot be had.
        """
        with self._alone():
            down = [part for part in self._parts if part.version() is None]
            if not down:
                return False
            if processes.of_folder(self._folder):
                self._progress.say(f"{down[0].name} does not answer: starting again")
                self._stop()
                down = [part for part in self._parts if part.version() is None]
            for part in down:
                if part.is_taken():
                    raise SystemFault(
                        f"port {part.port}, for {part.name}, is taken by another program"
                    )
            if any(part.name == AWS.name for part in down):
                Installation(self._folder).install(self._progress)
            self._start(down)
            return True

    def down(self) -> bool:
        """Stop what `up` started, with all that it started itself; say whether there was any."""
        with self._alone():
            return self._stop()

    def status(self) -> list[Status]:
        """Ask every part."""
        started = self._started()
        found = []
        for part in self._parts:
            ours = part.name in started
            inside = INSIDE if part.name == AWS.name and ours else {}
            found.append(Status(part.name, part.address, part.version(), ours, inside))
        return found

    def _started(self) -> set[str]:
        running = processes.of_folder(self._folder)
        words = [word for one in running if processes.is_keeper(one) for word in one.command]
        return {word.partition("=")[0] for word in words}

    def _start(self, parts: list[Part]) -> None:
        self._progress.say(f"starting {', '.join(part.name for part in parts)}")
        arguments = [str(self._folder), *(f"{part.name}={part.address}" for part in parts)]
        with (self._folder / "keeper.log").open("ab") as log:
            self._keeper = keeper = subprocess.Popen(
                [
                    *processes.marked(self._folder),
                    *(sys.executable, "-m", "consumers.localstack.keeper", *arguments),
                ],
                cwd=_PACKAGE_ROOT,  # what `-m` resolves against
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # a Ctrl+C here is not for the servers
            )
        assert keeper.stdout is not None
        with keeper.stdout as lines:
            try:
                self._follow(lines)
            except BaseException:
                self._stop()
                raise

    def _follow(self, lines: IO[str]) -> None:
        for line in lines:
            ((kind, content),) = json.loads(line).items()
            if kind == "ready":
                return
            if kind == "error":
                raise SystemFault(content)
            self._progress.say(content)
        raise SystemFault(f"LocalStack ended as it started: see {self._folder / 'keeper.log'}")

    def _stop(self) -> bool:
        if not processes.of_folder(self._folder):
            return False
        processes.end(self._folder, signal.SIGTERM, STOP_TIMEOUT_S)
        if self._keeper is not None:
            self._keeper.wait()
        return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one command at a time work in the folder; the kernel lets go of a dead one's lock."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._progress.say("another command is at work on LocalStack: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
