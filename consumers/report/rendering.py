"""The page as HTML, and its charts as SVG: the one module that knows the extra's libraries."""

import re
from typing import Any, NamedTuple

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from consumers.report.model import Chart, Figure, Frame, Page, spoken
from consumers.report.wording import day, shown

FRAMES = {"full": Frame(1_040, False), "half": Frame(500, False), "narrow": Frame(342, True)}
"""In CSS pixels, as the page is laid out; phones get drawings of their own, with larger letters."""

_OPENING = re.compile(r'\A<svg [^>]*?viewBox="([\d. -]+)"[^>]*>')
_TAG = re.compile(r"<[^>]+>")
# What a screen reader would be told of each bar; the drawing speaks as one image.
_SPOKEN = re.compile(r' (?:role|aria-[a-z]+|pointer-events|class)="[^"]*"')


class Drawing(NamedTuple):
    """One SVG and for which width it is."""

    kind: str
    svg: Markup


def render(page: Page) -> str:
    """Write the page."""
    environment = Environment(
        loader=PackageLoader("consumers.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shown=shown, day=day, spoken=spoken)
    environment.globals.update(drawings=drawings)
    return environment.get_template("page.html.j2").render(page=page)


def drawings(figure: Figure) -> list[Drawing]:
    """Draw a figure for wide and for narrow screens."""
    if figure.chart is None:
        return []
    return [
        Drawing(kind, _svg(figure, figure.chart, kind, FRAMES[frame]))
        for kind, frame in (("wide", figure.width), ("narrow", "narrow"))
    ]


def _svg(figure: Figure, chart: Chart, kind: str, frame: Frame) -> Markup:
    """Draw one SVG with a title and a description, and without what only a browser's script uses.

    Texts in it were escaped by Vega, whose output has no way to say otherwise.
    """
    drawn: Any = vl_convert.vegalite_to_svg(chart(frame), allowed_base_urls=[])
    opening = _OPENING.match(drawn)
    assert opening is not None
    body = _TAG.sub(lambda tag: _SPOKEN.sub("", tag[0]), drawn[opening.end() :])
    name = f"{figure.name}-{kind}"
    head = Markup(
        '<svg viewBox="{}" class="{}" role="img" aria-labelledby="{}-title"'
        ' aria-describedby="{}-desc"><title id="{}-title">{}</title><desc id="{}-desc">{}</desc>'
    ).format(opening[1], kind, name, name, name, figure.heading, name, spoken(figure.sentence))
    return head + Markup(body)
