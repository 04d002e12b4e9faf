"""Reconciling: what two sides must have in common, and how to say what they have not.

Control totals first, as in bookkeeping: rows, units and their sum by location and business day (the
UTC day of the instant at which something happened). They are what a person compares with the
till's own books. A difference of totals says where; findings say which row. Totals can agree
where rows do not, so findings alone decide.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from pipeline.core.changes import (
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    Fact,
    StockChanged,
)
from pipeline.core.instants import format_instant

Row = TypeVar("Row")
Place: TypeAlias = tuple[str, str]
"""(location, business day); no day where a thing has none."""
Dimension: TypeAlias = Literal["location", "product", "date"]
Member: TypeAlias = tuple[Dimension, str]
"""A row of a dimension: the location, the product id, or the date as YYYY-MM-DD."""


class Part(NamedTuple):
    """The part of the tables that one looks at: one location or all, from an instant on."""

    location: str | None = None
    since: int | None = None

    def holds(self, location: str, instant: int | None = None) -> bool:
        """Say whether something at a location belongs to the part; without an instant, always."""
        if self.location is not None and location != self.location:
            return False
        return self.since is None or instant is None or instant >= self.since


EVERYTHING = Part()


class Check(StrEnum):
    """What was looked at, in words that go behind `missing`, `extra` and `different`."""

    UNFINISHED = "work that the inventory consumer has yet to finish"
    CLAIM_WITHOUT_ROW = "change-log row of a claim"
    CLAIM_ALTERED = "fingerprint of a claim"
    ROW_WITHOUT_CLAIM = "claim of a change-log row"
    ROW_ALTERED = "change-log row, by its claim"
    ROW_UNFOLDED = "event in its state"
    STOCK_AND_LOG = "stock level, by the sum of its changes"
    STATE_AND_LOG = "state, by the change log"
    COMBO_AND_LOG = "combo, by the change log"
    NOTE_AND_LOG = "annotation, by the change log"
    WAREHOUSE_CHANGE = "change in the warehouse"
    WAREHOUSE_NOTE = "annotation in the warehouse"
    WAREHOUSE_COMBO = "combo in the warehouse"
    WAREHOUSE_STOCK = "stock level in the warehouse"
    WAREHOUSE_REFUSAL = "refused delivery in the warehouse"
    DIMENSION = "row of a dimension"
    CACHE = "cache entry"


class Kind(StrEnum):
    """In what way the side that is checked differs from the side it must follow."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


class Finding(NamedTuple):
    """One thing that is not as it must be. `found` and `wanted` are the values, None for nothing.

    Equal findings of two looks are a fault that stays; one that is gone was a fact on its way.
    """

    check: Check
    kind: Kind
    place: Place
    key: tuple[str, ...]
    found: Any
    wanted: Any


def business_day(instant: int) -> str:
    """Return the UTC day of an instant."""
    return format_instant(instant)[:10]


def members(fact: Fact) -> set[Member]:
    """Name the dimension rows that a fact in the warehouse relies on."""
    if isinstance(fact, ChangeRecorded):
        day = business_day(fact.instant)
        return {("location", fact.location), ("product", fact.product_id), ("date", day)}
    if isinstance(fact, StockChanged):
        return {("location", fact.location), ("product", fact.product_id)}
    return set()


def find(
    check: Check,
    place: Place,
    key: tuple[str, ...],
    found: object,
    wanted: object,
) -> Finding:
    """Name a difference."""
    kind = Kind.DIFFERENT
    if found is None or wanted is None:
        kind = Kind.MISSING if found is None else Kind.EXTRA
    return Finding(check, kind, place, key, found, wanted)


def compare(
    check: Check,
    found: Mapping[tuple[str, ...], Row],
    wanted: Mapping[tuple[str, ...], Row],
    place: Callable[[Row], Place],
) -> Iterator[Finding]:
    """Yield what one side lacks, has beside, or has otherwise, by key."""
    for key in sorted(found.keys() | wanted.keys()):
        mine, theirs = found.get(key), wanted.get(key)
        if mine != theirs:
            shown = mine if theirs is None else theirs
            assert shown is not None  # one of them is there
            yield find(check, place(shown), key, mine, theirs)


def change_place(row: ChangeRecorded) -> Place:
    """Say where and on which day a change belongs."""
    return row.location, business_day(row.instant)


def combo_place(combo: ComboChanged) -> Place:
    """Say where and on which day a combo belongs."""
    return combo.location, business_day(combo.paired_at)


def refusal_place(refused: DeliveryRefused) -> Place:
    """Say where a refused delivery belongs: a rejected one, to the day of its arrival."""
    instant = refused.ingested_at if refused.instant is None else refused.instant
    return refused.location or "", business_day(instant)


def stock_place(level: StockChanged) -> Place:
    """Say where a stock level belongs: it has no day."""
    return level.location, ""


# ------------------------------------------------------------------------------ control totals
class ChangeTotals(NamedTuple):
    """Rows, units moved in either direction, and what is left of them in sum."""

    rows: int = 0
    units: int = 0
    sum: int = 0


class ComboTotals(NamedTuple):
    """Combos that are not retracted, their units that stand and those that returns undid."""

    rows: int = 0
    standing: int = 0
    voided: int = 0


class StockTotals(NamedTuple):
    """Stock levels and the units on hand in sum."""

    rows: int = 0
    on_hand: int = 0


def change_totals(rows: Iterable[ChangeRecorded]) -> dict[Place, ChangeTotals]:
    """Add changes up by location and business day."""
    sums: defaultdict[Place, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        added = sums[change_place(row)]
        added[0] += 1
        added[1] += abs(row.change)
        added[2] += row.change
    return {place: ChangeTotals(*added) for place, added in sums.items()}


def combo_totals(combos: Iterable[ComboChanged]) -> dict[Place, ComboTotals]:
    """Add combos up by location and the business day of their pairing."""
    sums: defaultdict[Place, list[int]] = defaultdict(lambda: [0, 0, 0])
    for combo in combos:
        if combo.status is not ComboStatus.RETRACTED:
            added = sums[combo_place(combo)]
            added[0] += 1
            added[1] += combo.quantity
            added[2] += combo.voided
    return {place: ComboTotals(*added) for place, added in sums.items()}


def stock_totals(levels: Iterable[StockChanged]) -> dict[Place, StockTotals]:
    """Add stock levels up by location."""
    sums: defaultdict[Place, list[int]] = defaultdict(lambda: [0, 0])
    for level in levels:
        added = sums[stock_place(level)]
        added[0] += 1
        added[1] += level.on_hand
    return {place: StockTotals(*added) for place, added in sums.items()}
