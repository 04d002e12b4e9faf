"""The report's page, asked in one read-only transaction: its numbers are of one moment."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, TypeVar

from pipeline.adapters.postgres import page_questions as ask
from pipeline.adapters.postgres.server import Connection, PostgresServer, server
from pipeline.ports import page_reports as page
from pipeline.ports.page_reports import Question, Snapshot, Top

Row = TypeVar("Row")

# A question at a time has nothing to gain from compiling; compiling a plan takes a second. Without
# nested loops, as where reports are refreshed: the planner takes the key of each partition for a
# cheap way from a combo to its rows.
_ONE_STATE = """
set transaction isolation level repeatable read, read only;
set local jit = off;
set local enable_nestloop = off;
"""
HOURS_SPAN = timedelta(days=2)
"""Up to here a period is told by the hour."""
GAP_BINS_MAX = 12
_BIN_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400)


class PostgresPageReports:
    """`ports.page_reports.PageReports`. One connection a page: few are made."""

    def __init__(self, where: str | PostgresServer) -> None:
        self._server = server(where)

    def snapshot(self, question: Question) -> Snapshot:
        """Ask everything of one committed state."""
        with self._server.transaction(_ONE_STATE) as connection:
            return _Page(connection, question).snapshot()


class _Page:
    """The questions of one page."""

    def __init__(self, connection: Connection, question: Question) -> None:
        self._connection = connection
        self._values: Mapping[str, Any] = question._asdict()
        since = self._since(question)
        self._everything = question.location is None and since is None
        self._values = {**self._values, "since": since}

    def _since(self, question: Question) -> date | None:
        if question.days is None:
            return question.since
        newest: date | None = self._one(ask.NEWEST_DAY)[0]
        if newest is None:
            return question.since
        begins = newest - timedelta(days=question.days - 1)
        return max(begins, question.since or begins)

    def _rows(self, query: str, **more: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode(), {**self._values, **more}).fetchall()

    def _one(self, query: str) -> tuple[Any, ...]:
        return self._rows(query)[0]

    def _all(self, make: Callable[..., Row], query: str) -> tuple[Row, ...]:
        return tuple(make(*row) for row in self._rows(query))

    def _top(self, make: Callable[..., Row], query: str) -> Top[Row]:
        rows = self._rows(query)
        return Top(tuple(make(*row[:-1]) for row in rows), rows[0][-1] if rows else 0)

    def _products(self) -> Mapping[str, Top[Any]]:
        found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in ask.PRODUCT_LISTS}
        for name, *row in self._rows(ask.PRODUCTS[self._everything]):
            found[name].append(tuple(row))
        return {
            name: Top(tuple(_product(name, row) for row in rows), rows[0][-1] if rows else 0)
            for name, rows in found.items()
        }

    def snapshot(self) -> Snapshot:
        first_day, last_day = self._one(ask.PERIOD)
        products = self._products()
        gaps = self._all(page.Gap, ask.GAP)
        short = first_day is not None and last_day - first_day < HOURS_SPAN
        return Snapshot(
            sees_all=self._one(ask.SEES_ALL)[0],
            location_known=self._one(ask.LOCATION_KNOWN)[0],
            first_day=first_day,
            last_day=last_day,
            refreshed_at=self._one(ask.REFRESHED)[0],
            totals=page.Sales(*self._one(ask.TOTALS)),
            products_sold=products["best_sellers"].of,
            categories=self._all(page.CategorySales, ask.CATEGORIES),
            locations=self._top(page.LocationSales, ask.LOCATIONS),
            location_hours=self._all(page.LocationHour, ask.LOCATION_HOURS),
            days=self._all(page.TimeSales, ask.DAYS),
            hours=self._all(page.TimeSales, ask.HOURS) if short else (),
            combos=page.ComboTotals(*self._one(ask.COMBO_TOTALS)),
            combo_days=self._all(page.ComboDay, ask.COMBO_DAYS),
            attach_days=self._all(page.AttachDay, ask.ATTACH_DAYS),
            gap=gaps[0] if gaps else None,
            gap_bins=self._gap_bins(gaps[0].longest) if gaps else (),
            pairs=self._top(page.Pair, ask.PAIRS),
            best_sellers=products["best_sellers"],
            most_returned=products["most_returned"],
            falls=products["falls"],
            late=self._all(page.Late, ask.LATE),
            deliveries=self._all(page.Deliveries, ask.DELIVERIES),
            rejected=self._all(page.Rejected, ask.REJECTED),
            conflicts=self._top(page.Conflict, ask.CONFLICTS),
            freshness=self._top(page.Freshness, ask.FRESHNESS),
            controls=self._all(page.Control, ask.CONTROLS),
        )

    def _gap_bins(self, longest: timedelta) -> tuple[page.GapBin, ...]:
        """Count by steps that people count in, from zero to the longest, none left out."""
        wanted_s = longest.total_seconds() / GAP_BINS_MAX
        width = _BIN_WIDTHS_S[min(bisect_left(_BIN_WIDTHS_S, wanted_s), len(_BIN_WIDTHS_S) - 1)]
        counts = dict(self._rows(ask.GAP_BINS, bin_s=width))
        return tuple(
            page.GapBin(bin_ * width, (bin_ + 1) * width, counts.get(bin_, 0))
            for bin_ in range(max(counts) + 1)
        )


def _product(name: str, row: Sequence[Any]) -> page.ProductSales | page.StockFall:
    product_id, category, sold, returned, change, on_hand, _ = row
    if name == "falls":
        return page.StockFall(product_id, category, change, on_hand)
    return page.ProductSales(product_id, category, sold, returned)
