"""How good and how fresh the data is, and whether its sums agree."""

from datetime import datetime

from consumers.report.model import (
    Check,
    Column,
    Comparison,
    Figure,
    Number,
    Reconciliation,
    Section,
    Table,
    say,
)
from consumers.report.sales import left_out
from consumers.report.wording import Share
from pipeline.ports.page_reports import Snapshot

CHECKS = {
    "stock": ("Stock is the sum of all changes", "sum of changes", "units on hand"),
    "stored_rows": ("The stored reports know every event", "events", "counted in reports"),
    "stored_units": (
        "They know every unit sold and returned", "units in events", "units in reports",
    ),
    "stored_combos": ("They know every combo", "combos", "combos in reports"),
    "combo_rows": ("Both sales of every combo are there", "combos", "with both sales"),
    "combo_annotations": (
        "Both sales of a standing combo are marked", "sales in combos", "marks on sales",
    ),
    "dimensions": ("Every event's location, product and date are known", "events", "known"),
}  # fmt: skip
"""What each control of the warehouse says when it agrees, and its two sides."""


def section(seen: Snapshot) -> Section:
    """Tell the quality of the data."""
    figures = deliveries(seen), rejected(seen), late(seen), conflicts(seen)
    return Section("quality", "Data quality", figures)


def deliveries(seen: Snapshot) -> Figure:
    """Tell what came twice, or twice and different, by source."""
    everything = sum(row.deliveries for row in seen.deliveries)
    again = sum(row.duplicates for row in seen.deliveries)
    against = sum(row.conflicts for row in seen.deliveries)
    columns = (
        Column("source", "Source", False),
        Column("deliveries", "Deliveries"),
        Column("accepted", "Accepted"),
        Column("duplicates", "Duplicates"),
        Column("conflicts", "Conflicts"),
        Column("duplicate_rate", "Duplicate rate"),
    )
    return Figure(
        "deliveries",
        "Deliveries that came twice",
        say(
            "{} of {} deliveries came again ({}), {} of them with another body.",
            Number("deliveries.again", again + against),
            Number("deliveries.all", everything),
            Number("deliveries.rate", Share(again + against, everything)),
            Number("deliveries.conflicts", against),
        ),
        Table(
            "deliveries",
            columns,
            tuple((*row, Share(row.duplicates, row.deliveries)) for row in seen.deliveries),
        ),
        notes=(say("Each counts once, whatever came again; of two bodies the first stands."),),
    )


def rejected(seen: Snapshot) -> Figure:
    """Tell what was no valid event, by reason."""
    total = Number("rejected.records", sum(row.records for row in seen.rejected))
    heading, note = "Records that were refused", say("They name no location: these are of all.")
    if not seen.sees_all:
        return Figure(
            "rejected", heading, say("They name no location, and so this login may not see them.")
        )
    if not seen.rejected:
        none = say("{} records were refused: each was a valid event.", total)
        return Figure("rejected", heading, none, notes=(note,))
    columns = Column("reason", "Reason", False), Column("records", "Records")
    words = "{} records were no valid events; they are kept in the quarantine."
    if total.value == 1:
        words = "{} record was no valid event; it is kept in the quarantine."
    sentence = say(words, total)
    table = Table("rejected", columns, tuple(seen.rejected))
    return Figure("rejected", heading, sentence, table, notes=(note,))


def late(seen: Snapshot) -> Figure:
    """Tell what came too late to pair, by source."""
    could = sum(row.could_pair for row in seen.late)
    came = sum(row.late_changes for row in seen.late)
    return Figure(
        "late",
        "Events that came too late to pair",
        say(
            "{} of {} events of jackets and pants came too late ({}).",
            Number("late.late", came),
            Number("late.could_pair", could),
            Number("late.rate", Share(came, could)),
        ),
        Table(
            "late",
            (
                Column("source", "Source", False),
                Column("changes", "Events"),
                Column("could_pair", "Jackets and pants"),
                Column("late", "Late"),
                Column("late_rate", "Late rate"),
            ),
            tuple((*row, Share(row.late_changes, row.could_pair)) for row in seen.late),
        ),
        notes=(say("Late events count in sales and stock; only combos do without them."),),
    )


def conflicts(seen: Snapshot) -> Figure:
    """Tell which products were described in two ways."""
    count = Number("conflicts.of", seen.conflicts.of)
    seen_of = "all locations" if seen.sees_all else "all locations that this login may see"
    whole = say(f"Of {seen_of}, and of all time.")
    if not seen.conflicts.rows:
        return Figure(
            "conflicts",
            "Products described in two ways",
            say(
                "{} descriptions differ: every product has one base product and one category.",
                count,
            ),
            notes=(whole,),
        )
    said = "description differs" if seen.conflicts.of == 1 else "descriptions differ"
    columns = (
        Column("product_id", "Product", False),
        Column("base_product_id", "Base product", False),
        Column("category", "Category", False),
        Column("changes", "Events"),
    )
    return Figure(
        "conflicts",
        "Products described in two ways",
        say(f"{{}} {said} from the earliest one, which stands.", count),
        Table("conflicts", columns, tuple(seen.conflicts.rows)),
        notes=(*left_out("descriptions", seen.conflicts, "conflicts"), whole),
    )


def freshness(seen: Snapshot, now: datetime) -> Section:
    """Tell how far each location is loaded, the furthest behind first."""
    lags = {
        row.location: None if row.newest_ingested_at is None else now - row.newest_ingested_at
        for row in seen.freshness.rows
    }
    known = [lag for lag in lags.values() if lag is not None]
    columns = (
        Column("location", "Location", False),
        Column("newest_occurred_at", "Newest event", False),
        Column("newest_ingested_at", "It arrived", False),
        Column("lag", "Ago"),
        Column("low_watermark", "Arrivals complete to", False),
    )
    rows = tuple(
        (r.location, r.newest_occurred_at, r.newest_ingested_at, lags[r.location], r.low_watermark)
        for r in seen.freshness.rows
    )
    figure = Figure(
        "freshness",
        "Newest event by location",
        say(
            "The location that has been quiet longest was last heard of {} ago.",
            Number("freshness.longest_lag", max(known)),
        )
        if known
        else say("No location has been heard of yet."),
        Table("freshness", columns, rows),
        notes=left_out("locations, the quietest first", seen.freshness, "freshness"),
        width="full",
    )
    return Section("freshness", "Freshness", (figure,))


def reconciliation(seen: Snapshot, comparison: Comparison | None) -> Reconciliation:
    """Put the warehouse's controls into words."""
    checks = []
    for control in seen.controls:
        says, left, right = CHECKS[control.name]
        sides = (left, control.left), (right, control.right)
        checks.append(Check(control.name, says, *sides, control.settled))
    return Reconciliation(tuple(checks), comparison)
