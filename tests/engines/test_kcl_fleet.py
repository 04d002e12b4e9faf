"""The fleet: daemons that die are started again, and stop when they are asked to."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from consumers.fleet import supervision
from consumers.fleet.supervision import Daemon, Fleet
from pipeline.adapters.clock import SystemClock
from pipeline.core.errors import RefusedToStart, Stopping, SystemFault

WAIT_S = 20.0
NOTE = "import os,sys; print(os.getpid(), file=open('started', 'a'), flush=True)\n"
"""A daemon's first line: say that it was started, in its folder."""
STAY = "import time; time.sleep(600)\n"
ON_TERM = "import signal; signal.signal(signal.SIGTERM, {handler}); open('ready', 'w').close()\n"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"POLL_S": 0.005, "FIRST_PAUSE_S": 0.001, "LONGEST_PAUSE_S": 0.01}.items():
        monkeypatch.setattr(supervision, name, seconds)


def daemon(folder: Path, *lines: str) -> Daemon:
    """A program that plays a daemon in a folder of its own."""
    folder.mkdir(exist_ok=True)
    program = "".join((f"import os; os.chdir({str(folder)!r})\n", NOTE, *lines))
    return Daemon(f"daemon {folder.name}", [sys.executable, "-c", program], dict(os.environ))  # noqa: TID251 - of the test


def started(folder: Path) -> list[int]:
    """The process ids of a daemon so far."""
    with suppress(FileNotFoundError):
        return [int(line) for line in (folder / "started").read_text().split()]
    return []


def until(what: Callable[[], object]) -> None:
    """Wait for other processes, on real time."""
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # noqa: TID251 - waits for other processes


class Running:
    """A fleet on a thread of its own."""

    def __init__(self, *daemons: Daemon, check: Callable[[], None] = lambda: None) -> None:
        self.clock = SystemClock()
        self.raised: BaseException | None = None
        self.fleet = Fleet(daemons, self.clock, check)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.fleet.run()
        except BaseException as fault:  # noqa: BLE001 - kept for the test to look at
            self.raised = fault

    def stop(self) -> BaseException | None:
        self.clock.stop.set()
        return self.join()

    def join(self) -> BaseException | None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self.raised


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; one that nobody reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


# ------------------------------------------------------------------------------------ restarts
def test_daemon_that_dies_is_started_again(tmp_path: Path) -> None:
    running = Running(daemon(tmp_path / "0", "sys.exit(1)\n"))
    until(lambda: len(started(tmp_path / "0")) >= 3)
    assert isinstance(running.stop(), Stopping)


def test_daemon_that_is_killed_is_started_again(tmp_path: Path) -> None:
    running = Running(daemon(tmp_path / "0", STAY))
    until(lambda: started(tmp_path / "0"))
    os.kill(started(tmp_path / "0")[0], signal.SIGKILL)
    until(lambda: len(started(tmp_path / "0")) == 2)
    running.stop()


def test_daemon_that_does_not_stay_up_is_given_up(tmp_path: Path) -> None:
    raised = Running(daemon(tmp_path / "0", "sys.exit(3)\n")).join()
    assert isinstance(raised, SystemFault)
    assert "ended 10 times in a row" in str(raised) and "exit code 3" in str(raised)
    assert len(started(tmp_path / "0")) == supervision.QUICK_ENDS_MAX


def test_daemon_that_was_up_is_never_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "UP_S", 0.0)
    running = Running(daemon(tmp_path / "0", "sys.exit(1)\n"))
    until(lambda: len(started(tmp_path / "0")) > supervision.QUICK_ENDS_MAX)
    assert isinstance(running.stop(), Stopping)


def test_pause_before_a_start_doubles_up_to_its_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(supervision, "LONGEST_PAUSE_S", 0.05)
    Running(daemon(tmp_path / "0", "sys.exit(1)\n")).join()
    said = [record.getMessage().split()[-2] for record in caplog.records]
    assert said == ["0.01", "0.02", "0.04", *["0.05"] * 6]


