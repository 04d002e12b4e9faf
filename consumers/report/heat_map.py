"""A heat map of hours and places, as a Vega-Lite specification.

Five steps and no scale between: colours are names of CSS properties, which nothing can mix. Each
cell has its number written in, where there is room; where there is none, the table has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import orjson

from consumers.report.charts import BAR_PX, INK, LABEL_PX, framed, short
from consumers.report.model import Chart, Frame, Spec
from consumers.report.wording import MINUS

STEPS = tuple(f"var(--step-{number})" for number in range(1, 6))
ON_STEPS = tuple(f"var(--on-step-{number})" for number in range(1, 6))


def steps(values: Iterable[int]) -> list[int]:
    """Choose where five steps begin, from 1: each some three times wider than the one before.

    What shops sell in an hour is skewed: with even steps almost all of a day would be the lightest.
    """
    most = max(values, default=0)
    edges = [1]
    for share in (0.03, 0.1, 0.3, 0.6):
        edge = _rounded(most * share)
        if edge > edges[-1]:
            edges.append(edge)
    return edges


def _rounded(value: float) -> int:
    """Round to one digit, so that steps begin at numbers that one remembers."""
    return round(float(f"{value:.0e}"))


class HeatRow(NamedTuple):
    """A line of the map: values by column; 0 is left blank."""

    label: str
    values: Mapping[int, int]


def heat_map(rows: Sequence[HeatRow], hours: Sequence[int], judged_by: int) -> Chart:
    """Draw units by hour of the day (across) and row, the number in each cell where there is room.

    Rows are by place, as bars are. So many of the first decide where steps begin: a sum of many
    shops in the last would leave the lightest to each single one.
    """
    edges = steps(value for row in rows[:judged_by] for value in row.values.values())
    ranges = [
        f"{low:,}" if high == low + 1 else f"{low:,}–{high - 1:,}" for low, high in pairwise(edges)
    ] + [f"{edges[-1]:,} or more"]
    cells = [
        {"place": str(number), "hour": f"{hour:02d}", "value": value, "written": _brief(value),
         "step": ranges[sum(value >= edge for edge in edges) - 1]}
        for number, row in enumerate(rows)
        for hour, value in sorted(row.values.items())
        if value > 0
    ]  # fmt: skip
    labels = {str(number): short(row.label) for number, row in enumerate(rows)}

    def draw(frame: Frame) -> Spec:
        domain = {"domain": ranges}
        rect = {"mark": {"type": "rect", "cornerRadius": 2}, "encoding": {"color": {
            "field": "step", "type": "ordinal", "legend": {"symbolType": "square"},
            "scale": {**domain, "range": list(STEPS[: len(ranges)])}}}}  # fmt: skip
        text = {"mark": {"type": "text", "fontSize": 11}, "encoding": {
            "text": {"field": "written"}, "color": {
                "field": "step", "type": "ordinal", "legend": None,
                "scale": {**domain, "range": list(ON_STEPS[: len(ranges)])}}}}  # fmt: skip
        spec = framed(
            frame,
            {"step": BAR_PX + 2},
            data={"values": cells},
            encoding={
                "x": {"field": "hour", "type": "ordinal",
                      "scale": {"domain": [f"{hour:02d}" for hour in hours], "padding": 0.06},
                      "axis": {"labelAngle": 0, "orient": "top",
                               "values": [f"{h:02d}" for h in hours[:: 2 if frame.narrow else 1]]}},
                "y": {"field": "place", "type": "ordinal",
                      "scale": {"domain": list(labels), "padding": 0.06},
                      "axis": {"labelExpr": f"({orjson.dumps(labels).decode()})[datum.value]",
                               "labelColor": INK, "labelLimit": min(LABEL_PX, frame.width // 4)}},
            },
            layer=[rect] if frame.narrow else [rect, text],
            resolve={"scale": {"color": "independent"}},
        )  # fmt: skip
        spec["config"]["legend"]["columns"] = 2 if frame.narrow else 5
        return spec

    return draw


def _brief(value: int) -> str:
    """Write a number so that a cell holds it: 950, 1.2k, 34k, 1.2M."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if abs(value) >= size:
            digits = 0 if abs(value) >= 10 * size else 1
            return f"{value / size:.{digits}f}{unit}"
    return f"{value:,}".replace("-", MINUS)


def runs(hours: Iterable[int]) -> list[int]:
    """Fill a set of hours to an unbroken axis."""
    known = sorted(set(hours))
    return list(range(known[0], known[-1] + 1)) if known else []
