"""What the report's page asks of a warehouse: everything at once, so that its numbers agree.

Lists are bounded by whoever asks, since a chain may have more shops and products than a page can
show; each says how many there are in all. Days and hours are those of each shop's own clock.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Generic, NamedTuple, Protocol, TypeVar

Row = TypeVar("Row")


class Question(NamedTuple):
    """What the page is about, and how long its lists may be.

    `days` are counted back from the newest day with sales; `since` is the first day. The later of
    the two begins the period, which else begins with the first sale.
    """

    location: str | None = None
    since: date | None = None
    days: int | None = None
    rows_max: int = 10
    locations_max: int = 12


@dataclass(frozen=True, slots=True)
class Top(Generic[Row]):
    """The first rows of a list, and how long it is."""

    rows: tuple[Row, ...]
    of: int

    @property
    def left_out(self) -> int:
        """Count the rows that are not here."""
        return self.of - len(self.rows)


class Sales(NamedTuple):
    """What tills sold and took back."""

    units_sold: int
    units_returned: int
    sales: int
    returns: int


class CategorySales(NamedTuple):
    """One category."""

    category: str
    units_sold: int
    units_returned: int
    sales: int
    returns: int


class LocationSales(NamedTuple):
    """One location."""

    location: str
    units_sold: int
    units_returned: int
    sales: int
    returns: int


class LocationHour(NamedTuple):
    """An hour of the day at a location; None stands for all locations that are not listed."""

    location: str | None
    hour: int
    units_sold: int


class TimeSales(NamedTuple):
    """A day (`at` is its midnight) or an hour."""

    at: datetime
    units_sold: int
    units_returned: int
    sales: int


class ComboDay(NamedTuple):
    """The combos whose jacket was sold on a day."""

    date: date
    combos: int
    units_standing: int
    units_returned: int


class AttachDay(NamedTuple):
    """Jackets and pants sold on a day, and how many of them found their partner."""

    date: date
    jackets_sold: int
    jackets_in_combos: int
    pants_sold: int
    pants_in_combos: int


class ComboTotals(NamedTuple):
    """Combos that were made, those that still stand, and their units."""

    combos: int
    standing: int
    units_standing: int
    units_returned: int


class Gap(NamedTuple):
    """The time between the two sales of a combo."""

    jacket_first: int
    shortest: timedelta
    median: timedelta
    ninetieth: timedelta
    longest: timedelta


class GapBin(NamedTuple):
    """Combos whose gap is at least `start_s` and less than `end_s` seconds."""

    start_s: int
    end_s: int
    combos: int


class Pair(NamedTuple):
    """A jacket and pants that left together."""

    jacket_product_id: str
    pants_product_id: str
    combos: int
    units_standing: int
    units_returned: int


class ProductSales(NamedTuple):
    """What tills sold and took back of a product."""

    product_id: str
    category: str | None
    units_sold: int
    units_returned: int


class StockFall(NamedTuple):
    """A product whose stock fell: by how much in the period, and what is on hand now."""

    product_id: str
    category: str | None
    stock_change: int
    on_hand: int


class Late(NamedTuple):
    """Events of a source: how many could pair, and how many of those came too late to."""

    source: str
    changes: int
    could_pair: int
    late_changes: int


class Deliveries(NamedTuple):
    """What a source delivered: accepted once, again, and again with another body."""

    source: str
    deliveries: int
    accepted: int
    duplicates: int
    conflicts: int


class Rejected(NamedTuple):
    """Records that were no valid event, by the reason's code in the wire contract."""

    reason: str
    records: int


class Conflict(NamedTuple):
    """A description of a product that is not the one that stands."""

    product_id: str
    base_product_id: str
    category: str
    changes: int


class Freshness(NamedTuple):
    """How far a location is loaded. A location without events yet has none of them."""

    location: str
    newest_occurred_at: datetime | None
    newest_ingested_at: datetime | None
    low_watermark: datetime | None


class Control(NamedTuple):
    """Two sums that must be equal, each worked out from other rows than the other.

    `settled` is false where they may differ for a moment: something was loaded just now, or after,
    or just before, the reports were stored.
    """

    name: str
    left: int
    right: int
    settled: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything on the page, of one committed state.

    `hours` is empty where the period is longer than two days. Late events, deliveries and rejected
    records are by UTC days, the last by those of arrival; a rejected record names no location, so
    none is asked for. Product conflicts and controls are of the whole warehouse. All of it is only
    as much as the login may see, which `sees_all` says is everything. `location_known` is false for
    a question about a location of which nothing ever came.
    """

    sees_all: bool
    location_known: bool
    first_day: date | None
    last_day: date | None
    refreshed_at: datetime | None
    totals: Sales
    products_sold: int
    categories: tuple[CategorySales, ...]
    locations: Top[LocationSales]
    location_hours: tuple[LocationHour, ...]
    days: tuple[TimeSales, ...]
    hours: tuple[TimeSales, ...]
    combos: ComboTotals
    combo_days: tuple[ComboDay, ...]
    attach_days: tuple[AttachDay, ...]
    gap: Gap | None
    gap_bins: tuple[GapBin, ...]
    pairs: Top[Pair]
    best_sellers: Top[ProductSales]
    most_returned: Top[ProductSales]
    falls: Top[StockFall]
    late: tuple[Late, ...]
    deliveries: tuple[Deliveries, ...]
    rejected: tuple[Rejected, ...]
    conflicts: Top[Conflict]
    freshness: Top[Freshness]
    controls: tuple[Control, ...]


class PageReports(Protocol):
    """One read-only question. A warehouse in memory does not answer it: it stores no reports."""

    def snapshot(self, question: Question) -> Snapshot:
        """Answer from one committed state; an empty warehouse answers with zeros and no days."""
