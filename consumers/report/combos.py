"""Jackets and pants that left together."""

from collections.abc import Sequence
from datetime import timedelta

from consumers.report import charts
from consumers.report.model import Column, Figure, Name, Number, Section, Sentence, Table, say
from consumers.report.sales import left_out, time_notes
from consumers.report.timeline import Timeline
from consumers.report.wording import Share, duration
from pipeline.ports.page_reports import Gap, GapBin, Snapshot

UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))
PAIR_CHARACTERS_MAX = 18
"""Of each of two identifiers that share a label."""
STANDING, UNDONE = "standing", "undone by returns"


def section(seen: Snapshot, time: Timeline) -> Section:
    """Tell the combos, as far as there are any."""
    figures = [combos_over_time(seen, time), attach_rate(seen, time)] if seen.combo_days else []
    if not figures and seen.attach_days:
        figures = [attach_rate(seen, time)]
    if seen.pairs.rows:
        figures.append(top_pairs(seen))
    if seen.gap is not None:
        figures.append(gap(seen, seen.gap))
    return Section("combos", "Jacket and pants combos", tuple(figures))


def combos_over_time(seen: Snapshot, time: Timeline) -> Figure:
    """Draw units in combos by the day of the jacket's sale."""
    combos = time.add_up((row.date, row.combos) for row in seen.combo_days)
    standing = time.add_up((row.date, row.units_standing) for row in seen.combo_days)
    undone = time.add_up((row.date, row.units_returned) for row in seen.combo_days)
    series = [charts.Series(STANDING, standing), charts.Series(UNDONE, undone)]
    return Figure(
        "combos_over_time",
        f"Units in combos by {time.grain}",
        say(
            "{} combos were made; {} units of them stand, {} were undone by returns.",
            Number("combos_over_time.combos", sum(combos.values())),
            Number("combos_over_time.units_standing", sum(standing.values())),
            Number("combos_over_time.units_returned", sum(undone.values())),
        ),
        Table(
            "combos_over_time",
            (
                Column("at", str(time.grain).capitalize(), False),
                Column("combos", "Combos"),
                Column("units_standing", "Units standing"),
                Column("units_returned", "Undone"),
            ),
            tuple((slot, combos[slot], standing[slot], undone[slot]) for slot in combos),
        ),
        charts.stacked_bars(time, series if any(undone.values()) else series[:1]),
        time_notes(time, "combos_over_time"),
    )


def attach_rate(seen: Snapshot, time: Timeline) -> Figure:
    """Draw the share of jackets that left with pants, and the reverse."""
    days = seen.attach_days
    jackets = time.add_up((row.date, row.jackets_sold) for row in days)
    with_pants = time.add_up((row.date, row.jackets_in_combos) for row in days)
    pants = time.add_up((row.date, row.pants_sold) for row in days)
    with_jacket = time.add_up((row.date, row.pants_in_combos) for row in days)
    rates = {
        slot: (Share(with_pants[slot], jackets[slot]), Share(with_jacket[slot], pants[slot]))
        for slot in jackets
    }
    lines = [
        charts.Series(name, {slot: _height(rate[side]) for slot, rate in rates.items()})
        for side, name in enumerate(("jackets with pants", "pants with a jacket"))
    ]
    columns = ("at", str(time.grain).capitalize()), ("jackets", "Jackets with pants")
    return Figure(
        "attach_rate",
        f"Attach rate by {time.grain}",
        _attached(
            Share(sum(with_pants.values()), sum(jackets.values())),
            Share(sum(with_jacket.values()), sum(pants.values())),
        ),
        Table(
            "attach_rate",
            (Column(*columns[0], False), Column(*columns[1]),
             Column("pants", "Pants with a jacket")),
            tuple((slot, *rate) for slot, rate in rates.items()),
        ),
        charts.rate_lines(time, lines),
        (
            say("What was returned later was bought together all the same."),
            *time_notes(time, "attach_rate"),
        ),
    )  # fmt: skip


def _attached(jackets: Share, pants: Share) -> Sentence:
    of_jackets, of_pants = (
        Number("attach_rate.jackets", jackets),
        Number("attach_rate.pants", pants),
    )
    if not pants.whole:
        return say("{} of the jackets left with pants; tills sold no pants.", of_jackets)
    if not jackets.whole:
        return say("{} of the pants left with a jacket; tills sold no jackets.", of_pants)
    words = "{} of the jackets left with pants, {} of the pants with a jacket."
    return say(words, of_jackets, of_pants)


def _height(rate: Share) -> float | None:
    return None if rate.percent is None else float(rate.percent)


def top_pairs(seen: Snapshot) -> Figure:
    """Rank pairs of products."""
    rows = seen.pairs.rows
    first = rows[0]
    bars = [
        (
            " + ".join(charts.short(name, PAIR_CHARACTERS_MAX) for name in pair[:2]),
            pair.units_standing,
        )
        for pair in rows
    ]
    return Figure(
        "top_pairs",
        "Pairs that leave together most",
        say(
            "{} and {} lead: {} units in {} combos.",
            Name(first.jacket_product_id),
            Name(first.pants_product_id),
            Number("top_pairs.best_units", first.units_standing),
            Number("top_pairs.best_combos", first.combos),
        ),
        Table(
            "top_pairs",
            (
                Column("jacket", "Jacket", False),
                Column("pants", "Pants", False),
                Column("combos", "Combos"),
                Column("units_standing", "Units standing"),
                Column("units_returned", "Undone"),
            ),
            tuple(rows),
        ),
        charts.counted_bars(bars),
        left_out("pairs", seen.pairs, "top_pairs"),
    )


def gap(seen: Snapshot, found: Gap) -> Figure:
    """Draw how much time passes between the two sales of a combo."""
    combos = seen.combos.combos
    return Figure(
        "combo_gap",
        "Time between the two sales of a combo",
        say(
            "Half of the pairs are complete within {}, nine in ten within {}; the jacket comes"
            " first in {}.",
            Number("combo_gap.median", found.median),
            Number("combo_gap.ninetieth", found.ninetieth),
            Number("combo_gap.jacket_first", Share(found.jacket_first, combos)),
        ),
        Table(
            "combo_gap",
            (Column("from", "At least", False), Column("to", "Less than"),
             Column("combos", "Combos")),
            tuple(
                (duration(_seconds(b.start_s)), _seconds(b.end_s), b.combos)
                for b in seen.gap_bins
            ),
        ),
        charts.columns(*_ranges(seen.gap_bins)),
        (
            say(
                "From {} at the shortest to {} at the longest.",
                Number("combo_gap.shortest", found.shortest),
                Number("combo_gap.longest", found.longest),
            ),
        ),
    )  # fmt: skip


def _seconds(count: int) -> timedelta:
    return timedelta(seconds=count)


def _ranges(bins: Sequence[GapBin]) -> tuple[list[tuple[str, int]], str]:
    """Write ranges in the greatest unit that all of them have whole; and that unit."""
    size, unit = next((s, unit) for s, unit in UNITS if all(b.end_s % s == 0 for b in bins))
    return [(f"{b.start_s // size}–{b.end_s // size}", b.combos) for b in bins], unit
