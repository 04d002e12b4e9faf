"""Small snapshots to make pages of, without a warehouse."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from consumers.report.model import Comparison, Page, say
from consumers.report.page import page_of
from pipeline.ports import page_reports as page
from pipeline.ports.page_reports import Question, Snapshot, Top

MONDAY, TUESDAY, THURSDAY = (date(2011, 10, day) for day in (3, 4, 6))
NOON = datetime(2011, 10, 6, 12, tzinfo=UTC)
AGREED = Comparison(True, say("Compared."))


def midnight(day: date) -> datetime:
    """Return a day's first moment by a shop's clock."""
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - local


EMPTY = Snapshot(
    sees_all=True,
    location_known=True,
    first_day=None,
    last_day=None,
    refreshed_at=None,
    totals=page.Sales(0, 0, 0, 0),
    products_sold=0,
    categories=(),
    locations=Top((), 0),
    location_hours=(),
    days=(),
    hours=(),
    combos=page.ComboTotals(0, 0, 0, 0),
    combo_days=(),
    attach_days=(),
    gap=None,
    gap_bins=(),
    pairs=Top((), 0),
    best_sellers=Top((), 0),
    most_returned=Top((), 0),
    falls=Top((), 0),
    late=(),
    deliveries=(),
    rejected=(),
    conflicts=Top((), 0),
    freshness=Top((), 0),
    controls=(),
)
WEEK = replace(
    EMPTY,
    first_day=MONDAY,
    last_day=THURSDAY,
    refreshed_at=NOON - timedelta(minutes=5),
    totals=page.Sales(30, 3, 6, 1),
    products_sold=2,
    categories=(
        page.CategorySales("jacket", 20, 3, 4, 1),
        page.CategorySales("pants", 10, 0, 2, 0),
    ),
    locations=Top(
        (page.LocationSales("GB-1", 25, 3, 5, 1), page.LocationSales("FR-1", 5, 0, 1, 0)), 2
    ),
    location_hours=(page.LocationHour("GB-1", 9, 25), page.LocationHour("FR-1", 11, 5)),
    days=(
        page.TimeSales(midnight(MONDAY), 25, 3, 5),
        page.TimeSales(midnight(THURSDAY), 5, 0, 1),
    ),
    combos=page.ComboTotals(2, 1, 4, 2),
    combo_days=(page.ComboDay(MONDAY, 2, 4, 2),),
    attach_days=(page.AttachDay(MONDAY, 18, 6, 9, 6), page.AttachDay(THURSDAY, 2, 0, 1, 0)),
    gap=page.Gap(1, *(timedelta(seconds=s) for s in (30, 45, 59, 60))),
    gap_bins=(page.GapBin(30, 60, 1), page.GapBin(60, 90, 1)),
    pairs=Top((page.Pair("J1", "P1", 2, 4, 2),), 1),
    best_sellers=Top((page.ProductSales("J1", "jacket", 20, 3),), 2),
    most_returned=Top((page.ProductSales("J1", "jacket", 20, 3),), 1),
    falls=Top((page.StockFall("J1", None, -17, -17),), 1),
    late=(page.Late("POS", 7, 6, 3),),
    deliveries=(page.Deliveries("POS", 10, 7, 2, 1),),
    rejected=(page.Rejected("bad_type", 4),),
    freshness=Top((page.Freshness("GB-1", NOON, NOON - timedelta(seconds=90), None),), 1),
    controls=(page.Control("stock", 5, 5, True),),
)  # fmt: skip
"""Two days of sales, two apart."""


def made(snapshot: Snapshot = WEEK, comparison: Comparison | None = None, **changes: Any) -> Page:
    """Make a page at noon."""
    return page_of(replace(snapshot, **changes), Question(), NOON, comparison)
