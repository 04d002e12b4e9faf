"""Keeping daemons running: start, restart with back-off, stop gracefully.

A daemon ends whenever one of its shards' processes could not finish a batch; that is how a batch
that must not be checkpointed comes again. So an end is expected, and the answer is a new start from
the leases' checkpoints, after a pause that doubles while starts fail at once. A daemon that never
stays up has a fault that restarting does not mend: after `QUICK_ENDS_MAX` such ends in a row the
fleet gives up and says so, for whoever supervises us.

A daemon keeps its worker id over restarts, so that it finds its own leases again without waiting
for them to expire.
"""

import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from consumers.fleet.java import daemon_command, find_jars, find_java
from consumers.fleet.properties import (
    SHUTDOWN_GRACE_MS,
    FleetOptions,
    daemon_properties,
    file_text,
    worker_path,
)
from consumers.handlers import Consumer, build_handler
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.core.errors import SystemFault
from pipeline.ports.clock import Clock
from pipeline.ports.streams import TRIM_HORIZON
from pipeline.settings import Settings

POLL_S = 0.2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Before a daemon that ended is started again."""
UP_S = 120.0
"""A daemon that ran for so long was up: it can take a minute to its first record."""
QUICK_ENDS_MAX = 10
STOP_TIMEOUT_S = SHUTDOWN_GRACE_MS / 1_000 + 15.0
"""For a daemon to hand its leases on after SIGTERM; then it is killed."""

_log = logging.getLogger("tillstream.fleet")


@dataclass(frozen=True, slots=True)
class Daemon:
    """How one daemon is started."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


def run_fleet(
    consumer: Consumer, settings: Settings, options: FleetOptions, clock: SystemClock
) -> None:
    """Run daemons until the clock's stop event is set.

    Raises UsageError for what cannot run at all, RefusedToStart if a precondition does not hold
    (asked again before each restart), SystemFault when a daemon does not stay up.
    """

    def check() -> None:
        build_handler(consumer, settings, AwsPorts(settings, clock), clock, TRIM_HORIZON)

    with TemporaryDirectory(prefix="tillstream-kcl-") as folder:
        daemons = [
            daemon(consumer, settings, options, Path(folder, str(number)))
            for number in range(options.workers)
        ]
        Fleet(daemons, clock, check).run()


def daemon(consumer: Consumer, settings: Settings, options: FleetOptions, folder: Path) -> Daemon:
    """Write what a daemon reads into a folder of its own."""
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{folder.name}"
    told = {**daemon_properties(consumer, settings, options), "workerId": worker_id}
    folder.mkdir(parents=True)
    folder.joinpath("daemon.properties").write_text(file_text(told))
    environment = settings.environment()
    java, emulator = find_java(environment), settings.endpoint_url is not None
    command = daemon_command(java, find_jars(), folder, emulator=emulator, verbose=options.verbose)
    environment["PATH"] = worker_path(environment)
    if settings.aws_credentials == "test":
        environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return Daemon(f"{consumer} daemon {folder.name}", command, environment)


@dataclass(slots=True)
class _Seat:
    """One daemon, over its restarts."""

    daemon: Daemon
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    start_at: float = field(default=float("-inf"))
    quick_ends: int = 0


class Fleet:
    """Some daemons, each started again when it ends; `check` is called before every start."""

    def __init__(
        self, daemons: Sequence[Daemon], clock: Clock, check: Callable[[], None] = lambda: None
    ) -> None:
        self._seats = [_Seat(daemon) for daemon in daemons]
        self._clock, self._check = clock, check

    def run(self) -> None:
        """Run until the clock raises Stopping, which goes on once every daemon has ended.

        Raises SystemFault when one of them does not stay up, and whatever `check` raises.
        """
        try:
            while True:
                for seat in self._seats:
                    self._tend(seat)
                self._clock.wait(POLL_S)
        finally:
            self._stop()

    @property
    def pids(self) -> list[int]:
        """The daemons that run now."""
        return [seat.process.pid for seat in self._seats if seat.process is not None]

    def _tend(self, seat: _Seat) -> None:
        if seat.process is None:
            if self._clock.monotonic() >= seat.start_at:
                self._start(seat)
        elif (code := seat.process.poll()) is not None:
            _kill_group(seat.process)
            seat.process = None
            self._ended(seat, code)

    def _start(self, seat: _Seat) -> None:
        self._check()
        seat.began = self._clock.monotonic()
        seat.process = subprocess.Popen(
            seat.daemon.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # its log goes to stderr, which it shares with us
            env=dict(seat.daemon.environment),
            start_new_session=True,  # a Ctrl+C is for this process, which then asks it to stop
        )

    def _ended(self, seat: _Seat, code: int) -> None:
        now = self._clock.monotonic()
        seat.quick_ends = 0 if now - seat.began >= UP_S else seat.quick_ends + 1
        if seat.quick_ends >= QUICK_ENDS_MAX:
            raise SystemFault(
                f"the {seat.daemon.name} ended {seat.quick_ends} times in a row before it had been"
                f" up for {UP_S:g} s, at last with exit code {code}; its log above says why"
            )
        pause_s = min(FIRST_PAUSE_S * 2 ** max(0, seat.quick_ends - 1), LONGEST_PAUSE_S)
        _log.warning(
            "the %s ended with exit code %d and starts again in %g s",
            *(seat.daemon.name, code, pause_s),
        )
        seat.start_at = now + pause_s

    def _stop(self) -> None:
        """Ask every daemon to hand its leases on; kill what has not ended in time."""
        running = [seat.process for seat in self._seats if seat.process is not None]
        deadline = self._clock.monotonic() + STOP_TIMEOUT_S
        try:
            for process in running:
                process.terminate()
            for process in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - self._clock.monotonic()))
        finally:  # also where a second Ctrl+C cut the waiting short
            for process in running:
                _kill_group(process)
                process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a daemon and what it started.

    Its shards' processes end by themselves when it does, except where one still tries a call: a
    zombie, which can checkpoint nothing, and would only delay the next owner of its shard.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
