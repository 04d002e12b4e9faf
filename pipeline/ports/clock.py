"""Time and chance, which enter the system here and nowhere else."""

from typing import Protocol


class Clock(Protocol):
    """The present, waiting, and jitter. A simulation serves all three from a seed."""

    def now(self) -> int:
        """Return the present instant, microseconds since 1970."""

    def monotonic(self) -> float:
        """Return seconds from a fixed point; never goes back."""

    def wait(self, seconds: float) -> None:
        """Pause. Raises Stopping at once when a stop is asked for."""

    def jitter(self) -> float:
        """Return a number in [0, 1), different for every caller."""
