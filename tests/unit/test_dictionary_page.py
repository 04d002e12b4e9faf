"""The dictionary's page shows names and comments as they are, whatever is in them."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from consumers.dictionary import code, escaped, page
from pipeline.ports.dictionary import Column, Described, Function, Relation, RelationKind

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
NASTY = st.text(
    st.sampled_from("ab1_*`|<>&\\[](){}#+-=.!~:;\"'/ $") | st.characters(exclude_categories=["C"])
)


def shown(html: str) -> str:
    """Return what a reader sees."""
    return unescape(re.sub(r"<[^>]*>", "", html))


def relation(name: str, kind: RelationKind = "table", meaning: str = "") -> Relation:
    """Make one with a column."""
    column = Column("it", "text", kind != "view" or None, None, meaning)
    return Relation(name, kind, meaning, None, [], kind == "view", [column])


@given(NASTY)
def test_a_comment_is_shown_as_text_in_a_paragraph(text: str) -> None:
    html = MARKDOWN.render(escaped(text))
    assert shown(html).split() == text.split()
    assert set(re.findall(r"<(\w+)", html)) <= {"p"}


@given(NASTY, NASTY)
def test_comments_and_names_are_shown_as_text_in_a_table(name: str, text: str) -> None:
    html = MARKDOWN.render(f"| a | b |\n| --- | --- |\n| {code(name)} | {escaped(text)} |\n")
    cells = re.findall(r"<td>(.*?)</td>", html, re.DOTALL)
    assert len(cells) == 2
    assert shown(cells[1]).split() == text.split()
    if name.strip():
        assert shown(cells[0]).split() == name.split()


@pytest.mark.parametrize(
    "text",
    [
        "1. first", "2) second", "# head", "- point", "+ point", "= rule", "&lt;b&gt;", "<b>",
        "<!-- hidden", "a | b", "snake_case_", "_said_", "*said*", "~~gone~~", "`code`",
        "\\*both\\*", "[a](b)", "![a](b)",
    ],
)  # fmt: skip
def test_what_looks_like_markup_is_text(text: str) -> None:
    html = MARKDOWN.render(escaped(text))
    assert (shown(html).strip(), re.findall(r"<(\w+)", html)) == (text, ["p"])


def test_relations_stand_in_the_order_of_their_use() -> None:
    kinds: dict[str, RelationKind] = {
        "stored_x": "materialized view",
        "a_table": "table",
        "sales": "view",
        "dim_x": "table",
        "stock_level": "table",
        "fact_x": "partitioned table",
    }
    text = page(Described([relation(name, kind) for name, kind in kinds.items()], []))
    assert re.findall(r"^### `(\w+)`$", text, re.MULTILINE) == [*kinds][::-1]


def test_what_analysts_cannot_read_says_so() -> None:
    text = page(Described([relation("stored_x", "materialized view"), relation("v", "view")], []))
    assert re.findall(r"### `(\w+)`\n\n\*\*Not for analysts", text) == ["stored_x"]


def test_a_view_has_no_columns_that_its_catalogue_cannot_fill() -> None:
    text = page(Described([relation("v", "view")], []))
    assert "| column | type | meaning |" in text


def test_functions_stand_last_with_who_may_call_them() -> None:
    add = Function("add", "a integer", "integer", "Adds.", "owner")
    text = page(Described([relation("fact_x")], [add]))
    assert text.endswith("| `add(a integer)` | integer | the owner | Adds. |\n")
