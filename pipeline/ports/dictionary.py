"""What the warehouse says of itself: its relations and functions, with their comments."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

RelationKind: TypeAlias = Literal["table", "partitioned table", "view", "materialized view"]
Caller: TypeAlias = Literal["everybody", "loader", "owner"]
"""Who may call a function: any login, those who load and the owner, or the owner alone."""


class Column(NamedTuple):
    """A column; `meaning` is its comment as written, of any characters, or empty."""

    name: str
    type: str
    nullable: bool | None
    """None where the catalogue does not say: for views, stored or not."""
    key: int | None
    """Its place in the key, from 1; None if it is not part of it."""
    meaning: str


class Relation(NamedTuple):
    """A table or a view; a partition is part of its table and none itself."""

    name: str
    kind: RelationKind
    meaning: str
    partitioned_by: str | None
    reads: Sequence[str]
    """What a view is computed from, by name."""
    for_analysts: bool
    columns: Sequence[Column]


class Function(NamedTuple):
    """A function that has a comment; one without is the schema's own business."""

    name: str
    arguments: str
    returns: str
    meaning: str
    callers: Caller


class Described(NamedTuple):
    """The schema; both sorted by name, by code point."""

    relations: Sequence[Relation]
    functions: Sequence[Function]


class Dictionary(Protocol):
    """The schema as one login meets it; read-only, from one committed state.

    There is none in memory: a store without a catalogue has nothing to describe.
    """

    def read(self) -> Described:
        """Return what this login may read and call.

        Raises SystemFault if that is nothing at all: an empty dictionary would look like a true
        one.
        """
