"""The processes of one LocalStack, found by what they inherited, on Linux.

LocalStack starts Node and Java in sessions of their own, and starts them again when they end; so
neither a process group nor a list of process numbers holds them all, and a number in a file may by
now be somebody else's. Each of them has in its environment what the first was started with: a
variable that names the folder. PostgreSQL and Redis write their titles over theirs; they stay in
the first one's session.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MARK = "TILLSTREAM_LOCALSTACK_FOLDER"
POLL_S = 0.05
_PROC = Path("/proc")
_ZOMBIE = "Z"


class Process(NamedTuple):
    """A process of ours that runs."""

    pid: int
    command: tuple[str, ...]


def marked(folder: Path) -> list[str]:
    """Return a command's first words, which mark the command and all that comes of it."""
    return ["env", f"{MARK}={folder}"]


def of_folder(folder: Path) -> list[Process]:
    """Return every process of the LocalStack in `folder`, and those of its sessions."""
    mark = os.fsencode(f"{MARK}={folder}")
    everyone = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    sessions = {pid: session for pid in everyone if (session := _session(pid)) is not None}
    bearers = {pid for pid in sessions if mark in _read(pid, "environ")}
    # A session counts if its leader is marked, or was: a shell that holds the mark is somebody's.
    led = {sessions[pid] for pid in bearers}
    held = {session for session in led if session in bearers or session not in sessions}
    ours = {pid for pid, session in sessions.items() if pid in bearers or session in held}
    return [Process(pid, _command(pid)) for pid in sorted(ours - {os.getpid()})]


def end(folder: Path, first: signal.Signals, patience_s: float) -> list[Process]:
    """Ask the keeper to end and wait; kill what is left. Return what had to be killed."""
    deadline = time.monotonic() + patience_s
    for process in of_folder(folder):
        if is_keeper(process):
            _signal(process.pid, first)
    while (left := of_folder(folder)) and time.monotonic() < deadline:
        if not any(map(is_keeper, left)):
            break
        time.sleep(POLL_S)  # noqa: TID251 - waits for other processes, on real time
    kill(folder)
    return left


def kill(folder: Path) -> None:
    """Kill all of them: parents first, since LocalStack starts its children again."""
    while left := of_folder(folder):
        for process in left:
            _signal(process.pid, signal.SIGKILL)
        time.sleep(POLL_S)  # noqa: TID251 - waits for other processes, on real time


def is_keeper(process: Process) -> bool:
    """Say whether this is the process that holds the others."""
    return "consumers.localstack.keeper" in process.command


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _session(pid: int) -> int | None:
    # After the name, which may hold anything: state, parent, group, session.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return None if not fields or fields[0].decode() == _ZOMBIE else int(fields[3])


def _command(pid: int) -> tuple[str, ...]:
    return tuple(os.fsdecode(_read(pid, "cmdline")).split("\0")[:-1])


def _read(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""
