"""What a repair asks of the warehouse that loading facts cannot do."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pipeline.core.changes import TableFact
from pipeline.core.reconciling import Dimension


class Orphan(NamedTuple):
    """A row of a dimension that no fact uses, or (`missing`) that facts use and that is not there.

    A date that no fact uses is no orphan: a calendar may be filled ahead.
    """

    dimension: Dimension
    key: str
    missing: bool


class WarehouseRepair(Protocol):
    """Find and remove what no fact would ever overwrite.

    Everything here is safe beside a loader at work: what is removed is removed only if it still is
    as the caller saw it, and a fact that is loaded meanwhile stays.
    """

    def orphans(self) -> Sequence[Orphan]:
        """Compare the dimensions with the facts, both ways."""

    def mend(self, orphans: Sequence[Orphan]) -> None:
        """Remove dimension rows that are still used by no fact; add dates that are missing.

        Missing locations and products come back with any fact that uses them, loaded again.
        """

    def discard(self, facts: Sequence[TableFact]) -> None:
        """Remove rows that say exactly this, all in one transaction.

        Whoever discards a row because it is wrong publishes the right one after that.
        """
