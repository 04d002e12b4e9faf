"""The system's clock and chance: the only place that reads either."""

import random  # noqa: TID251 - this adapter owns chance
import time
from threading import Event

from pipeline.core.errors import Stopping


class SystemClock:
    """`ports.clock.Clock` over the machine's clock; `stop` interrupts every wait at once."""

    def __init__(self, stop: Event | None = None) -> None:
        self.stop = stop or Event()

    def now(self) -> int:
        """Return microseconds since 1970."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Pause; raises Stopping once a stop was asked for."""
        if self.stop.wait(seconds):
            raise Stopping("stop requested")

    def jitter(self) -> float:
        """Return a number in [0, 1)."""
        return random.random()
