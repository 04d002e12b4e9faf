"""An axis of time has a bounded length and loses nothing silently."""

from collections.abc import Iterable
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.report.timeline import GAP_SLOTS_MAX, SLOTS_MAX, Grain, timeline

FIRST = date(2011, 10, 3)


def every(days: int, count: int) -> list[date]:
    """List days that are so far apart."""
    return [FIRST + timedelta(days=days * number) for number in range(count)]


@pytest.mark.parametrize(
    ("days", "grain"),
    [
        (every(1, SLOTS_MAX), Grain.DAY),
        (every(1, SLOTS_MAX + 1), Grain.WEEK),
        (every(7, SLOTS_MAX + 1), Grain.MONTH),
        (every(31, 12 * SLOTS_MAX), Grain.YEAR),
    ],
)
def test_finest_grain_that_fits_is_chosen(days: list[date], grain: Grain) -> None:
    assert timeline(days).grain is grain


def test_days_without_sales_have_slots_of_their_own() -> None:
    assert timeline([FIRST, FIRST + timedelta(days=3)]).slots == tuple(every(1, 4))


def test_long_gap_becomes_one_slot() -> None:
    after = FIRST + timedelta(days=GAP_SLOTS_MAX + 2)
    assert timeline([FIRST, after]).slots == (FIRST, None, after)


def test_gap_that_is_just_short_enough_is_shown() -> None:
    after = FIRST + timedelta(days=GAP_SLOTS_MAX + 1)
    assert None not in timeline([FIRST, after]).slots


def test_weeks_begin_on_monday() -> None:
    time = timeline(every(1, 100))
    assert {slot.isoweekday() for slot in time.slots if slot is not None} == {1}


def test_oldest_years_are_dropped_and_counted_where_even_years_are_too_many() -> None:
    time = timeline(date(year, 6, 1) for year in range(2000, 2100))
    assert (len(time.slots), time.dropped, time.slots[-1]) == (62, 38, date(2099, 1, 1))


def test_last_day_of_the_calendar_has_a_slot() -> None:
    assert timeline([date.max]).slots == (date.max,)


DAYS = st.lists(st.dates(date(2000, 1, 1), date.max), min_size=1, max_size=200)


@given(DAYS)
def test_axis_is_bounded_in_order_and_without_repeats(days: Iterable[date]) -> None:
    slots = timeline(days).slots
    known = [slot for slot in slots if slot is not None]
    assert len(slots) <= SLOTS_MAX
    assert known == sorted(set(known))


@given(DAYS)
def test_nothing_is_lost_where_nothing_is_dropped(days: list[date]) -> None:
    time = timeline(days)
    if not time.dropped:
        assert sum(time.add_up((day, 1) for day in days).values()) == len(days)
