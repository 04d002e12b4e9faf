"""Trying again: jittered, bounded, cancellable, and in this one place.

Ports answer "not yet" by leaving items out, or raise TransientFault for a whole call. Both mean:
pause, then offer what is left. The pause doubles up to a ceiling and is drawn at random below it
("full jitter"), so that workers throttled together do not come back together. Progress resets the
pause but not the budget.

Rejected: a retry library. This needs the remainder of a bulk call, the system's own clock (a
simulation runs on it) and a stop that interrupts the pause; what is left after that is shorter
than its configuration.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.core.errors import BudgetExhausted, TransientFault
from pipeline.ports.clock import Clock

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to pause, how long at most, and when to give up; seconds."""

    clock: Clock
    first_pause_s: float = 0.05
    longest_pause_s: float = 5.0
    budget_s: float = 60.0

    def call(self, what: str, attempt: Callable[[], Answer]) -> Answer:
        """Call until it answers. Raises BudgetExhausted, or Stopping during a pause."""
        tries = self.tries(what)
        while True:
            try:
                return attempt()
            except TransientFault as fault:
                tries.pause(fault)

    def drain(
        self, what: str, attempt: Callable[[Sequence[Item]], Sequence[Item]], items: Sequence[Item]
    ) -> None:
        """Offer items until none come back as not done."""
        tries = self.tries(what)
        left = items
        while left:
            before = len(left)
            try:
                left = attempt(left)
            except TransientFault as fault:
                tries.pause(fault)
                continue
            if left:
                tries.pause(None, progress=len(left) < before)

    def gather(
        self,
        what: str,
        attempt: Callable[[Sequence[Item]], Mapping[Key, Answer]],
        items: Mapping[Key, Item],
    ) -> dict[Key, Answer]:
        """Offer items by key until every key has an answer."""
        tries = self.tries(what)
        answers: dict[Key, Answer] = {}
        while left := [item for key, item in items.items() if key not in answers]:
            before = len(answers)
            try:
                answers.update(attempt(left))
            except TransientFault as fault:
                tries.pause(fault)
                continue
            if len(answers) < len(items):
                tries.pause(None, progress=len(answers) > before)
        return answers

    def tries(self, what: str) -> "Tries":
        """Begin counting pauses for one piece of work."""
        return Tries(self, what)


class Tries:
    """The pauses of one piece of work."""

    def __init__(self, backoff: Backoff, what: str) -> None:
        self._backoff, self._what = backoff, what
        self._pause_s = backoff.first_pause_s
        self._deadline = backoff.clock.monotonic() + backoff.budget_s

    def pause(self, fault: TransientFault | None, *, progress: bool = False) -> None:
        """Wait before the next try. Raises BudgetExhausted once the budget is spent."""
        backoff = self._backoff
        if backoff.clock.monotonic() >= self._deadline:
            why = f": {fault}" if fault else ": the rest was never accepted"
            raise BudgetExhausted(f"{self._what} failed for {backoff.budget_s:g} s{why}") from fault
        if progress:
            self._pause_s = backoff.first_pause_s
        backoff.clock.wait(self._pause_s * backoff.clock.jitter())
        self._pause_s = min(self._pause_s * 2, backoff.longest_pause_s)
