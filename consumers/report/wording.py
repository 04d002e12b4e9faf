"""How numbers, instants and durations are written, and what stands for them in JSON."""

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple, TypeAlias

NONE = "–"
MINUS = "\N{MINUS SIGN}"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class Share(NamedTuple):
    """A part of a whole; of nothing there is no share."""

    part: int
    whole: int

    @property
    def percent(self) -> Decimal | None:
        """Return it in percent to one digit, halves up, as PostgreSQL rounds."""
        if self.whole == 0:
            return None
        exact = Decimal(self.part) * 100 / Decimal(self.whole)
        return exact.quantize(Decimal("0.1"), ROUND_HALF_UP)


Value: TypeAlias = int | str | Share | date | datetime | timedelta | None


def shown(value: Value) -> str:
    """Write a value for people."""
    match value:
        case None:
            return NONE
        case str():
            return value
        case int():
            return f"{value:,}".replace("-", MINUS)
        case Share():
            return NONE if value.percent is None else f"{value.percent} %"
        case datetime():
            return f"{day(value)}, {value.astimezone(UTC):%H:%M:%S} UTC"
        case date():
            return day(value)
        case timedelta():
            return duration(value)


def plain(value: Value) -> int | float | str | None:
    """Write a value for scripts: percents as numbers, durations in seconds, dates as ISO 8601."""
    match value:
        case Share():
            return None if value.percent is None else float(value.percent)
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _:
            return value


def day(value: date) -> str:
    """Write a date: 3 October 2011."""
    return f"{value.day} {value:%B} {value.year}"


def short_day(value: date) -> str:
    """Write a date where the year is said elsewhere: 3 Oct."""
    return f"{value.day} {value:%b}"


def plural(count: int, noun: str) -> str:
    """Write a noun after its count."""
    return noun if count == 1 else f"{noun}s"


def duration(value: timedelta) -> str:
    """Write a duration in its two greatest units: 4 min 46 s. Less than none is none."""
    left = max(0, round(value.total_seconds()))
    parts: list[str] = []
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "0 s"
