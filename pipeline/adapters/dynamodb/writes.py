"""Conditional writes, and the `conditional_writes = single` mode: one call an item.

Every write of this project is one of four: insert if absent, compare-and-set on a version, raise a
revision on an item that is there, raise it or insert. The tables know only `ConditionalWriter`;
`batches` serves the same four over PartiQL, which is why guards are data and not expressions.

An answer that was lost is an answer "not yet": the same write offered again finds its own effect,
fails its guard, and the caller reads back what holds.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from pipeline.adapters._aws import Aws, error_code, translated
from pipeline.core.errors import SystemFault

Attributes: TypeAlias = Mapping[str, Any]
"""Attribute values in DynamoDB's own form: {"name": {"S": "text"}}."""


class Outcome(Enum):
    """What became of one write."""

    WRITTEN = "written"
    REFUSED = "refused"


class Guard(NamedTuple):
    """When a write may act. `attribute` is the version or revision.

    For `absent`, a key attribute. An item that is there has the attribute, always.
    """

    kind: Literal["absent", "equals", "below", "absent_or_below"]
    attribute: str
    value: int = 0


class Write(NamedTuple):
    """Set these attributes, and remove those, on the item of this key."""

    table: str
    key: Attributes
    values: Attributes
    guard: Guard
    removed: tuple[str, ...] = ()


class ConditionalWriter(Protocol):
    """Guarded writes, each for itself; those of one item act in the order given.

    The bulk is not atomic: where one fault is raised, the other writes may have been done.
    """

    def write(self, writes: Sequence[Write]) -> Sequence[Outcome | None]:
        """Try every write; None where the outcome is not known: offer the write again.

        Raises SystemFault for an error that no waiting mends.
        """


def in_turns(
    writes: Sequence[Write], act: Callable[[list[Write]], Sequence[Outcome | None]]
) -> list[Outcome | None]:
    """Act on groups that hold no item twice: the n-th write of an item is in the n-th group."""
    turns: list[list[int]] = []
    before: Counter[tuple[str, ...]] = Counter()
    for number, write in enumerate(writes):
        item = write.table, *(text for value in write.key.values() for text in value.values())
        if before[item] == len(turns):
            turns.append([])
        turns[before[item]].append(number)
        before[item] += 1
    outcomes: list[Outcome | None] = [None] * len(writes)
    for turn in turns:
        for number, outcome in zip(turn, act([writes[n] for n in turn]), strict=True):
            outcomes[number] = outcome
    return outcomes


_CONDITIONS = {
    "absent": "attribute_not_exists(#g)",
    "equals": "#g = :g",
    "below": "#g < :g",
    "absent_or_below": "attribute_not_exists(#g) OR #g < :g",
}


class SingleWrites:
    """PutItem and UpdateItem with a condition, several in flight."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def write(self, writes: Sequence[Write]) -> Sequence[Outcome | None]:
        """Try every write on its own."""
        return in_turns(writes, lambda turn: self._aws.fan.each(self._one, turn))

    def _one(self, write: Write) -> Outcome:
        request = _put(write) if write.guard.kind == "absent" else _update(write)
        dynamodb = self._aws.dynamodb
        try:
            with translated(f"write to {write.table}"):
                if write.guard.kind == "absent":
                    dynamodb.put_item(**request)
                else:
                    dynamodb.update_item(**request)
        except SystemFault as fault:
            if error_code(fault) == "ConditionalCheckFailedException":
                return Outcome.REFUSED
            raise
        return Outcome.WRITTEN


def _put(write: Write) -> dict[str, Any]:
    return {
        "TableName": write.table,
        "Item": {**write.key, **write.values},
        "ConditionExpression": _CONDITIONS["absent"],
        "ExpressionAttributeNames": {"#g": write.guard.attribute},
    }


def _update(write: Write) -> dict[str, Any]:
    names = {"#g": write.guard.attribute}
    values: dict[str, Any] = {":g": {"N": str(write.guard.value)}}
    settings = []
    for at, (name, value) in enumerate(write.values.items()):
        names[f"#v{at}"], values[f":v{at}"] = name, value
        settings.append(f"#v{at} = :v{at}")
    expression = "SET " + ", ".join(settings)
    if write.removed:
        names |= {f"#r{at}": name for at, name in enumerate(write.removed)}
        expression += " REMOVE " + ", ".join(f"#r{at}" for at in range(len(write.removed)))
    return {
        "TableName": write.table,
        "Key": write.key,
        "UpdateExpression": expression,
        "ConditionExpression": _CONDITIONS[write.guard.kind],
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
