"""What the inventory consumer's calls of DynamoDB cost, in read and write units.

A meter listens to a client and computes the units by the service's rules from what went over the
wire. Reported units alone would not do: emulators report none for BatchExecuteStatement, and the
service reports none for a failed condition that it charges. Where units are reported, a test holds
the computed ones to them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

from consumers.sources import Line
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, inventory_steps, memory_ports
from pipeline.core.instants import parse_instant
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record
from pipeline.settings import Settings
from tests.stacks import table

Item: TypeAlias = Mapping[str, Any]

WRITE_UNIT, READ_UNIT = 1024, 4096
"""Bytes. Source: DynamoDB developer guide, read and write request units."""
ARRIVAL = parse_instant("2026-01-01T00:00:00Z")
_NAMES = re.compile(r"""["'](\w+)["'] ?(?::|=|<) ?\?""")


class Charge(NamedTuple):
    """Something that is paid for: a table, or the indexes of one."""

    table: str
    kind: str
    """table or index: written; refused: not written; read; missed: read where nothing was."""


class Meter:
    """Sees every call of a client, and keeps in mind what each item holds."""

    def __init__(self, client: Any, keys: Mapping[str, tuple[str, ...]]) -> None:
        self.computed: Counter[Charge] = Counter()
        self.reported: Counter[Charge] = Counter()
        self._client, self._keys = client, keys
        self._items: dict[tuple[str, ...], Item] = {}
        self._indexes: dict[str, int] = {}
        self._lock = Lock()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count what is called in this block."""
        events = self._client.meta.events
        for name in self._keys:
            described = self._client.describe_table(TableName=name)["Table"]
            indexes = described.get("GlobalSecondaryIndexes", [])
            assert all(i["Projection"]["ProjectionType"] == "ALL" for i in indexes)
            self._indexes[name] = len(indexes)
        events.register("before-parameter-build.dynamodb", self._ask)
        events.register("after-call.dynamodb", self._answered)
        try:
            yield
        finally:
            events.unregister("before-parameter-build.dynamodb", self._ask)
            events.unregister("after-call.dynamodb", self._answered)

    def _ask(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "INDEXES"
        context["asked"] = params

    def _answered(self, parsed: Item, model: Any, context: dict[str, Any], **_: Any) -> None:
        handle = {
            "PutItem": self._put,
            "UpdateItem": self._update,
            "BatchExecuteStatement": self._statements,
            "BatchGetItem": self._get,
        }[model.name]
        with self._lock:
            handle(context["asked"], parsed)
            capacities = parsed.get("ConsumedCapacity") or []
            for one in capacities if isinstance(capacities, list) else [capacities]:
                self._report(one, "read" if model.name == "BatchGetItem" else "table")

    def _report(self, capacity: Item, kind: str) -> None:
        table = capacity["TableName"]
        self.reported[Charge(table, kind)] += capacity["Table"]["CapacityUnits"]
        for index in capacity.get("GlobalSecondaryIndexes", {}).values():
            self.reported[Charge(table, "index")] += index["CapacityUnits"]

    def _put(self, asked: Item, answer: Item) -> None:
        self._write(asked["TableName"], asked["Item"], "Error" not in answer)

    def _update(self, asked: Item, answer: Item) -> None:
        names, values = asked["ExpressionAttributeNames"], asked["ExpressionAttributeValues"]
        pairs = re.findall(r"(#v\d+) = (:v\d+)", asked["UpdateExpression"])
        changed = {**asked["Key"], **{names[name]: values[value] for name, value in pairs}}
        removed = [names[name] for name in re.findall(r"#r\d+", asked["UpdateExpression"])]
        before = self._items.get(self._place(asked["TableName"], changed), {})
        after = {n: v for n, v in {**before, **changed}.items() if n not in removed}
        self._write(asked["TableName"], after, "Error" not in answer)

    def _statements(self, asked: Item, answer: Item) -> None:
        for statement, response in zip(asked["Statements"], answer["Responses"], strict=True):
            text = statement["Statement"]
            table = text.split('"')[1]
            clauses = text.partition(" WHERE ")[0]
            width = len(statement["Parameters"])
            pairs = list(zip(_NAMES.findall(text), statement["Parameters"], strict=True))
            guards = 0 if text.startswith("INSERT") else 1  # the last one compares
            changed = dict(pairs[: width - guards])
            before = self._items.get(self._place(table, changed), {}) if guards else {}
            removed = re.findall(r'REMOVE "(\w+)"', clauses)
            after = {n: v for n, v in {**before, **changed}.items() if n not in removed}
            self._write(table, after, "Error" not in response)

    def _get(self, asked: Item, answer: Item) -> None:
        for name, wanted in asked["RequestItems"].items():
            for key in wanted["Keys"]:
                found = self._items.get(self._place(name, key), {})
                kind = "read" if found else "missed"
                self.computed[Charge(name, kind)] += _units(READ_UNIT, found)

    def _write(self, table: str, after: Item, done: bool) -> None:
        """Charge the larger image; a refused write too, and its indexes not."""
        place = self._place(table, after)
        units = _units(WRITE_UNIT, self._items.get(place, {}), after)
        self.computed[Charge(table, "table" if done else "refused")] += units
        if done:
            self.computed[Charge(table, "index")] += units * self._indexes[table]
            self._items[place] = after

    def _place(self, table: str, item: Item) -> tuple[str, ...]:
        return (table, *(item[name]["S"] for name in self._keys[table]))


def _units(unit: int, *images: Item) -> int:
    return max(1, *(-(-_size(image) // unit) for image in images))


def _size(item: Item) -> int:
    """Count an item as the service does. Source: developer guide, item sizes and formats."""
    return sum(len(name.encode()) + _value(value) for name, value in item.items())


def _value(value: Item) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        digits = len(content.strip("-0"))
        return (digits + 1) // 2 + (2 if content.startswith("-") else 1)
    if kind == "B":
        return len(bytes(content))
    if kind == "M":
        return 3 + len(content) + _size(content)
    if kind == "L":
        return 3 + len(content) + sum(map(_value, content))
    return 1


KEYS = {
    "processed_transactions": ("transaction_id",),
    "inventory_change_log": ("location", "transaction_id"),
    "inventory_combos": ("combo_id",),
    "keyed_state": ("state_key",),
    "stock_levels": ("location", "product_id"),
}


def metered(ports: AwsPorts) -> Meter:
    """Make a meter for an installation; it must see the first write of every item."""
    return Meter(ports.aws.dynamodb, {table(ports, name): keys for name, keys in KEYS.items()})


def measure(ports: AwsPorts, lines: Sequence[Line]) -> Meter:
    """Run deliveries that were never seen through the inventory steps, all in one shard.

    Streams, quarantine and checkpoints are left out.
    """
    clock, settings, meter = SystemClock(), Settings(), metered(ports)
    memory = memory_ports(settings, 1, clock.now)
    mixed: Any = SimpleNamespace(
        claims=ports.claims,
        change_log=ports.change_log,
        combos=ports.combos,
        states=ports.states,
        quarantine=memory.quarantine,
        changes=memory.changes,
    )
    steps = inventory_steps(settings, 0, mixed, clock)
    stream, size = table(ports, "pos-events"), settings.batch_records_max
    records = [Record(line.data, Position(stream, "s0", line.number), ARRIVAL) for line in lines]
    with meter.listening():
        for start in range(0, len(records), size):
            steps.process(Batch("s0", records[start : start + size]))
    return meter
