"""Clocks that tests turn by hand."""

from collections.abc import Callable

from pipeline.core.errors import Stopping


class VirtualClock:
    """`ports.clock.Clock` without waiting: a pause moves the time and is noted.

    `draws` is what jitter answers; `on_wait` may look on, or stop the process by raising.
    """

    def __init__(self, draw: float = 1.0, on_wait: Callable[[float], None] | None = None) -> None:
        self.seconds, self.draw, self.on_wait = 0.0, draw, on_wait
        self.pauses: list[float] = []
        self.stopped = False

    def now(self) -> int:
        """Return microseconds since 1970."""
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        """Return the seconds that were waited."""
        return self.seconds

    def wait(self, seconds: float) -> None:
        """Let time pass at once."""
        if self.stopped:
            raise Stopping("stop requested")
        self.pauses.append(seconds)
        self.seconds += seconds
        if self.on_wait is not None:
            self.on_wait(seconds)

    def jitter(self) -> float:
        """Return the draw."""
        return self.draw
