"""Products: what sells, what comes back, whose stock fell."""

from consumers.report import charts
from consumers.report.model import Column, Figure, Name, Number, Section, Sentence, Table, say
from consumers.report.sales import UNITS, left_out
from consumers.report.wording import Share, plural, shown
from pipeline.ports.page_reports import Snapshot

PRODUCT = Column("product_id", "Product", False)
CATEGORY = Column("category", "Category", False)
RATE = Column("return_rate", "Return rate")


def section(seen: Snapshot) -> Section:
    """Tell what sells and whose stock fell."""
    figures = []
    if seen.best_sellers.rows:
        figures.append(best_sellers(seen))
    if seen.falls.rows:
        figures.append(steepest_falls(seen))
    return Section("products", "Products and stock", tuple(figures))


def returns_section(seen: Snapshot) -> Section:
    """Tell what came back."""
    figures = [returns_by_category(seen)]
    if seen.most_returned.rows:
        figures.append(returns_by_product(seen))
    return Section("returns", "Returns", tuple(figures))


def best_sellers(seen: Snapshot) -> Figure:
    """Rank products by what tills sold."""
    rows = seen.best_sellers.rows
    return Figure(
        "best_sellers",
        "Best sellers",
        say(
            "{} sold best, with {} units.",
            Name(rows[0].product_id),
            Number("best_sellers.best_units", rows[0].units_sold),
        ),
        Table("best_sellers", (PRODUCT, CATEGORY, *UNITS), tuple(rows)),
        charts.counted_bars((r.product_id, r.units_sold) for r in rows),
        left_out("products that were sold", seen.best_sellers, "best_sellers"),
    )


def steepest_falls(seen: Snapshot) -> Figure:
    """Rank products by how far their stock fell, over every source of events."""
    rows = seen.falls.rows
    first = rows[0]
    on_hand = say(
        "On hand counts what was ever sold, returned and delivered. Stock that was there before,"
        " and never sent as an event, is not in it; so it can be below zero."
    )
    return Figure(
        "stock_falls",
        "Stock that fell most",
        say(
            "{} fell most, by {} units, to {} on hand.",
            Name(first.product_id),
            Number("stock_falls.most", -first.stock_change),
            Number("stock_falls.on_hand", first.on_hand),
        ),
        Table(
            "stock_falls",
            (PRODUCT, CATEGORY, Column("stock_change", "Change"), Column("on_hand", "On hand")),
            tuple(rows),
        ),
        charts.counted_bars((r.product_id, r.stock_change) for r in rows),
        (*left_out("products whose stock fell", seen.falls, "stock_falls"), on_hand),
    )


def returns_by_category(seen: Snapshot) -> Figure:
    """Rank categories by their return rate."""
    rates = {row.category: Share(row.units_returned, row.units_sold) for row in seen.categories}
    rows = sorted(seen.categories, key=lambda row: -(rates[row.category].percent or 0))
    bars = [
        charts.Bar(name, float(rate.percent or 0), shown(rate))
        for name, rate in ((row.category, rates[row.category]) for row in rows)
    ]
    return Figure(
        "returns_by_category",
        "Return rate by category",
        _come_back(seen),
        Table(
            "returns_by_category",
            (CATEGORY, *UNITS, RATE),
            tuple((r.category, r.units_sold, r.units_returned, rates[r.category]) for r in rows),
        ),
        charts.ranked_bars(bars) if seen.totals.units_returned else None,
    )


def _come_back(seen: Snapshot) -> Sentence:
    sums = seen.totals
    returned = Number("returns.units", sums.units_returned)
    if not sums.units_returned:
        return say("Tills took back {} units.", returned)
    share = Number("returns.rate", Share(sums.units_returned, sums.units_sold))
    times = Number("returns.returns", sums.returns)
    noun = plural(sums.returns, "return")
    return say(f"Tills took back {{}} units in {{}} {noun}: {{}} of what they sold.",
               returned, times, share)  # fmt: skip


def returns_by_product(seen: Snapshot) -> Figure:
    """Rank products by what came back; the rate stands beside."""
    rows = seen.most_returned.rows
    return Figure(
        "returns_by_product",
        "Products that come back most",
        say(
            "{} came back most: {} units, against {} sold.",
            Name(rows[0].product_id),
            Number("returns_by_product.most", rows[0].units_returned),
            Number("returns_by_product.most_sold", rows[0].units_sold),
        ),
        Table(
            "returns_by_product",
            (PRODUCT, CATEGORY, *UNITS, RATE),
            tuple((*r, Share(r.units_returned, r.units_sold)) for r in rows),
        ),
        charts.counted_bars((r.product_id, r.units_returned) for r in rows),
        left_out("products that came back", seen.most_returned, "returns_by_product"),
    )
