"""The page: a snapshot put together into what a reader sees, from the top."""

from datetime import datetime

from consumers.report import combos, products, quality, sales
from consumers.report.model import Comparison, Key, Number, Page, Section, Sentence, say
from consumers.report.timeline import timeline
from consumers.report.wording import Share, plural
from pipeline.ports.page_reports import Question, Snapshot


def page_of(
    seen: Snapshot, question: Question, now: datetime, comparison: Comparison | None = None
) -> Page:
    """Make a page. `now` is when it is made, and what freshness is measured from."""
    return Page(
        location=question.location,
        sees_all=seen.sees_all,
        first_day=seen.first_day,
        last_day=seen.last_day,
        generated_at=now,
        refreshed_at=seen.refreshed_at,
        keys=_keys(seen),
        sections=tuple(part for part in _sections(seen, now) if part.figures),
        reconciliation=quality.reconciliation(seen, comparison),
    )


def _sections(seen: Snapshot, now: datetime) -> tuple[Section, ...]:
    of_data = quality.section(seen), quality.freshness(seen, now)
    if seen.first_day is None:
        return of_data if seen.freshness.rows or seen.deliveries or seen.rejected else ()
    time = timeline(
        [row.at.date() for row in seen.days]
        + [row.date for row in seen.combo_days]
        + [row.date for row in seen.attach_days]
    )
    return (
        sales.section(seen, time),
        combos.section(seen, time),
        products.section(seen),
        products.returns_section(seen),
        *of_data,
    )


def _keys(seen: Snapshot) -> tuple[Key, ...]:
    sums, made = seen.totals, seen.combos
    jackets = sum(row.jackets_sold for row in seen.attach_days)
    with_pants = sum(row.jackets_in_combos for row in seen.attach_days)
    pants = sum(row.pants_sold for row in seen.attach_days)
    with_jacket = sum(row.pants_in_combos for row in seen.attach_days)
    returned = Number("key.units_returned", sums.units_returned)
    return (
        Key(
            "Units sold",
            Number("key.units_sold", sums.units_sold),
            _some("in", Number("key.sales", sums.sales), "sale"),
        ),
        Key(
            "Return rate",
            Number("key.return_rate", Share(sums.units_returned, sums.units_sold)),
            _some("", returned, "unit"),
        ),
        Key(
            "Combos standing",
            Number("key.combos_standing", made.standing),
            _some("with", Number("key.units_standing", made.units_standing), "unit"),
        ),
        Key(
            "Jackets with pants",
            Number("key.jacket_attach_rate", Share(with_pants, jackets)),
            _some("of", Number("key.jackets_sold", jackets), "jacket"),
        ),
        Key(
            "Pants with a jacket",
            Number("key.pants_attach_rate", Share(with_jacket, pants)),
            say("of {} pants", Number("key.pants_sold", pants)),
        ),
        Key(
            "Products sold",
            Number("key.products_sold", seen.products_sold),
            _some("at", Number("key.locations", seen.locations.of), "location"),
        ),
    )


def _some(before: str, count: Number, noun: str) -> Sentence:
    assert isinstance(count.value, int)
    return say(f"{before} {{}} {plural(count.value, noun)}".strip(), count)
