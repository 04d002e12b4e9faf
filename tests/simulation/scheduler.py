"""Time and turns: every worker in a thread of its own, of which only one ever runs.

Handlers are plain synchronous code, so a worker can only be stopped in the middle by stopping its
thread. A baton goes from the scheduler to one task and back, at calls to the outside and at waits;
whoever does not hold it stands still. So the interleaving is a function of the seed, and a task can
be left standing for as long as one likes (a zombie), or made to die where it stands.
"""

from collections.abc import Callable
from random import Random  # noqa: TID251 - seeded: one integer decides the whole run
from threading import Event, Lock, Thread

from pipeline.core.instants import HOUR
from tests.unit.traffic import START

CLOCK_START = START + 30 * HOUR
"""The virtual present at the beginning; events are about `START`, so few of them lie ahead."""
CALL_S = 0.001
"""What any call to the outside takes."""


class Crash(BaseException):
    """The process died here: no exception that the product knows, so nothing catches it."""


class Task:
    """One thread, and why it stands still: waiting for a turn, asleep, or frozen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.baton = Lock()
        self.baton.acquire()
        self.turns = 0
        self.wake_at = 0.0
        self.frozen = self.killed = self.done = False
        self.error: BaseException | None = None


class Scheduler:
    """Hand the baton out, keep the virtual time."""

    def __init__(self, rng: Random) -> None:
        self.rng, self.now_s = rng, 0.0
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self._returned = Lock()
        self._returned.acquire()

    # ------------------------------------------------------------------ on the scheduler's thread
    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        """Make a task; it begins with its first turn."""
        task = Task(name)
        self.tasks.append(task)
        Thread(target=self._body, args=(task, work), daemon=True).start()
        return task

    def run(self, task: Task, turns: int) -> None:
        """Let a task run until it has used its turns up, sleeps or ends."""
        self.current, task.turns = task, turns
        task.baton.release()
        self._returned.acquire()
        self.current = None
        if task.done:
            self.tasks.remove(task)

    def kill(self, task: Task) -> None:
        """Have a task die where it stands."""
        task.killed = True
        self.run(task, 0)

    def ready(self) -> list[Task]:
        """List the tasks that could run; if all of them sleep, sleep until the first one wakes."""
        awake = [task for task in self.tasks if not task.frozen]
        found = [task for task in awake if task.wake_at <= self.now_s]
        if not found and awake:
            self.now_s = min(task.wake_at for task in awake)
            found = [task for task in awake if task.wake_at <= self.now_s]
        return found

    # ----------------------------------------------------------------------- on a task's own thread
    def _body(self, task: Task, work: Callable[[], None]) -> None:
        task.baton.acquire()
        try:
            if not task.killed:
                work()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - carried to the scheduler's thread, judged there
            task.error = error
        task.done = True
        self._returned.release()

    def pause(self) -> None:
        """Take a turn; without one left, let others run. A killed task goes no further."""
        task = self._running()
        self.now_s += CALL_S
        task.turns -= 1
        if task.turns < 0:
            self._hand_back(task)

    def sleep(self, seconds: float) -> None:
        """Let others run for a while."""
        task = self._running()
        task.wake_at = self.now_s + seconds
        self._hand_back(task)

    def _running(self) -> Task:
        assert self.current is not None
        return self.current

    def _hand_back(self, task: Task) -> None:
        self._returned.release()
        task.baton.acquire()
        if task.killed:
            raise Crash("killed")


class SimulatedClock:
    """`ports.clock.Clock` over the scheduler's time and the seed's chance."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> int:
        """Return microseconds since 1970."""
        return CLOCK_START + int(self._scheduler.now_s * 1_000_000)

    def monotonic(self) -> float:
        """Return seconds since the run began."""
        return self._scheduler.now_s

    def wait(self, seconds: float) -> None:
        """Sleep in virtual time."""
        self._scheduler.sleep(seconds)

    def jitter(self) -> float:
        """Draw from the seed."""
        return self._scheduler.rng.random()


class SimulatedHalt(Event):
    """The stop that never comes: a task ends by finishing, by losing its lease or by dying."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep in virtual time."""
        self._scheduler.sleep(timeout or 0.0)
        return False
