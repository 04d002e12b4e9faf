"""The warehouse's chores: behind the loads, and never in their way."""

from collections.abc import Sequence
from threading import Event

import pytest

from pipeline.core.errors import Stopping, TransientFault
from pipeline.core.instants import format_instant, parse_instant
from pipeline.runtime.upkeep import Upkeep

EVERY_S = 300.0
ENOUGH_S = 5.0


class Chores:
    """Counts refreshes; answers or raises as told."""

    def __init__(self, *answers: bool | TransientFault) -> None:
        self._answers = list(answers)
        self.prepared: list[Sequence[int]] = []
        self.refreshed = 0
        self.done = Event()

    def prepare(self, instants: Sequence[int]) -> None:
        """Note the months."""
        self.prepared.append(instants)

    def refresh(self, at_most_every_s: float = 0.0) -> bool:
        """Do as told; true once nothing is left to be told."""
        self.refreshed += 1
        answer = self._answers.pop(0) if self._answers else True
        if isinstance(answer, TransientFault):
            raise answer
        if not self._answers:
            self.done.set()
        return answer


class Clock:
    """Waits are noted and over at once, or are a stop."""

    def __init__(self, now: str = "2011-10-03T12:00:00Z", stopped: bool = False) -> None:
        self._now, self._stopped = parse_instant(now), stopped
        self._seconds = 0.0
        self.waits: list[float] = []
        self.waited = Event()

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._seconds

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.waited.set()
        if self._stopped:
            raise Stopping("stop")
        self._seconds += seconds

    def jitter(self) -> float:
        return 0.5


def test_a_first_load_is_followed_by_a_refresh_at_once() -> None:
    chores, clock = Chores(), Clock()
    Upkeep(chores, clock, EVERY_S).loaded()
    assert (chores.done.wait(ENOUGH_S), clock.waits) == (True, [0.0])


@pytest.mark.parametrize("answer", [False, TransientFault("away")])
def test_a_refresh_that_was_left_out_or_failed_is_made_up_for_without_another_load(
    answer: bool | TransientFault,
) -> None:
    chores, clock = Chores(answer, True), Clock()
    Upkeep(chores, clock, EVERY_S).loaded()
    assert (chores.done.wait(ENOUGH_S), clock.waits) == (True, [0.0, EVERY_S])


def test_loads_before_the_refresh_share_it() -> None:
    class Slow(Clock):
        def wait(self, seconds: float) -> None:
            super().wait(seconds)
            go.wait(ENOUGH_S)

    go, chores, clock = Event(), Chores(), Slow()
    upkeep = Upkeep(chores, clock, EVERY_S)
    for _ in range(10):
        upkeep.loaded()
    go.set()
    assert (chores.done.wait(ENOUGH_S), chores.refreshed) == (True, 1)


def test_nothing_is_done_after_a_stop() -> None:
    chores, clock = Chores(), Clock(stopped=True)
    upkeep = Upkeep(chores, clock, EVERY_S)
    upkeep.loaded()
    clock.waited.wait(ENOUGH_S)
    upkeep.loaded()
    assert (chores.refreshed, len(clock.waits)) == (0, 1)


@pytest.mark.parametrize("day", ["2011-01-01", "2011-01-31", "2012-02-29", "2011-11-30"])
def test_this_month_and_three_more_are_prepared_and_none_is_skipped(day: str) -> None:
    chores = Chores()
    Upkeep(chores, Clock(f"{day}T12:00:00Z"), EVERY_S).do()
    found = sorted({format_instant(instant)[:7] for instant in chores.prepared[0]})
    first = int(day[:4]) * 12 + int(day[5:7]) - 1
    months = [f"{month // 12}-{month % 12 + 1:02}" for month in range(first, first + len(found))]
    assert (found, len(found) >= 4) == (months, True)
