"""docs/queries.md as data: what fills its warehouse, and each question with its SQL and answer."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

FILE = Path(__file__).parents[1] / "docs" / "queries.md"
Row: TypeAlias = tuple[str, ...]

_SECTION = re.compile(r"^## (\d+)\. (.*)$", re.MULTILINE)
_SQL = re.compile(r"^```sql\n(.*?)^```\n+", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(?:^\|.*\|\n)+\n", re.MULTILINE)


class Question(NamedTuple):
    """A section of the page; `answer` begins with the names of the columns."""

    number: int
    title: str
    sql: str
    answer: Sequence[Row]


class Page(NamedTuple):
    """The page; additions to the sample come batch by batch."""

    settings: Mapping[str, str]
    additions: Sequence[Sequence[bytes]]
    setup: str
    questions: Sequence[Question]


def read() -> Page:
    """Parse the page."""
    start, *parts = _SECTION.split(FILE.read_text(encoding="utf-8"))
    sections = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    batches = _block(start, "json").strip().split("\n\n")
    return Page(
        {name.lower(): value for name, value in re.findall(r"TILLSTREAM_(\w+)=(\S+)", start)},
        [batch.encode().splitlines() for batch in batches],
        _block(start, "sql"),
        [_question(int(number), title, body) for number, title, body in sections],
    )


def write_answers(answers: Mapping[int, Sequence[Row]]) -> None:
    """Put answers under their questions; leave everything else as it is."""
    start, *parts = _SECTION.split(FILE.read_text(encoding="utf-8"))
    text = start
    for number, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        sql = _SQL.search(body)
        assert sql is not None, title
        rest = _TABLE.sub("", body[sql.end() :], count=1)
        text += f"## {number}. {title}{body[: sql.end()]}{_table(answers[int(number)])}\n{rest}"
    FILE.write_text(text, encoding="utf-8")


def _block(text: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, language
    return found.group(1)


def _question(number: int, title: str, body: str) -> Question:
    found = _TABLE.search(body, _sql_end(body))
    lines = found.group().strip().splitlines() if found else []
    rows = [tuple(cell.strip() for cell in line[1:-1].split("|")) for line in lines]
    return Question(number, title, _block(body, "sql"), rows[:1] + rows[2:])


def _sql_end(body: str) -> int:
    found = _SQL.search(body)
    return found.end() if found else 0


def _table(rows: Sequence[Row]) -> str:
    head, *values = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *values))
