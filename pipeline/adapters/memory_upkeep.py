"""The chores of a warehouse in memory, which has none."""

from collections.abc import Sequence


class MemoryUpkeep:
    """`ports.upkeep.WarehouseUpkeep`."""

    def prepare(self, instants: Sequence[int]) -> None:
        """Do nothing: there are no months."""

    def refresh(self, at_most_every_s: float = 0.0) -> bool:
        """Do nothing: no report is stored."""
        return True
