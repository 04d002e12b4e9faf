"""Consumers as processes of their own, side by side, as they run in production.

Each child reports one JSON line a batch on its stdout. A child that dies is started again, as any
service manager would, a bounded number of times: everything it did is durable or will be done
again.

A child is tied to this process by its standard input: when this process ends, however it ends, the
kernel closes the pipe and the child stops.
"""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import orjson

from pipeline.core.errors import SystemFault
from pipeline.ports.clock import Clock

RESTARTS_MAX = 5
"""Of one child; a child that dies more often has a fault that restarting does not mend."""
STOP_TIMEOUT_S = 15.0
"""For a child to finish its batch after being asked to stop; then it is killed."""
POLL_S = 0.05

OnBatch = Callable[[str, Counter[str]], None]
"""Called with the consumer's name and the counts of one batch."""


class Children:
    """The consumers of one run."""

    def __init__(
        self,
        environment: Mapping[str, str],
        clock: Clock,
        on_batch: OnBatch,
        say: Callable[[str], None],
    ) -> None:
        self._environment, self._clock = environment, clock
        self._on_batch, self._say = on_batch, say
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: dict[str, list[threading.Thread]] = {}
        self._restarts: Counter[str] = Counter()
        self._errors: dict[str, str] = {}

    def run(self, consumers: tuple[str, ...]) -> None:
        """Run consumers until each has drained its stream. Raises SystemFault if one cannot."""
        try:
            for name in consumers:
                self._start(name)
            while self._processes:
                for name, process in list(self._processes.items()):
                    if process.poll() is not None:
                        self._ended(name, process)
                self._clock.wait(POLL_S)
        finally:
            self._stop()

    @property
    def restarts(self) -> int:
        """How many children had to be started again."""
        return self._restarts.total()

    @property
    def pids(self) -> Mapping[str, int]:
        """The processes that run now, by consumer."""
        return {name: process.pid for name, process in self._processes.items()}

    def _start(self, name: str) -> None:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "consumers.cli", "consume", name),
                *("--until-drained", "--json", "--tied-to-stdin"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(self._environment),
            start_new_session=True,  # a Ctrl+C is for this process, which then asks them to stop
        )
        self._processes[name] = process
        self._threads[name] = [
            threading.Thread(target=follow, args=(name, process), daemon=True)
            for follow in (self._follow, self._listen)
        ]
        for thread in self._threads[name]:
            thread.start()

    def _follow(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with suppress(orjson.JSONDecodeError):  # the last line of a killed child is cut
                    self._on_batch(name, Counter(orjson.loads(line)["counts"]))

    def _listen(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._errors[name] = line.decode(errors="replace").strip()

    def _release(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Let go of an ended child, once all that it said has been read."""
        assert process.stdin is not None
        process.stdin.close()
        for thread in self._threads.pop(name):
            thread.join()

    def _ended(self, name: str, process: subprocess.Popen[bytes]) -> None:
        del self._processes[name]
        self._release(name, process)
        if process.returncode == 0:
            return
        self._restarts[name] += 1
        if self._restarts[name] > RESTARTS_MAX or process.returncode == 2:
            said = self._errors.get(name, "no message")
            raise SystemFault(f"{name} ended with exit code {process.returncode}: {said}")
        self._say(f"{name} ended with exit code {process.returncode} and is started again")
        self._start(name)

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for name, process in self._processes.items():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._release(name, process)
        self._processes.clear()
