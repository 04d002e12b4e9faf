"""Rebuilding the warehouse, or a part of it, from the tables that it is a copy of."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from pipeline.core.changes import TableFact
from pipeline.core.reconciling import ChangeTotals, ComboTotals, Part, StockTotals


class Doubt(NamedTuple):
    """A row of the warehouse that the shadow lacks, or has older.

    `key` is "change" and the row's key, or the `effect_key` of an effect.
    """

    key: tuple[str, ...]
    revision: int


Read: TypeAlias = Callable[[Sequence[Doubt]], Sequence[TableFact]]
"""Reads from the tables, consistently, what is really there under some keys."""


class PartTotals(NamedTuple):
    """The control totals of a part."""

    changes: ChangeTotals
    combos: ComboTotals
    stock: StockTotals


class Swapped(NamedTuple):
    """How a swap ended: done, or refused because the tables do not know `unknown` changes."""

    done: bool
    unknown: int
    before: PartTotals
    after: PartTotals


class WarehouseRebuild(Protocol):
    """A shadow of a part, filled at leisure, and put in its place in one transaction.

    Readers see the old part until the transaction ends, and the new one after that. Loaders may be
    at work throughout, for whatever they load was in the tables before it was published. So a row
    of the warehouse that the shadow lacks, or has older, is either wrong or newer than the shadow;
    `swap` asks `read` which, once before it locks loaders out and once, for the few that came in
    between, while it does. What loaders have not loaded yet is still before their position, which
    nobody moves. And what is true in the shadow and older in the warehouse is raised; its own fact
    will come to a row that is there already.
    """

    def begin(self, part: Part, segments: int) -> frozenset[str]:
        """Go on with the rebuild of this part that broke off within a day, else start anew.

        Return the units of work that are staged already.
        """

    def stage(self, unit: str, facts: Sequence[TableFact], *, last: bool) -> None:
        """Add facts to the shadow; with the last of a unit, note that the unit is complete.

        A unit that broke off is staged from its beginning again; repeats do no harm.
        """

    def swap(self, read: Read, *, remove_unknown: bool) -> Swapped:
        """Put the shadow in the part's place and drop it, in one transaction.

        If changes would be removed that the tables do not know, that is refused unless it is asked
        for: nothing is changed then, and the shadow stays.
        """

    def discard(self) -> None:
        """Drop the shadow."""
