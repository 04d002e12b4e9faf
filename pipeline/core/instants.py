"""Instants as integers: microseconds since 1970-01-01 UTC, and the one text form that is stored.

Integers because they compare, subtract and encode without surprises, and because time is data here:
nothing in the core asks what time it is.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

MICROSECOND = 1
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = 946_684_800 * SECOND
"""2000-01-01 UTC. A till that reports an older sale has lost its clock,
not found an old receipt.
"""

LATEST = 253_402_300_800 * SECOND - 1
"""The last microsecond of 9999: what four digits of a year can say."""

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d+))?(?:(Z)|([+-])(\d\d):(\d\d))?",
    re.ASCII,
)


class BadTimestamp(ValueError):
    """Not an RFC 3339 instant, or one before 2000."""


class NaiveTimestamp(ValueError):
    """A valid local time without an offset: which instant it means cannot be known."""


def parse_instant(text: str) -> int:
    """Read the timestamp of an event; digits below the microsecond are cut, not rounded.

    Stricter than ISO 8601 on purpose (upper-case T and Z, an offset, no leap second, not before
    2000): a till that sends anything else has to be mended, not guessed at. Raises BadTimestamp or
    NaiveTimestamp. Source: RFC 3339.
    """
    instant = read_instant(text)
    if instant < EARLIEST:
        raise BadTimestamp(text)
    return instant


def read_instant(text: str) -> int:
    """Read any RFC 3339 instant, such as `format_instant` wrote: what is stored has been judged.

    Raises BadTimestamp or NaiveTimestamp.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise BadTimestamp(text)
    seconds, fraction, zulu, sign, hours, minutes = match.groups()
    try:
        since = datetime.fromisoformat(seconds + "+00:00") - EPOCH
    except ValueError:
        raise BadTimestamp(text) from None
    instant = since.days * DAY + since.seconds * SECOND
    if fraction:
        instant += int(fraction[:6].ljust(6, "0"))
    if not zulu:
        if sign is None:
            raise NaiveTimestamp(text)
        if hours > "23" or minutes > "59":
            raise BadTimestamp(text)
        offset = int(hours) * HOUR + int(minutes) * MINUTE
        instant -= offset if sign == "+" else -offset
    return instant


def format_instant(instant: int) -> str:
    """Write `YYYY-MM-DDTHH:MM:SS.ffffffZ`: fixed width, so that text order is time order."""
    day, rest = divmod(instant, DAY)
    minute, rest = divmod(rest, MINUTE)
    return f"{_format_minute(day, minute)}:{rest // SECOND:02d}.{rest % SECOND:06d}Z"


@lru_cache(8_192)  # neighbours share their minute, and the calendar is the slow part
def _format_minute(day: int, minute: int) -> str:
    return (EPOCH + timedelta(days=day, minutes=minute)).isoformat()[:16]


def to_datetime(instant: int) -> datetime:
    """Convert an instant to a datetime in UTC."""
    return EPOCH + timedelta(microseconds=instant)


def from_datetime(moment: datetime) -> int:
    """Convert an aware datetime to an instant without passing through a float."""
    return (moment - EPOCH) // timedelta(microseconds=1)
