"""What tills sold: over time, by hour of the day, by location."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from consumers.report import charts, heat_map
from consumers.report.model import Column, Figure, Name, Number, Section, Sentence, Table, say
from consumers.report.timeline import Timeline
from consumers.report.wording import Share, Value, day, plural
from pipeline.ports.page_reports import Snapshot, Top

UNITS = (
    Column("units_sold", "Units sold"),
    Column("units_returned", "Units returned"),
)
OTHERS = "all others"


def section(seen: Snapshot, time: Timeline) -> Section:
    """Tell the sales."""
    figures = [over_time(seen, time), by_hour(seen)]
    if seen.locations.of > 1:
        figures.append(by_location(seen))
    return Section("sales", "Sales", (*figures, by_category(seen)))


def left_out(kind: str, top: Top[Any], name: str) -> tuple[Sentence, ...]:
    """Say how much of a list is not there, if anything."""
    if not top.left_out:
        return ()
    listed, of = Number(f"{name}.shown", len(top.rows)), Number(f"{name}.of", top.of)
    return (say(f"Shown are {{}} of {{}} {kind}.", listed, of),)


def time_notes(time: Timeline, name: str) -> tuple[Sentence, ...]:
    """Say what the axis of time leaves out."""
    notes = []
    if time.gaps:
        notes.append(say("“…” marks a longer time without sales, which is left out."))
    if time.dropped:
        words = f"The oldest {{}} {time.grain}s are left out."
        notes.append(say(words, Number(f"{name}.dropped", time.dropped)))
    return tuple(notes)


def over_time(seen: Snapshot, time: Timeline) -> Figure:
    """Draw units by the hour where the period is short, else by day or longer."""
    if seen.hours:
        return _hourly(seen)
    sold = time.add_up((row.at.date(), row.units_sold) for row in seen.days)
    back = time.add_up((row.at.date(), row.units_returned) for row in seen.days)
    sales = time.add_up((row.at.date(), row.sales) for row in seen.days)
    best = max(sold, key=lambda slot: sold[slot])
    total, count = sum(sold.values()), sum(sales.values())
    began = "was" if time.grain == "day" else "began on"
    words = f"{_sold(total, count)}; the best {time.grain} {began} {{}}, with {{}}"
    rows = [(slot, sold[slot], back[slot], sales[slot]) for slot in sold]
    return Figure(
        "sales_over_time",
        f"Sales by {time.grain}",
        say(
            f"{words} {plural(sold[best], 'unit')}.",
            Number("sales_over_time.units_sold", total),
            Number("sales_over_time.sales", count),
            Number("sales_over_time.best", best),
            Number("sales_over_time.best_units", sold[best]),
        ),
        _table("sales_over_time", str(time.grain), rows),
        charts.stacked_bars(time, [charts.Series("units sold", sold)]),
        time_notes(time, "sales_over_time"),
        "full",
    )


def _hourly(seen: Snapshot) -> Figure:
    sold = {row.at: row.units_sold for row in seen.hours}
    best = max(sold, key=lambda hour: sold[hour])
    total, count = sum(sold.values()), sum(row.sales for row in seen.hours)
    rows: list[tuple[Value, ...]] = [
        (_hour(row.at), row.units_sold, row.units_returned, row.sales) for row in seen.hours
    ]
    return Figure(
        "sales_over_time",
        "Sales by hour",
        say(
            f"{_sold(total, count)}; the best hour was {{}},"
            f" with {{}} {plural(sold[best], 'unit')}.",
            Number("sales_over_time.units_sold", total),
            Number("sales_over_time.sales", count),
            Number("sales_over_time.best", _hour(best)),
            Number("sales_over_time.best_units", sold[best]),
        ),
        _table("sales_over_time", "hour", rows),
        charts.hourly_bars(list(sold.items())),
        width="full",
    )


def _sold(units: int, sales: int) -> str:
    return f"Tills sold {{}} {plural(units, 'unit')} in {{}} {plural(sales, 'sale')}"


def _hour(at: datetime) -> str:
    return f"{day(at)}, {at:%H:%M}"


def _table(name: str, unit: str, rows: Iterable[tuple[Value, ...]]) -> Table:
    columns = (Column("at", unit.capitalize(), False), *UNITS, Column("sales", "Sales"))
    return Table(name, columns, tuple(rows))


def by_hour(seen: Snapshot) -> Figure:
    """Draw a heat map of the hours of the day, by each shop's own clock."""
    listed = [row.location for row in seen.locations.rows]
    lines: dict[str | None, Counter[int]] = {location: Counter() for location in listed}
    for cell in seen.location_hours:
        lines.setdefault(cell.location, Counter())[cell.hour] += cell.units_sold
    hours = heat_map.runs(cell.hour for cell in seen.location_hours)
    total: Counter[int] = sum(lines.values(), Counter())
    best = max(hours, key=lambda hour: total[hour])
    named = [(OTHERS if name is None else name, line) for name, line in lines.items()]
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (name, *(line[hour] for hour in hours)) for name, line in named
    )
    heat = [heat_map.HeatRow(name, line) for name, line in named]
    words = "The strongest hour of the day begins at {}: {} units, {} of all."
    columns = (Column("location", "Location", False),
               *(Column(f"{hour:02d}", f"{hour:02d}:00") for hour in hours))  # fmt: skip
    share = Number("location_hours.best_share", Share(total[best], sum(total.values())))
    return Figure(
        "location_hours",
        "Units sold by hour of the day and location",
        say(
            words,
            Number("location_hours.best", f"{best:02d}:00"),
            Number("location_hours.best_units", total[best]),
            share,
        ),
        Table("location_hours", columns, rows),
        heat_map.heat_map(heat, hours, len(listed)),
        (say("Hours are those of each shop's own clock."), *_others(seen)),
        "full",
    )


def _others(seen: Snapshot) -> tuple[Sentence, ...]:
    left = seen.locations.left_out
    if not left:
        return ()
    words = "The {} locations that sold most have a line each; the other {} share the last."
    shown = Number("location_hours.shown", len(seen.locations.rows))
    return (say(words, shown, Number("location_hours.others", left)),)


def by_location(seen: Snapshot) -> Figure:
    """Rank the locations."""
    rows = seen.locations.rows
    first = rows[0]
    return Figure(
        "locations",
        "Sales by location",
        say(
            "{} sold most: {} units, {} of all.",
            Name(first.location),
            Number("locations.best_units", first.units_sold),
            Number("locations.best_share", Share(first.units_sold, seen.totals.units_sold)),
        ),
        Table(
            "locations",
            (Column("location", "Location", False), *UNITS, Column("sales", "Sales")),
            tuple((r.location, r.units_sold, r.units_returned, r.sales) for r in rows),
        ),
        charts.counted_bars((r.location, r.units_sold) for r in rows),
        left_out("locations", seen.locations, "locations"),
    )


def by_category(seen: Snapshot) -> Figure:
    """Rank the categories."""
    rows = seen.categories
    return Figure(
        "categories",
        "Sales by category",
        say(
            "{} leads with {} units, {} of all.",
            Name(rows[0].category),
            Number("categories.best_units", rows[0].units_sold),
            Number("categories.best_share", Share(rows[0].units_sold, seen.totals.units_sold)),
        ),
        Table(
            "categories",
            (Column("category", "Category", False), *UNITS, Column("sales", "Sales")),
            tuple((r.category, r.units_sold, r.units_returned, r.sales) for r in rows),
        ),
        charts.counted_bars((r.category, r.units_sold) for r in rows),
    )  # fmt: skip