def test_others_go_on_while_one_is_started_again(tmp_path: Path) -> None:
    running = Running(daemon(tmp_path / "0", STAY), daemon(tmp_path / "1", "sys.exit(1)\n"))
    until(lambda: len(started(tmp_path / "1")) >= 3 and started(tmp_path / "0"))
    running.stop()
    assert len(started(tmp_path / "0")) == 1


def test_preconditions_are_checked_before_every_start(tmp_path: Path) -> None:
    checks: list[int] = []

    def check() -> None:
        checks.append(len(started(tmp_path / "0")))
        if len(checks) == 3:
            raise RefusedToStart("other rules")

    raised = Running(daemon(tmp_path / "0", "sys.exit(1)\n"), check=check).join()
    assert isinstance(raised, RefusedToStart)
    assert checks == [0, 1, 2]


# --------------------------------------------------------------------------------------- stops
def test_stop_asks_every_daemon_and_waits_for_it(tmp_path: Path) -> None:
    handler = "lambda *_: (time.sleep(0.2), open('stopped', 'w').close(), sys.exit(0))"
    lines = ("import time\n", ON_TERM.format(handler=handler), STAY)
    running = Running(*(daemon(tmp_path / name, *lines) for name in "01"))
    until(lambda: all((tmp_path / name / "ready").exists() for name in "01"))
    assert isinstance(running.stop(), Stopping)
    assert all((tmp_path / name / "stopped").exists() for name in "01")


def test_daemon_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STOP_TIMEOUT_S", 0.2)
    running = Running(daemon(tmp_path / "0", ON_TERM.format(handler="signal.SIG_IGN"), STAY))
    until((tmp_path / "0" / "ready").exists)
    running.stop()
    assert is_gone(started(tmp_path / "0")[0])


@pytest.mark.parametrize("end", ["sys.exit(1)\n", STAY])
def test_what_a_daemon_started_does_not_outlive_it(tmp_path: Path, end: str) -> None:
    child = f"import subprocess; subprocess.Popen([sys.executable, '-c', {NOTE + STAY!r}])\n"
    first = "first = not os.path.exists('child'); open('child', 'w').close()\n"
    wait = "import time\nwhile len(open('started').readlines()) < 2: time.sleep(0.01)\n"
    again = f"if not first: {STAY}"
    running = Running(daemon(tmp_path / "0", first, f"if first:\n  {child}\n", wait, again, end))
    until(lambda: len(started(tmp_path / "0")) >= 2)
    if end == STAY:
        running.stop()
    until(lambda: is_gone(started(tmp_path / "0")[1]))
    running.stop()


def test_fleet_leaves_nothing_running(tmp_path: Path) -> None:
    running = Running(*(daemon(tmp_path / str(n), STAY) for n in range(3)))
    until(lambda: all(started(tmp_path / str(n)) for n in range(3)))
    pids = running.fleet.pids
    running.stop()
    assert (len(set(pids)), [is_gone(pid) for pid in pids]) == (3, [True] * 3)


# ---------------------------------------------------------------------------- the command line
PLAYED = """
import sys
from pathlib import Path
from consumers.fleet import supervision
supervision.build_handler = lambda *_: None
supervision.daemon = lambda _, __, ___, folder: supervision.Daemon(
    folder.name, [sys.executable, "-c", {program!r}], {{}})
supervision.FIRST_PAUSE_S = supervision.POLL_S = 0.01
supervision.LONGEST_PAUSE_S = 0.02
from consumers.cli import app
app(["consume", "inventory", "--engine", "kcl", "--workers", "2"])
"""


def command(folder: Path, *lines: str) -> "subprocess.Popen[str]":
    """Run the command line over programs that play daemons."""
    program = "".join((f"import os; os.chdir({str(folder)!r})\n", NOTE, *lines))
    line = [sys.executable, "-c", PLAYED.format(program=program)]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_stops_the_daemons_and_decides_the_exit_code(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = command(tmp_path, STAY)
    until(lambda: len(started(tmp_path)) == 2)
    process.send_signal(number)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, said
    assert all(is_gone(pid) for pid in started(tmp_path))


def test_fleet_that_gives_up_ends_with_1_and_one_line(tmp_path: Path) -> None:
    process = command(tmp_path, "sys.exit(1)\n")
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("tillstream: the ")
