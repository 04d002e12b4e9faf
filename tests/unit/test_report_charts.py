"""Specifications draw what they are given, in bounded room."""

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.report import charts, heat_map
from consumers.report.charts import Bar, Series
from consumers.report.heat_map import HeatRow
from consumers.report.model import Frame
from consumers.report.timeline import timeline

WIDE, NARROW = Frame(1_040, False), Frame(342, True)
MONDAY = date(2011, 10, 3)
DAYS = timeline([MONDAY, MONDAY + timedelta(days=1), MONDAY + timedelta(days=40)])


def values(spec: dict[str, Any]) -> list[Any]:
    """Return what a specification draws."""
    return [row["value"] for row in spec["data"]["values"]]


def test_bars_over_time_have_a_place_for_every_slot() -> None:
    spec = charts.stacked_bars(DAYS, [Series("sold", {MONDAY: 5})])(WIDE)
    domain = spec["encoding"]["x"]["scale"]["domain"]
    assert (domain, values(spec)) == (
        ["2011-10-03", "2011-10-04", "gap-2", "2011-11-12"],
        [5, None, None, None],
    )


def test_single_series_needs_no_legend() -> None:
    series = [Series("standing", {MONDAY: 5}), Series("undone", {MONDAY: 1})]
    legends = [
        charts.stacked_bars(DAYS, series[:count])(WIDE)["layer"][0]["encoding"]["color"]["legend"]
        for count in (1, 2)
    ]
    assert [legend is None for legend in legends] == [True, False]


def test_lines_of_rates_are_not_stacked() -> None:
    series = [Series("jackets", {MONDAY: 60.0}), Series("pants", {MONDAY: 70.0})]
    layers = charts.rate_lines(DAYS, series)(WIDE)["layer"]
    assert {layer["encoding"]["y"].get("stack") for layer in layers[:3]} == {None}


def test_axis_of_rates_does_not_stretch_over_nothing() -> None:
    layer = charts.rate_lines(DAYS, [Series("jackets", {MONDAY: 0.0})])(WIDE)["layer"][0]
    assert layer["encoding"]["y"]["scale"]["domain"] == [0, 10]


def test_hours_of_nothing_have_a_place() -> None:
    nine = datetime(2011, 10, 3, 9)  # noqa: DTZ001 - local
    spec = charts.hourly_bars([(nine, 5), (nine + timedelta(hours=2), 7)])(WIDE)
    assert values(spec) == [5, None, 7]


@given(st.lists(st.booleans(), min_size=1, max_size=62), st.sampled_from([342, 500, 1_040]))
def test_labels_of_time_keep_their_distance(known: list[bool], width: int) -> None:
    slots = [number if here else None for number, here in enumerate(known)]
    chosen = charts.labelled(slots, width)
    apart = charts.LABEL_APART_PX * len(slots) / (width - charts.AXIS_PX)
    assert all(later - earlier >= apart for earlier, later in pairwise(chosen))
    assert all(slots[number] is not None for number in chosen)


def test_slot_after_a_gap_has_a_label() -> None:
    slots = [*range(20), None, 20]
    assert charts.labelled(slots, 342)[-1] == 21


def test_two_labels_that_are_cut_alike_stay_two_bars() -> None:
    bars = [Bar("J" * 50 + end, 1, "1") for end in "ab"]
    spec = charts.ranked_bars(bars)(WIDE)
    assert [row["place"] for row in spec["data"]["values"]] == ["0", "1"]


def test_identifier_cannot_end_the_expression_that_it_is_written_into() -> None:
    name = "\"})[0]; alert('x'); ({\""
    axis = charts.ranked_bars([Bar(name, 1, "1")])(WIDE)["encoding"]["y"]["axis"]
    assert axis["labelExpr"] == '({"0":"\\"})[0]; alert(\'x\'); ({\\""})[datum.value]'


@pytest.mark.parametrize(
    ("most", "edges"), [(0, [1]), (4, [1, 2]), (1_135, [1, 30, 100, 300, 700])]
)
def test_steps_begin_at_round_numbers_and_never_repeat(most: int, edges: list[int]) -> None:
    assert heat_map.steps([3, most] if most > 3 else [most]) == edges


@given(st.lists(st.integers(1, 10**9), min_size=1))
def test_every_cell_of_the_heat_map_is_in_a_step(units: list[int]) -> None:
    row = HeatRow("GB-1", dict(enumerate(units)))
    spec = heat_map.heat_map([row], range(len(units)), 1)(WIDE)
    domain = spec["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert {cell["step"] for cell in spec["data"]["values"]} <= set(domain)
    assert values(spec) == units


def test_narrow_heat_map_leaves_the_numbers_to_the_table() -> None:
    chart = heat_map.heat_map([HeatRow("GB-1", {9: 5})], [9], 1)
    assert [len(chart(frame)["layer"]) for frame in (WIDE, NARROW)] == [2, 1]


def test_sum_of_many_shops_does_not_decide_the_steps() -> None:
    rows = [HeatRow("GB-1", {9: 100}), HeatRow("all others", {9: 1_000_000})]
    color = heat_map.heat_map(rows, [9], 1)(WIDE)["layer"][0]["encoding"]["color"]
    assert color["scale"]["domain"][-1] == "60 or more"
