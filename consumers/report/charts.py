"""Charts, as Vega-Lite specifications.

Colours are names of CSS properties: one drawing serves light, dark and paper. Scales therefore
never mix colours, which takes numbers. Nothing is told by colour alone: series differ in shape or
are labelled.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from consumers.report.model import Chart, Frame, Spec
from consumers.report.timeline import Grain, Timeline
from consumers.report.wording import short_day, shown

INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--grid)"
SERIES = ("var(--series-1)", "var(--series-2)")
FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"
"""Three names of the same widths: letters were measured when the chart was made."""
LABEL_PX = 190
"""The longest label of a bar; a longer identifier ends in an ellipsis and is whole in the table."""
LABEL_CHARACTERS_MAX = 40
BAR_PX = 26
RATE_AXIS_MIN = 10
"""Percent that an axis of rates reaches at least, or a rate of nothing would look like much."""
LABEL_APART_PX, AXIS_PX = 46, 50
"""Between the middles of two labels of time; beside the axis of time."""


class Series(NamedTuple):
    """Values by slot under a name; None where there is none to tell."""

    name: str
    values: Mapping[date, float | None]


class Bar(NamedTuple):
    """A bar with its label and what is written at its end."""

    label: str
    value: float
    written: str


def framed(frame: Frame, height: int | Mapping[str, int], **spec: Any) -> Spec:
    """Complete a specification: size, letters, axes and legends are the same in all of them."""
    size = 12 if frame.narrow else 12.5
    return {
        "width": frame.width,
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "background": None,
        "padding": 2,
        "config": {
            "aria": False,
            "font": FONT,
            "view": {"stroke": None},
            "axis": {
                "domain": False, "ticks": False, "title": None, "grid": False,
                "labelColor": MUTED, "labelFontSize": size, "labelPadding": 6,
                "gridColor": GRID, "labelLimit": LABEL_PX,
            },
            "legend": {
                "orient": "top", "direction": "horizontal", "title": None, "offset": 8,
                "labelColor": INK, "labelFontSize": size, "symbolStrokeWidth": 2,
                "labelLimit": 300,
            },
            "text": {"color": INK, "fontSize": size},
        },
        **spec,
    }  # fmt: skip


# -------------------------------------------------------------------------------------- over time
def _slot(number: int, start: date | datetime | None) -> str:
    return f"gap-{number}" if start is None else start.isoformat()


def _time(slots: Sequence[date | datetime | None], grain: Grain | None, frame: Frame) -> Spec:
    """Make the axis of time: each slot has its place, whatever happened in it.

    Where labels have room they stand, with the year, or an hour's day, below where that changes.
    """
    labels: dict[str, list[str]] = {}
    above: object = None
    for number in labelled(slots, frame.width):
        start = slots[number]
        assert start is not None
        first, second = _label(start, grain)
        labels[_slot(number, start)] = [first] if second == above else [first, str(second)]
        above = second
    written = orjson.dumps(labels).decode()
    return {
        "field": "slot", "type": "ordinal",
        "scale": {"domain": [_slot(*each) for each in enumerate(slots)],
                  "paddingInner": 0.25, "paddingOuter": 0.3},
        "axis": {"values": list(labels), "labelExpr": f"({written})[datum.value]",
                 "labelAngle": 0, "labelOverlap": False},
    }  # fmt: skip


def labelled(slots: Sequence[object | None], width: int) -> list[int]:
    """Choose the slots that have a label: what follows a gap, and others as room allows."""
    apart = LABEL_APART_PX * len(slots) / (width - AXIS_PX)
    chosen: list[int] = []
    for number, start in enumerate(slots):
        if start is None:
            continue
        if number and slots[number - 1] is None:
            chosen = [earlier for earlier in chosen if number - earlier >= apart]
        if not chosen or number - chosen[-1] >= apart:
            chosen.append(number)
    return chosen


def _label(start: date | datetime, grain: Grain | None) -> tuple[str, str]:
    if isinstance(start, datetime):
        return f"{start:%H:%M}", short_day(start)
    if grain is Grain.YEAR:
        return str(start.year), ""
    return f"{start:%b}" if grain is Grain.MONTH else short_day(start), str(start.year)


def stacked_bars(time: Timeline, series: Sequence[Series]) -> Chart:
    """Draw counts over time; several series upon each other."""
    return _bars_over(time.slots, time.grain, series)


def hourly_bars(hours: Sequence[tuple[datetime, int]]) -> Chart:
    """Draw counts by the hour, hours of nothing included."""
    first, last = min(hours)[0], max(hours)[0]
    count = (last - first) // timedelta(hours=1) + 1
    slots = [first + timedelta(hours=number) for number in range(count)]
    return _bars_over(slots, None, [Series("units sold", {at: units for at, units in hours})])


def _bars_over(
    slots: Sequence[date | datetime | None], grain: Grain | None, series: Sequence[Series]
) -> Chart:
    def draw(frame: Frame) -> Spec:
        names = [each.name for each in series]
        color: Spec = {"field": "series", "type": "nominal",
                       "scale": {"domain": names, "range": list(SERIES)},
                       "legend": {"symbolType": "square"} if len(names) > 1 else None}  # fmt: skip
        return framed(
            frame,
            200,
            data={"values": list(_points(slots, series))},
            encoding={"x": _time(slots, grain, frame)},
            layer=[
                {"mark": {"type": "bar", "stroke": "var(--page)", "strokeWidth": 0.5},
                 "encoding": {"y": _quantity("zero", {"format": ",~r"}), "color": color,
                              "order": {"field": "order", "type": "quantitative"}}},
                *_gaps(slots),
            ],
        )  # fmt: skip

    return draw


def rate_lines(time: Timeline, series: Sequence[Series]) -> Chart:
    """Draw percents over time, each series with points of its own shape; gaps stay open."""

    def draw(frame: Frame) -> Spec:
        names = [each.name for each in series]
        most = max((v for each in series for v in each.values.values() if v is not None), default=0)
        y = _quantity(None, {"labelExpr": "datum.label + ' %'"})
        y["scale"] = {"domain": [0, max(most, RATE_AXIS_MIN)], "nice": True}
        shapes = ["circle", "square"]
        lines = [
            {"transform": [{"filter": {"field": "order", "equal": order}}],
             "mark": {"type": "line", "strokeWidth": 2, "color": SERIES[order],
                      "strokeDash": [5, 3] if order else [1, 0],
                      "invalid": "break-paths-filter-domains"},
             "encoding": {"y": y}}
            for order in range(len(series))
        ]  # fmt: skip
        points = {
            "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
            "encoding": {
                "y": y,
                "color": {"field": "series", "type": "nominal",
                          "scale": {"domain": names, "range": list(SERIES)}},
                "shape": {"field": "series", "type": "nominal",
                          "scale": {"domain": names, "range": shapes}},
            },
        }  # fmt: skip
        return framed(
            frame,
            200,
            data={"values": list(_points(time.slots, series))},
            encoding={"x": _time(time.slots, time.grain, frame)},
            layer=[*lines, points, *_gaps(time.slots)],
        )

    return draw


def _gaps(slots: Sequence[object | None]) -> list[Spec]:
    """Write three points where a time was left out; a label below would meet its neighbours."""
    rows = [{"slot": _slot(number, None)} for number, start in enumerate(slots) if start is None]
    mark = {"type": "text", "text": "…", "color": MUTED, "dy": -6, "fontSize": 15}
    return (
        [{"data": {"values": rows}, "mark": mark, "encoding": {"y": {"datum": 0}}}] if rows else []
    )


def _points(
    slots: Sequence[date | datetime | None], series: Sequence[Series]
) -> Iterable[dict[str, Any]]:
    for order, each in enumerate(series):
        for number, start in enumerate(slots):
            value = None if start is None else each.values.get(start)
            yield {"slot": _slot(number, start), "series": each.name, "order": order,
                   "value": value}  # fmt: skip


def _quantity(stack: str | None, axis: Mapping[str, Any]) -> Spec:
    return {"field": "value", "type": "quantitative", "stack": stack,
            "axis": {"grid": True, "tickCount": 4, "tickMinStep": 1, **axis}}  # fmt: skip


# ------------------------------------------------------------------------------------------ bars
def short(label: str, characters_max: int = LABEL_CHARACTERS_MAX) -> str:
    """Cut an identifier to what a chart has room for."""
    return label if len(label) <= characters_max else label[: characters_max - 1] + "…"


def ranked_bars(bars: Sequence[Bar]) -> Chart:
    """Draw bars from the left, in the order given, each with its value at the end.

    The axis is by place, not by label: two long identifiers may be cut to the same.
    """

    def draw(frame: Frame) -> Spec:
        room = frame.width * 0.42
        rows = [
            {"place": str(number), "value": abs(bar.value), "written": bar.written}
            for number, bar in enumerate(bars)
        ]
        labels = {str(number): short(bar.label) for number, bar in enumerate(bars)}
        y = {"field": "place", "type": "ordinal", "sort": None,
             "axis": {"labelExpr": f"({orjson.dumps(labels).decode()})[datum.value]",
                      "labelColor": INK, "labelLimit": min(LABEL_PX, room)}}  # fmt: skip
        # Room for what is written behind the longest bar.
        most = max((abs(bar.value) for bar in bars), default=0) or 1
        written_px = 8 * max((len(bar.written) for bar in bars), default=0)
        end = most * (1 + written_px / max(frame.width - room - written_px, 60))
        x = {"field": "value", "type": "quantitative", "axis": None,
             "scale": {"domain": [0, end], "nice": False}}  # fmt: skip
        return framed(
            frame,
            {"step": BAR_PX},
            data={"values": rows},
            encoding={"y": y, "x": x},
            layer=[
                {"mark": {"type": "bar", "height": {"band": 0.62}, "color": SERIES[0]}},
                {"mark": {"type": "text", "align": "left", "dx": 5},
                 "encoding": {"text": {"field": "written"}}},
            ],
        )  # fmt: skip

    return draw


def counted_bars(counts: Iterable[tuple[str, int]]) -> Chart:
    """Draw counts by label."""
    return ranked_bars([Bar(label, count, shown(count)) for label, count in counts])


def columns(values: Sequence[tuple[str, int]], unit: str) -> Chart:
    """Draw a histogram: columns side by side, each with its count above, its range below."""

    def draw(frame: Frame) -> Spec:
        every = -(-len(values) // max(1, frame.width // 46))
        rows = [{"bin": label, "value": count} for label, count in values]
        labels = [label for number, (label, _) in enumerate(values) if number % every == 0]
        return framed(
            frame,
            200,
            data={"values": rows},
            encoding={
                "x": {"field": "bin", "type": "ordinal", "sort": None,
                      "scale": {"padding": 0.08},
                      "axis": {"labelAngle": 0, "values": labels, "labelOverlap": False,
                               "title": unit, "titleColor": MUTED, "titleFontWeight": "normal",
                               "titleFontSize": 12, "titlePadding": 6}},
                "y": {"field": "value", "type": "quantitative", "axis": None},
            },
            layer=[
                {"mark": {"type": "bar", "color": SERIES[0]}},
                {"mark": {"type": "text", "dy": -8}, "encoding": {
                    "text": {"field": "value", "format": ",~r"}}},
            ],
        )  # fmt: skip

    return draw
