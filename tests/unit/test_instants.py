"""Instants: one text form in, one text form out, and nothing guessed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.instants import (
    DAY,
    EARLIEST,
    BadTimestamp,
    NaiveTimestamp,
    format_instant,
    from_datetime,
    parse_instant,
)
from tests import reference_events as reference

YEAR_9999 = 253_402_300_799_999_999


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2000-01-01T00:00:00Z", 946_684_800_000_000),
        ("2000-01-01T00:00:00.000001Z", 946_684_800_000_001),
        ("2000-01-01T00:00:00-00:00", 946_684_800_000_000),
        ("2000-01-01T23:59:00+23:59", 946_684_800_000_000),
        ("1999-12-31T23:30:00-00:30", 946_684_800_000_000),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000),
        ("2011-06-01T07:45:46.5Z", 1_306_914_346_500_000),
        ("2011-06-01T07:45:46.1234569Z", 1_306_914_346_123_456),
        ("2011-06-01T07:45:46.000000999Z", 1_306_914_346_000_000),
        ("2011-06-01T07:45:46." + "9" * 200 + "Z", 1_306_914_346_999_999),
        ("9999-12-31T23:59:59.999999Z", YEAR_9999),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000),
    ],
)
def test_timestamp_is_read_to_the_microsecond(text: str, instant: int) -> None:
    assert parse_instant(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2011-06-01",
        "2011-06-01 07:45:46Z",
        "2011-06-01t07:45:46Z",
        "2011-06-01T07:45:46z",
        "2011-06-01T07:45:46.Z",
        "2011-06-01T07:45:46,5Z",
        "2011-06-01T07:45Z",
        "2011-06-01T07:45:46+0000",
        "2011-06-01T07:45:46+00",
        "2011-06-01T07:45:46+24:00",
        "2011-06-01T07:45:46+00:60",
        "2011-06-01T07:45:46Z+00:00",
        "2011-06-01T07:45:46Z\n",
        " 2011-06-01T07:45:46Z",
        "2011-06-01T07:45:60Z",
        "2016-12-31T23:59:60Z",
        "2011-06-01T24:00:00Z",
        "2011-06-01T07:60:00Z",
        "2011-06-31T07:45:46Z",
        "2011-02-29T07:45:46Z",
        "2100-02-29T07:45:46Z",
        "2011-00-01T07:45:46Z",
        "2011-13-01T07:45:46Z",
        "2011-06-00T07:45:46Z",
        "0000-06-01T07:45:46Z",
        "0001-01-01T00:00:00+23:59",
        "1999-12-31T23:59:59.999999Z",
        "2000-01-01T00:00:00+00:01",
        "+2011-06-01T07:45:46Z",
        "12011-06-01T07:45:46Z",
        "2011-W22-3T07:45:46Z",
        "\u0662\u0660\u0661\u0661-06-01T07:45:46Z",
        "2011-06-01T07:45:46.\u0661Z",
        "2011-06-01T07:45:46\u221201:00",
    ],
)
def test_anything_but_a_valid_rfc_3339_instant_since_2000_is_bad(text: str) -> None:
    with pytest.raises(BadTimestamp):
        parse_instant(text)


@pytest.mark.parametrize("text", ["2011-06-01T07:45:46", "2011-06-01T07:45:46.123"])
def test_local_time_without_an_offset_is_naive(text: str) -> None:
    with pytest.raises(NaiveTimestamp):
        parse_instant(text)


def test_impossible_local_time_is_bad_before_it_is_naive() -> None:
    with pytest.raises(BadTimestamp):
        parse_instant("2011-06-31T07:45:46")


@given(st.integers(EARLIEST, YEAR_9999))
def test_what_is_written_is_read_back(instant: int) -> None:
    assert parse_instant(format_instant(instant)) == instant


@given(st.integers(EARLIEST, YEAR_9999), st.integers(EARLIEST, YEAR_9999))
def test_text_order_is_time_order(one: int, other: int) -> None:
    assert (format_instant(one) < format_instant(other)) == (one < other)


@given(st.integers(EARLIEST, YEAR_9999))
def test_every_written_instant_has_the_same_width(instant: int) -> None:
    assert len(format_instant(instant)) == 27


@given(st.datetimes(timezones=st.timezones()))
def test_aware_datetime_is_converted_without_loss(moment: datetime) -> None:
    whole = from_datetime(moment.replace(microsecond=0))
    assert from_datetime(moment) == whole + moment.microsecond
    assert from_datetime(moment.astimezone(UTC)) == from_datetime(moment)


_DIGITS = "-?[0-9]{1,4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{0,9})?"
_NEAR = st.one_of(
    st.from_regex(f"({_DIGITS})(Z|z|[+-][0-9]{{2}}:[0-9]{{2}})?", fullmatch=True),
    st.from_regex(
        "20[0-9]{2}-(0[1-9]|1[0-3])-([0-2][0-9]|3[01])T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
        "([.][0-9]{1,8})?(Z|[+-][0-2][0-9]:[0-6][0-9])?",
        fullmatch=True,
    ),
)


@given(_NEAR)
def test_reading_agrees_with_a_calendar_written_by_hand(text: str) -> None:
    try:
        wanted: int | str = reference.instant(text)
    except reference.Refused as refused:
        wanted = str(refused)
    try:
        found: int | str = parse_instant(text)
    except BadTimestamp:
        found = "bad_timestamp"
    except NaiveTimestamp:
        found = "naive_timestamp"
    assert found == wanted


def test_a_day_has_as_many_microseconds_as_the_calendar_says() -> None:
    days = parse_instant("2011-06-02T00:00:00Z") - parse_instant("2011-06-01T00:00:00Z")
    assert days == DAY
