"""Every number that a reader sees is what SQL answers."""

import re
from collections.abc import Iterable

import pytest

from tests.report.conftest import Open
from tests.report.expected import FIGURES, LOCATION_HOURS, TABLES
from tests.warehouse_facts import ask

pytestmark = pytest.mark.browser

OVER_TIME = {"sales_over_time", "combos_over_time", "attach_rate"}
NOTHING = {"0", "–"}
READ = """
() => Array.from(document.querySelectorAll('[data-figure]'), each => {
    each.closest('details')?.setAttribute('open', '');
    return [each.dataset.figure, each.innerText];
})
"""
"""Opens the tables first: what is not shown has no text."""
Rows = list[tuple[str, ...]]


@pytest.fixture(scope="module")
def shown(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """Every figure of the page, as it is read there; a minus as SQL writes it."""
    browser, file = request.getfixturevalue("browser"), request.getfixturevalue("file")
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    read = page.evaluate(READ)
    context.close()
    return [(name, text.replace("\N{MINUS SIGN}", "-")) for name, text in read]


def rows_of(shown: Iterable[tuple[str, str]], table: str) -> Rows:
    """Put a table's cells together."""
    rows: dict[int, list[str]] = {}
    for name, text in shown:
        if match := re.fullmatch(rf"{table}\.(\d+)\.\w+", name):
            rows.setdefault(int(match[1]), []).append(text)
    return [tuple(rows[number]) for number in sorted(rows)]


@pytest.mark.parametrize("table", [name for name in TABLES if name not in OVER_TIME])
def test_table_is_what_sql_answers(
    table: str, shown: list[tuple[str, str]], warehouse: str
) -> None:
    assert rows_of(shown, table) == ask(warehouse, TABLES[table])


@pytest.mark.parametrize("table", sorted(OVER_TIME))
def test_table_over_time_has_what_happened_and_zeros_between(
    table: str, shown: list[tuple[str, str]], warehouse: str
) -> None:
    rows = rows_of(shown, table)
    answered = ask(warehouse, TABLES[table])
    happened = [row for row in rows if row in answered]
    others = {cell for row in rows if row not in answered for cell in row[1:]}
    assert (happened, others) == (answered, others & NOTHING)


def test_heat_map_has_every_hour_of_every_shop_and_the_others_together(
    shown: list[tuple[str, str]], warehouse: str
) -> None:
    read: dict[tuple[str, int], str] = {}
    for name, text in shown:
        if match := re.fullmatch(r"location_hours\.(\d+)\.(\w+)", name):
            if match[2] == "location":
                location = text
            elif text != "0":
                read[location, int(match[2])] = text
    assert read == {(name, hour): units for name, hour, units in ask(warehouse, LOCATION_HOURS)}


@pytest.mark.parametrize("name", FIGURES)
def test_number_in_a_sentence_is_what_sql_answers(
    name: str, shown: list[tuple[str, str]], warehouse: str
) -> None:
    assert {text for each, text in shown if each == name} == {ask(warehouse, FIGURES[name])[0][0]}


def test_no_number_on_the_page_is_left_unchecked(shown: list[tuple[str, str]]) -> None:
    tables = "|".join([*TABLES, "location_hours"])
    unknown = {name for name, _ in shown if not re.fullmatch(rf"({tables})\.\d+\.\w+", name)}
    assert unknown == set(FIGURES)


def test_no_number_stands_outside_of_what_is_checked(open_page: Open) -> None:
    # Dates of the head are `time`, identifiers `bdi`; drawings are held to their tables.
    script = """
    () => {
        document.querySelectorAll('[data-figure], bdi, time, svg, script, style, thead')
            .forEach(each => each.remove());
        return document.body.textContent;
    }
    """
    assert re.findall(r"\d+", open_page().page.evaluate(script)) == []


DRAWN = ("locations", "categories", "best_sellers", "stock_falls", "top_pairs", "combo_gap")
NUMBER = {"locations": 1, "categories": 1, "best_sellers": 2, "top_pairs": 3}
"""The column that is drawn; else the last but one, or the last."""


@pytest.mark.parametrize("table", DRAWN)
def test_drawing_has_the_numbers_of_its_table(table: str, open_page: Open, warehouse: str) -> None:
    page = open_page(viewport={"width": 1280, "height": 900}).page
    drawn = page.eval_on_selector_all(
        f"#{table} svg.wide text", "all => all.map(t => t.textContent)"
    )
    column = NUMBER.get(table, 2)
    numbers = [row[column] for row in ask(warehouse, TABLES[table])]
    texts = [text.replace("\N{MINUS SIGN}", "-") for text in drawn]
    assert [text for text in texts if text in set(numbers)] == numbers
