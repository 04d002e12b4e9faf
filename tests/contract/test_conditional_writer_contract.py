"""The contract of `ConditionalWriter`, kept alike by single calls and by batches."""

from typing import Any

import pytest

from pipeline.adapters.dynamodb.items import number, text
from pipeline.adapters.dynamodb.reads import get_all
from pipeline.adapters.dynamodb.writes import Attributes, Guard, Outcome, Write
from pipeline.bootstrap import AwsPorts
from tests.stacks import fresh, table

WRITTEN, REFUSED = Outcome.WRITTEN, Outcome.REFUSED


def write(ports: AwsPorts, name: str, kind: Any, value: int, to: int) -> Write:
    key = {"state_key": text(name)}
    guard = Guard(kind, "state_key" if kind == "absent" else "version", value)
    return Write(table(ports, "keyed_state"), key, {"version": number(to)}, guard)


def stored(ports: AwsPorts, name: str) -> Attributes | None:
    key = {"state_key": text(name)}
    found, _ = get_all(ports.aws, table(ports, "keyed_state"), [key])
    return found[0] if found else None


def versioned(name: str, version: int) -> Attributes:
    return {"state_key": text(name), "version": number(version)}


@pytest.mark.parametrize(
    ("kind", "value", "outcome"),
    [
        ("absent", 0, WRITTEN),
        ("equals", 5, REFUSED),
        ("below", 5, REFUSED),
        ("absent_or_below", 5, WRITTEN),
    ],
)
def test_where_nothing_is(aws_ports: AwsPorts, kind: str, value: int, outcome: Outcome) -> None:
    name = fresh("key")
    assert aws_ports.writer.write([write(aws_ports, name, kind, value, 7)]) == [outcome]
    assert stored(aws_ports, name) == (versioned(name, 7) if outcome is WRITTEN else None)


@pytest.mark.parametrize(
    ("kind", "value", "outcome"),
    [
        ("absent", 0, REFUSED),
        ("equals", 4, REFUSED),
        ("equals", 5, WRITTEN),
        ("equals", 6, REFUSED),
        ("below", 5, REFUSED),
        ("below", 6, WRITTEN),
        ("below", 10, WRITTEN),
        ("absent_or_below", 5, REFUSED),
        ("absent_or_below", 6, WRITTEN),
    ],
)
def test_where_version_5_is(aws_ports: AwsPorts, kind: str, value: int, outcome: Outcome) -> None:
    name = fresh("key")
    aws_ports.writer.write([write(aws_ports, name, "absent", 0, 5)])
    assert aws_ports.writer.write([write(aws_ports, name, kind, value, 7)]) == [outcome]
    assert stored(aws_ports, name) == versioned(name, 7 if outcome is WRITTEN else 5)


def test_attributes_are_removed_and_others_kept(aws_ports: AwsPorts) -> None:
    name = fresh("key")
    first = write(aws_ports, name, "absent", 0, 1)
    more = {"kept": text("k"), "one": text("1"), "two": text("2")}
    second = write(aws_ports, name, "equals", 1, 2)._replace(removed=("one", "two", "never there"))
    aws_ports.writer.write([first._replace(values={**first.values, **more}), second])
    assert stored(aws_ports, name) == {**versioned(name, 2), "kept": text("k")}


def test_writes_of_one_item_act_in_their_order(aws_ports: AwsPorts) -> None:
    name = fresh("key")
    asked = [("absent", 0, 1), ("equals", 1, 2), ("equals", 1, 9), ("absent_or_below", 3, 3)]
    writes = [write(aws_ports, name, *one) for one in asked]
    assert aws_ports.writer.write(writes) == [WRITTEN, WRITTEN, REFUSED, WRITTEN]
    assert stored(aws_ports, name) == versioned(name, 3)


def test_outcomes_come_in_the_order_of_the_writes(aws_ports: AwsPorts) -> None:
    names = [fresh("key") for _ in range(60)]
    aws_ports.writer.write([write(aws_ports, name, "absent", 0, 1) for name in names[::3]])
    writes = [write(aws_ports, name, "absent", 0, 1) for name in names]
    assert aws_ports.writer.write(writes) == [REFUSED, WRITTEN, WRITTEN] * 20
