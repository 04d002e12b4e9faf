"""The data dictionary as a page: what the warehouse says of itself, in Markdown.

Comments and names come from a database, so each is text to be shown and never markup: whatever has
a meaning in Markdown or HTML is escaped. Only what a name cannot say is known here: which tables
are facts although they are not called so, and what each section is for.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from consumers.exports import Json
from pipeline.ports.dictionary import Column, Described, Function, Relation

HEAD = """# Data dictionary

What is in the schema `inventory` of the warehouse, in the words of the schema's own comments:
change those and not this page, which `tillstream warehouse dictionary` writes.

A login that `location_access` names sees its own locations alone, in tables and in views. `key` is
a column's place in the primary key; in a stored report, in what makes a row unique.
"""
ALSO_FACTS = frozenset({"change_annotation", "stock_level"})
CALLERS = {
    "everybody": "everybody",
    "loader": "`tillstream_etl_writer`, the owner",
    "owner": "the owner",
}
# What CommonMark, its tables, HTML and GitHub's formulas give a meaning to. An underscore inside a
# word has none.
_MARKUP = re.compile(r"[\\`*\[\]<>|&~$]|(?<![^\W_])_|_(?![^\W_])")
# What makes a heading, a list or a rule of a line that begins so.
_BLOCK = re.compile(r"^(\d*)([#+=:.)-])")
_BACKTICKS = re.compile(r"`+")


class Section(NamedTuple):
    """A part of the page; it has what no section before it has taken."""

    title: str
    use: str
    takes: Callable[[Relation], bool]


SECTIONS = (
    Section(
        "Facts",
        "What happened, and where it led.",
        lambda relation: relation.name.startswith("fact_") or relation.name in ALSO_FACTS,
    ),
    Section(
        "Dimensions",
        "What facts happened to. A member appears with the first fact that names it.",
        lambda relation: relation.name.startswith("dim_"),
    ),
    Section("Views for analysts", "What to ask first.", lambda relation: relation.kind == "view"),
    Section(
        "Bookkeeping",
        "How far the warehouse is, and who may see what.",
        lambda relation: relation.kind != "materialized view",
    ),
    Section(
        "Stored reports",
        "What views are computed from. Not for analysts, who cannot read them: only the views leave"
        " out the locations that a login may not see.",
        lambda relation: True,
    ),
)


def page(described: Described) -> str:
    """Write the page; the same schema gives the same text."""
    blocks = [HEAD.rstrip("\n")]
    left = list(described.relations)
    for section in SECTIONS:
        mine = sorted(filter(section.takes, left), key=lambda r: r.name in ALSO_FACTS)
        left = [relation for relation in left if relation not in mine]
        if mine:
            blocks += [f"## {section.title}", section.use, _links(mine)]
            for relation in mine:
                blocks += _relation(relation)
    if described.functions:
        blocks += ["## Functions", _functions(described.functions)]
    return "\n\n".join(blocks) + "\n"


def plain(described: Described) -> Json:
    """Return the same for scripts, as the catalogue has it."""
    return {
        "relations": [
            relation._asdict() | {"columns": [column._asdict() for column in relation.columns]}
            for relation in described.relations
        ],
        "functions": [function._asdict() for function in described.functions],
    }


def escaped(text: str) -> str:
    """Return Markdown that shows this text, in a paragraph or in a cell of a table."""
    line = _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
    return _BLOCK.sub(r"\1\\\2", line)


def code(text: str) -> str:
    """Return a code span, in a paragraph or in a cell of a table; between longer fences than in it.

    A bar would end a cell even in a code span.
    """
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _links(relations: Iterable[Relation]) -> str:
    return ", ".join(f"[{escaped(r.name)}](#{r.name})" for r in relations)


def _relation(relation: Relation) -> list[str]:
    told = [escaped(relation.meaning), _about(relation), _table(relation)]
    return [f"### {code(relation.name)}", *filter(None, told)]


def _about(relation: Relation) -> str:
    """Say what is beside the comment; nothing of a plain table."""
    said = []
    if relation.partitioned_by is not None:
        said.append(f"Partitioned by {code(relation.partitioned_by)}.")
    if relation.reads:
        said.append(f"{relation.kind.capitalize()} over {', '.join(map(code, relation.reads))}.")
    if not relation.for_analysts:
        said.append("**Not for analysts.**")
    return " ".join(said)


def _table(relation: Relation) -> str:
    # Of a view the catalogue knows neither keys nor nulls; an empty column would look like a "no".
    said: dict[str, Callable[[Column], str]] = {
        "column": lambda column: code(column.name),
        "type": lambda column: escaped(column.type),
    }
    if any(column.nullable is not None for column in relation.columns):
        said["null"] = lambda column: "yes" if column.nullable else ""
    if any(column.key is not None for column in relation.columns):
        said["key"] = lambda column: "" if column.key is None else str(column.key)
    said["meaning"] = lambda column: escaped(column.meaning)
    rows = [[tell(column) for tell in said.values()] for column in relation.columns]
    return _rows([*said], rows)


def _functions(functions: Iterable[Function]) -> str:
    rows = [
        [
            code(f"{function.name}({function.arguments})"),
            escaped(function.returns),
            CALLERS[function.callers],
            escaped(function.meaning),
        ]
        for function in functions
    ]
    return _rows(["function", "returns", "for", "meaning"], rows)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
