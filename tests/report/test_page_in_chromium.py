"""The page as a browser shows it: complete in itself, on every screen, for everybody."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.report.conftest import Open
from tests.report.warehouse import HOSTILE, LONG, SCRIPT

pytestmark = pytest.mark.browser

WIDTHS = {"phone": 390, "tablet": 768, "desktop": 1280}
SCHEMES = ("light", "dark")
TEXT_CONTRAST_MIN = 4.5
"""Source: WCAG 2.2, success criterion 1.4.3."""
GRAPHIC_CONTRAST_MIN = 3.0
"""Source: WCAG 2.2, success criterion 1.4.11."""
ON = {
    "--page": ("--ink", "--muted", "--link", "--good", "--bad", "--wait"),
    "--panel": ("--ink", "--muted"),
    **{f"--step-{step}": (f"--on-step-{step}",) for step in range(1, 6)},
}
COLOR = """
name => {
    const probe = document.body.appendChild(document.createElement('i'));
    probe.style.color = `var(${name})`;
    const found = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map(Number);
    probe.remove();
    return found;
}
"""


def contrast(first: list[float], second: list[float]) -> float:
    """Compute the contrast of two colours as WCAG 2.2 defines it."""

    def luminance(color: list[float]) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in (value / 255 for value in color)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


# ------------------------------------------------------------------------------ complete in itself
def test_page_asks_for_nothing_but_itself_and_says_nothing(open_page: Open) -> None:
    opened = open_page()
    opened.page.wait_for_load_state("networkidle")
    assert (opened.requests, opened.messages) == ([opened.page.url], [])


def test_page_has_no_script_and_a_policy_that_would_stop_one(open_page: Open) -> None:
    page = open_page().page
    policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content") or ""
    assert ("default-src 'none'" in policy, page.locator("script").count()) == (True, 0)


def test_identifiers_are_text_wherever_they_stand(open_page: Open) -> None:
    page = open_page().page
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    read = set(page.eval_on_selector_all("bdi", "all => all.map(b => b.textContent)"))
    assert (set(HOSTILE) - read, page.title()) == (set(), "Tillstream report")


def test_identifier_cannot_leave_its_drawing(open_page: Open) -> None:
    page = open_page().page
    inside = page.eval_on_selector_all("svg *", "all => [...new Set(all.map(e => e.localName))]")
    assert set(inside) <= {"title", "desc", "g", "path", "line", "text", "tspan", "rect"}


def test_identifier_that_turns_direction_does_not_turn_what_follows(open_page: Open) -> None:
    script = """
    number => [0, number.firstChild.length - 1].map(at => {
        const range = document.createRange();
        range.setStart(number.firstChild, at);
        range.setEnd(number.firstChild, at + 1);
        return range.getBoundingClientRect().left;
    })
    """
    page = open_page(viewport={"width": 1280, "height": 900}).page
    first, last = page.eval_on_selector("#top_pairs .finding .number", script)
    assert first < last


# -------------------------------------------------------------------------------- on every screen
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_is_wider_than_the_screen(open_page: Open, scheme: str, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme).page
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_every_figure_shows_one_drawing_within_its_column(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 900}).page
    script = """
    all => all.map(chart => Array.from(chart.querySelectorAll('svg'))
        .filter(svg => svg.getBoundingClientRect().width > 0)
        .map(svg => {
            const column = chart.getBoundingClientRect();
            return Array.from(svg.querySelectorAll('text')).every(text => {
                const box = text.getBoundingClientRect();
                return box.left >= column.left - 4 && box.right <= column.right + 4;
            });
        }))
    """
    assert page.eval_on_selector_all(".chart", script) == [[True]] * 12


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_labels_below_a_drawing_do_not_meet(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 900}).page
    script = """
    all => all.flatMap(svg => {
        const boxes = Array.from(svg.querySelectorAll('text'), text => text.getBoundingClientRect())
            .filter(box => box.width > 0);
        return boxes.filter((box, at) => boxes.some((other, before) => before < at
            && box.left < other.right - 1 && other.left < box.right - 1
            && box.top < other.bottom - 3 && other.top < box.bottom - 3)).map(_ => svg.innerHTML);
    })
    """
    assert page.eval_on_selector_all("svg", script) == []


def test_letters_in_drawings_are_legible_on_a_phone(open_page: Open) -> None:
    page = open_page(viewport={"width": 390, "height": 900}).page
    script = """
    all => Math.min(...all.filter(t => t.getBoundingClientRect().width > 0).map(t =>
        parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a))
    """
    assert page.eval_on_selector_all("svg text", script) >= 11


# --------------------------------------------------------------------------------- for everybody
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation(open_page: Open, scheme: str, width: int) -> None:
    page = open_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    ).page
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


@pytest.mark.parametrize("scheme", [*SCHEMES, "print"])
def test_text_stands_out_from_what_is_below_it(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme="dark" if scheme == "print" else scheme).page
    if scheme == "print":
        page.emulate_media(media="print")
    weak = {
        (text, below)
        for below, texts in ON.items()
        for text in texts
        if contrast(page.evaluate(COLOR, text), page.evaluate(COLOR, below)) < TEXT_CONTRAST_MIN
    }
    assert weak == set()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_and_bars_stand_out_from_the_page(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme).page
    below = page.evaluate(COLOR, "--page")
    series = [contrast(page.evaluate(COLOR, f"--series-{number}"), below) for number in (1, 2)]
    assert min(series) >= GRAPHIC_CONTRAST_MIN


def test_drawings_have_no_colour_but_those_of_the_scheme(open_page: Open) -> None:
    script = "all => all.flatMap(e => [e.getAttribute('fill'), e.getAttribute('stroke')])"
    used = set(open_page().page.eval_on_selector_all("svg *", script))
    fixed = {color for color in used if color and not color.startswith("var(--")}
    assert fixed <= {"none", "transparent"}


def test_every_drawing_has_a_name_a_description_and_a_table(open_page: Open) -> None:
    page = open_page(viewport={"width": 1280, "height": 900}).page
    articles = page.locator("article:has(svg)")
    for number in range(articles.count()):
        article = articles.nth(number)
        svg = article.locator("svg.wide")
        name = article.locator("h3").inner_text()
        described = svg.locator("desc").text_content()
        sentence = article.locator("p.finding").inner_text()
        assert svg.get_attribute("role") == "img"
        assert (svg.locator("title").text_content(), described) == (name, sentence)
        assert article.locator("details table tbody tr").count() > 0


def test_long_identifier_wraps_and_is_whole_in_the_table(open_page: Open) -> None:
    page = open_page(viewport={"width": 390, "height": 900}).page
    page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    cell = page.locator("#best_sellers tbody th", has_text=LONG[:50])
    box = cell.bounding_box()
    assert box is not None
    assert (cell.inner_text(), box["width"] < 390) == (LONG, True)


# --------------------------------------------------------------------------------------- on paper
def test_paper_is_light_and_has_drawings_but_no_navigation(open_page: Open) -> None:
    page = open_page(color_scheme="dark").page
    page.emulate_media(media="print")
    paper = page.evaluate(COLOR, "--page")
    assert paper == [255, 255, 255]
    assert page.locator("nav").is_visible() is False
    assert page.locator("svg:visible").count() == page.locator(".chart").count()


def test_page_prints_without_cutting_a_figure(open_page: Open) -> None:
    page = open_page().page
    printed = page.pdf(prefer_css_page_size=True)
    page.emulate_media(media="print")
    rule = "all => all.every(a => getComputedStyle(a).breakInside === 'avoid')"
    assert (printed[:5], page.eval_on_selector_all("article", rule)) == (b"%PDF-", True)


def test_head_says_what_of_when_and_whether_it_agrees(open_page: Open) -> None:
    head = open_page().page.locator("header").inner_text()
    assert re.search(r"1 June 2011 to 3 October 2011", head)
    assert "1 January 2026, 00:01:30 UTC" in head
    assert "everything agrees" in head
    assert SCRIPT not in head


def test_page_is_built_of_what_assistive_technology_knows(open_page: Open) -> None:
    page = open_page().page
    counts = {
        what: page.locator(what).count()
        for what in ("html[lang=en]", "h1", "header", "main", "footer", "nav[aria-label]")
    }
    lacking = [
        "table:not(:has(caption))",
        "thead th:not([scope=col])",
        "tbody tr:not(:has(> th))",
        "tbody th:not([scope=row])",
        "section:not([aria-label], [aria-labelledby])",
    ]
    assert set(counts.values()) == {1}
    assert {what: page.locator(what).count() for what in lacking} == dict.fromkeys(lacking, 0)
