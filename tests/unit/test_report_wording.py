"""How numbers are written."""

from datetime import UTC, date, datetime, timedelta

import pytest

from consumers.report.wording import Share, Value, plain, plural, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1_234_567, "1,234,567"),
        (-5_000, "\N{MINUS SIGN}5,000"),
        (Share(1, 3), "33.3 %"),
        (Share(1, 2_000), "0.1 %"),  # a half goes up, as in PostgreSQL
        (Share(0, 0), "–"),
        (None, "–"),
        ("-5", "-5"),
        (date(2011, 10, 3), "3 October 2011"),
        (datetime(2011, 10, 3, 9, 5, tzinfo=UTC), "3 October 2011, 09:05:00 UTC"),
        (timedelta(seconds=286), "4 min 46 s"),
        (timedelta(minutes=9), "9 min"),
        (timedelta(days=2, minutes=5), "2 d"),
        (timedelta(days=2, hours=3, minutes=5), "2 d 3 h"),
        (timedelta(0), "0 s"),
        (timedelta(seconds=-3), "0 s"),  # two clocks that disagree
    ],
)
def test_value_is_written_for_people(value: Value, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Share(1, 3), 33.3),
        (Share(1, 0), None),
        (date(2011, 10, 3), "2011-10-03"),
        (timedelta(seconds=1.5), 1.5),
        (7, 7),
        ("J1", "J1"),
    ],
)
def test_value_is_written_for_scripts(value: Value, written: object) -> None:
    assert plain(value) == written


def test_one_is_singular() -> None:
    assert [plural(count, "sale") for count in (0, 1, 2)] == ["sales", "sale", "sales"]
