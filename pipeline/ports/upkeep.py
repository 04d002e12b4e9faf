"""What a warehouse needs beside its facts, every few minutes."""

from collections.abc import Sequence
from typing import Protocol


class WarehouseUpkeep(Protocol):
    """Chores that are safe to repeat, to leave out for a while, and to do from several processes.

    No fact waits for them: a month that was not prepared is made when its first fact comes, and a
    report that was not refreshed is old, not wrong.
    """

    def prepare(self, instants: Sequence[int]) -> None:
        """Make room for the months that these instants (microseconds since 1970) fall into."""

    def refresh(self, at_most_every_s: float = 0.0) -> bool:
        """Bring stored reports up to date; false if that was left out.

        It is, if it was done so many seconds ago or less, or is being done at this moment.
        """
