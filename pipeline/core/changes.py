"""The facts: what the pipeline tells the world, and the effects that carry them.

Four kinds travel on `inventory-changes`, at least once and in any order. `ChangeRecorded` is
immutable. The other three are *effects* of folds: upserts on a deterministic key, each with a
revision, so that emitting one twice, or late from a worker that lost its lease, changes nothing:
the higher revision wins.

Two encodings. `to_wire` is the public one: one JSON object, named fields, `schema_version`. `pack`
is the private one of the outbox inside a keyed state: positional, every string once (a straggler
can touch a thousand pairs of 256-byte identifiers, and the item must stay under DynamoDB's 400
KB).
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import orjson

from pipeline.core.fingerprint import partition_key
from pipeline.core.instants import format_instant, parse_instant
from pipeline.core.reasons import FactReason

SCHEMA_VERSION = 1
COMBO_IDS_MAX = 100
"""Combos listed on one transaction; the count goes on.

Keeps a row of a bulk sale readable and small.
"""


class ComboStatus(StrEnum):
    """Active: units stand. Cancelled: returns took all.

    Retracted: a late arrival paired others instead.
    """

    ACTIVE = "active"
    CANCELLED = "cancelled"
    RETRACTED = "retracted"


class ChangeRecorded(NamedTuple):
    """One accepted event as the change log keeps it. Instants are microseconds since 1970."""

    location: str
    transaction_id: str
    product_id: str
    base_product_id: str
    category: str
    change: int
    instant: int
    source: str
    shard_id: str
    sequence: int
    sub: int
    ingested_at: int


class ChangeAnnotated(NamedTuple):
    """What the combo fold knows of one transaction.

    The earliest standing combos, how many, and lateness.
    """

    location: str
    transaction_id: str
    combo_ids: tuple[str, ...]
    combo_count: int
    late: bool
    revision: int


class ComboChanged(NamedTuple):
    """One combo as it stands now; replaces whatever an older revision said."""

    combo_id: str
    location: str
    base_product_id: str
    jacket_transaction_id: str
    pants_transaction_id: str
    paired_at: int
    quantity: int
    voided: int
    status: ComboStatus
    revision: int


class StockChanged(NamedTuple):
    """The stock level of one product at one location after a change."""

    location: str
    product_id: str
    on_hand: int
    revision: int


Effect: TypeAlias = ChangeAnnotated | ComboChanged | StockChanged
Fact: TypeAlias = ChangeRecorded | Effect


class FactRejected(NamedTuple):
    """A record on the internal stream that is no fact of ours."""

    reason: FactReason


def effect_key(effect: Effect) -> tuple[str, ...]:
    """Name what an effect replaces."""
    if isinstance(effect, ComboChanged):
        return "combo", effect.combo_id
    if isinstance(effect, ChangeAnnotated):
        return "annotation", effect.location, effect.transaction_id
    return "stock", effect.location, effect.product_id


def merge(older: Iterable[Effect], newer: Iterable[Effect]) -> tuple[Effect, ...]:
    """Keep one effect per key, the one of the higher revision."""
    kept: dict[tuple[str, ...], Effect] = {}
    for effect in (*older, *newer):
        key = effect_key(effect)
        if key not in kept or kept[key].revision <= effect.revision:
            kept[key] = effect
    return tuple(kept.values())


def fact_partition_key(fact: Fact) -> str:
    """Choose the partition key: facts of one combo key together; only speed may depend on it."""
    if isinstance(fact, ChangeRecorded | ComboChanged):
        return partition_key(fact.location, fact.base_product_id)
    if isinstance(fact, ChangeAnnotated):
        return partition_key(fact.location, fact.transaction_id)
    return partition_key(fact.location, fact.product_id)


# ---------------------------------------------------------------------------------- the wire
_TYPES: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (ChangeRecorded, ChangeAnnotated, ComboChanged, StockChanged)
}
_RENAMED = {"instant": "timestamp", "sequence": "sequence_number", "sub": "sub_sequence_number"}
_INSTANTS = {"instant", "ingested_at", "paired_at"}


def to_wire(fact: Fact) -> bytes:
    """Encode a fact for the stream: `type`, `schema_version`, then its fields.

    Instants as RFC 3339.
    """
    fields: dict[str, object] = {
        "type": type(fact).__name__,
        "schema_version": SCHEMA_VERSION,
    }
    for name, value in zip(fact._fields, fact, strict=True):
        fields[_RENAMED.get(name, name)] = _wire_value(name, value)
    return orjson.dumps(fields)


def _wire_value(name: str, value: object) -> object:
    if name in _INSTANTS and isinstance(value, int):
        return format_instant(value)
    return str(value) if name == "sequence" else value  # 129 digits fit no JSON number


def from_wire(data: bytes) -> Fact | FactRejected:
    """Decode a fact. Never raises: a foreign record on the stream must not stop a sink."""
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError:
        return FactRejected(FactReason.BAD_FACT)
    if not isinstance(fields, dict):
        return FactRejected(FactReason.BAD_FACT)
    cls = _TYPES.get(str(fields.get("type")))
    if cls is None:
        return FactRejected(FactReason.UNKNOWN_FACT)
    if fields.get("schema_version") != SCHEMA_VERSION:
        return FactRejected(FactReason.UNSUPPORTED_SCHEMA)
    try:
        fact: Fact = cls(*(_core_value(name, fields, cls) for name in cls._fields))
    except (KeyError, TypeError, ValueError):
        return FactRejected(FactReason.BAD_FACT)
    return fact


def _core_value(name: str, fields: dict[str, Any], cls: type[Any]) -> object:
    value = fields[_RENAMED.get(name, name)]
    if name in _INSTANTS:
        return parse_instant(value)
    if name == "sequence":
        return int(value)
    if name == "status":
        return ComboStatus(value)
    if name == "combo_ids":
        return tuple(value)
    if type(value) is not cls.__annotations__[name]:
        raise TypeError(name)
    return value


# ---------------------------------------------------------------------------------- the outbox
_CODES: dict[type[Any], int] = {ChangeAnnotated: 0, ComboChanged: 1, StockChanged: 2}
_CLASSES = {code: cls for cls, code in _CODES.items()}
_STATUSES = tuple(ComboStatus)


def pack(effects: Sequence[Effect]) -> bytes:
    """Encode effects compactly; `unpack` gives them back. Empty in, empty out."""
    if not effects:
        return b""
    table: dict[str, int] = {}

    def refer(value: object) -> object:
        if isinstance(value, ComboStatus):
            return _STATUSES.index(value)
        if isinstance(value, str):
            return table.setdefault(value, len(table))
        return [refer(item) for item in value] if isinstance(value, tuple) else value

    rows = [[_CODES[type(effect)], *map(refer, effect)] for effect in effects]
    return orjson.dumps([list(table), rows])


def unpack(packed: bytes) -> tuple[Effect, ...]:
    """Decode what `pack` wrote."""
    if not packed:
        return ()
    table, rows = orjson.loads(packed)
    return tuple(_unpack_row(table, row) for row in rows)


def _unpack_row(table: list[str], row: list[Any]) -> Effect:
    code, *values = row
    cls = _CLASSES[code]
    types = cls.__annotations__

    def resolve(name: str, value: Any) -> object:
        if types[name] is str:
            return table[value]
        if types[name] is ComboStatus:
            return _STATUSES[value]
        return tuple(table[i] for i in value) if isinstance(value, list) else value

    effect: Effect = cls(
        *(resolve(name, value) for name, value in zip(cls._fields, values, strict=True))
    )
    return effect
