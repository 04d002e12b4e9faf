"""Time on an axis of bounded length: days where they fit, else weeks, months or years.

A short gap is shown, as slots of nothing. A long one would be most of the axis (a shop that was
closed for a season, a till with a wrong clock): it becomes one slot, marked as left out.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

SLOTS_MAX = 62
GAP_SLOTS_MAX = 7
"""More slots of nothing in a row than this are left out."""


class Grain(StrEnum):
    """How long a slot is."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    def start(self, day: date) -> date:
        """Return the first day of the slot that a day is in; weeks begin on Monday."""
        match self:
            case Grain.DAY:
                return day
            case Grain.WEEK:
                return day - timedelta(days=day.weekday())
            case Grain.MONTH:
                return day.replace(day=1)
            case Grain.YEAR:
                return day.replace(month=1, day=1)

    def after(self, start: date) -> date:
        """Return the start of the next slot."""
        days = {Grain.DAY: 1, Grain.WEEK: 7, Grain.MONTH: 31, Grain.YEAR: 366}[self]
        return self.start(start + timedelta(days=days))


@dataclass(frozen=True, slots=True)
class Timeline:
    """Slots in order; None stands for a gap that was left out. `dropped` older slots are not in."""

    grain: Grain
    slots: tuple[date | None, ...]
    dropped: int = 0

    def add_up(self, values: Iterable[tuple[date, int]]) -> dict[date, int]:
        """Sum what happened by slot, zeros included; what is in no slot is left out."""
        sums: Counter[date] = Counter()
        for day, value in values:
            sums[self.grain.start(day)] += value
        return {slot: sums[slot] for slot in self.slots if slot is not None}

    @property
    def gaps(self) -> int:
        """Count the gaps that were left out."""
        return self.slots.count(None)


def timeline(days: Iterable[date]) -> Timeline:
    """Choose the finest grain that fits."""
    known = set(days)
    for grain in Grain:
        slots = _slots(grain, known)
        if len(slots) <= SLOTS_MAX:
            return Timeline(grain, slots)
    return Timeline(Grain.YEAR, slots[-SLOTS_MAX:], len(slots) - SLOTS_MAX)


def _slots(grain: Grain, days: Iterable[date]) -> tuple[date | None, ...]:
    slots: list[date | None] = []
    expected: date | None = None
    for start in sorted({grain.start(day) for day in days}):
        missing: list[date | None] = []
        while expected is not None and expected < start and len(missing) <= GAP_SLOTS_MAX:
            missing.append(expected)
            expected = grain.after(expected)
        slots += missing if len(missing) <= GAP_SLOTS_MAX else [None]
        slots.append(start)
        expected = grain.after(start) if start < date.max.replace(month=1, day=1) else None
    return tuple(slots)
