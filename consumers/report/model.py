"""What a page is made of. The template writes nothing that is not here, and so does `--json`.

A number stands on the page under a name, wherever it stands: `data-figure` in the HTML, a key in
the JSON. Tests hold each of them against the warehouse.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from consumers.report.wording import Value, plain, shown

Spec: TypeAlias = dict[str, Any]


class Number(NamedTuple):
    """A value under a name."""

    name: str
    value: Value

    @property
    def text(self) -> str:
        """Write it for people."""
        return shown(self.value)


class Name(NamedTuple):
    """An identifier: opaque text from outside, kept apart from the words around it."""

    text: str


Sentence: TypeAlias = tuple[str | Number | Name, ...]


def say(words: str, *values: Number | Name) -> Sentence:
    """Put values where `{}` stands."""
    head, *tails = words.split("{}")
    parts: list[str | Number | Name] = [head]
    for value, tail in zip(values, tails, strict=True):
        parts += [value, tail]
    return tuple(parts)


def spoken(sentence: Sentence) -> str:
    """Write a sentence as plain text."""
    return "".join(part if isinstance(part, str) else part.text for part in sentence)


class Frame(NamedTuple):
    """How much room a chart has."""

    width: int
    narrow: bool


Chart: TypeAlias = Callable[[Frame], Spec]
"""Makes a Vega-Lite specification for a frame."""


class Column(NamedTuple):
    """A column of a table."""

    key: str
    heading: str
    numeric: bool = True


class Cell(NamedTuple):
    """A cell: how it is set, its name on the page, and its text."""

    kind: Literal["number", "when", "id"]
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, each headed by its first cell."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]

    def cells(self) -> Iterator[list[Cell]]:
        """Yield the rows, written out."""
        for number, row in enumerate(self.rows):
            yield [
                Cell(_kind(column, value), f"{self.name}.{number}.{column.key}", shown(value))
                for column, value in zip(self.columns, row, strict=True)
            ]

    def plain(self) -> list[dict[str, Any]]:
        """Return the rows for scripts."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, map(plain, row), strict=True)) for row in self.rows]


def _kind(column: Column, value: Value) -> Literal["number", "when", "id"]:
    if column.numeric:
        return "number"
    return "when" if isinstance(value, date) else "id"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing to see: in a sentence, as a chart, as a table, with what was left out of it."""

    name: str
    heading: str
    sentence: Sentence
    table: Table | None = None
    chart: Chart | None = None
    notes: tuple[Sentence, ...] = ()
    width: Literal["full", "half"] = "half"


@dataclass(frozen=True, slots=True)
class Check:
    """Two sums that must be equal, in words."""

    name: str
    says: str
    left: tuple[str, int]
    right: tuple[str, int]
    settled: bool = True

    @property
    def state(self) -> Literal["agrees", "differs", "waits"]:
        """Judge. What differs while facts are still on their way is no fault yet."""
        if self.left[1] == self.right[1]:
            return "agrees"
        return "differs" if self.settled else "waits"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What somebody else found who compared the stores row by row, and handed in."""

    agrees: bool
    sentence: Sentence
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    name: str
    heading: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Control totals, and the comparison of the stores where there was one."""

    checks: tuple[Check, ...]
    comparison: Comparison | None

    @property
    def state(self) -> Literal["agrees", "differs", "waits"]:
        """Judge all of it by its worst."""
        states = {check.state for check in self.checks}
        if "differs" in states or (self.comparison is not None and not self.comparison.agrees):
            return "differs"
        return "waits" if "waits" in states else "agrees"


@dataclass(frozen=True, slots=True)
class Key:
    """A figure at the top of the page."""

    label: str
    number: Number
    beside: Sentence = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that is on the page."""

    location: str | None
    sees_all: bool
    first_day: date | None
    last_day: date | None
    generated_at: datetime
    refreshed_at: datetime | None
    keys: tuple[Key, ...]
    sections: tuple[Section, ...]
    reconciliation: Reconciliation

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to draw."""
        return self.first_day is None

    def figures(self) -> Iterator[Figure]:
        """Yield every figure."""
        for section in self.sections:
            yield from section.figures


def as_json(page: Page) -> dict[str, Any]:
    """Return every number on the page, for scripts."""
    checks, comparison = page.reconciliation.checks, page.reconciliation.comparison
    sentences = [f.sentence for f in page.figures()] + [n for f in page.figures() for n in f.notes]
    if comparison is not None:
        sentences.append(comparison.sentence)
    sentences += [(key.number, *key.beside) for key in page.keys]
    return {
        "location": page.location,
        "first_day": plain(page.first_day),
        "last_day": plain(page.last_day),
        "generated_at": plain(page.generated_at),
        "reports_stored_at": plain(page.refreshed_at),
        "figures": dict(_numbers(sentences)),
        "tables": {f.table.name: f.table.plain() for f in page.figures() if f.table is not None},
        "checks": [_check(check) for check in checks],
        "stores_agree": None if comparison is None else comparison.agrees,
        "reconciliation": page.reconciliation.state,
    }


def _numbers(sentences: Iterable[Sentence]) -> Iterator[tuple[str, Any]]:
    for sentence in sentences:
        for part in sentence:
            if isinstance(part, Number):
                yield part.name, plain(part.value)


def _check(check: Check) -> Mapping[str, Any]:
    sides = {"left": check.left[1], "right": check.right[1]}
    return {"name": check.name, **sides, "state": check.state}
