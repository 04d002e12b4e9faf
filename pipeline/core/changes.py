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

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import orjson

from pipeline.core.events import CHANGE_MAX, FIELD_BYTES_MAX
from pipeline.core.fingerprint import partition_key
from pipeline.core.instants import LATEST, format_instant, parse_instant, read_instant
from pipeline.core.positions import SEQUENCE_DIGITS_MAX
from pipeline.core.reasons import FactReason

SCHEMA_VERSION = 1
COMBO_IDS_MAX = 100
"""Combos listed on one transaction; the count goes on.

Keeps a row of a bulk sale readable and small.
"""


_INTEGER_MAX = 2**63 - 1


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
def to_wire(fact: Fact) -> bytes:
    """Encode a fact for the stream: `type`, `schema_version`, its fields; instants as RFC 3339."""
    return orjson.dumps(_write_row(fact) if isinstance(fact, ChangeRecorded) else _write(fact))


def _write_row(row: ChangeRecorded) -> dict[str, object]:
    """Spell the commonest fact out, for speed: tests hold it to the general way."""
    return {
        "type": "ChangeRecorded",
        "schema_version": SCHEMA_VERSION,
        "location": row[0],
        "transaction_id": row[1],
        "product_id": row[2],
        "base_product_id": row[3],
        "category": row[4],
        "change": row[5],
        "timestamp": format_instant(row[6]),
        "source": row[7],
        "shard_id": row[8],
        "sequence_number": str(row[9]),  # 129 digits fit no JSON number
        "sub_sequence_number": row[10],
        "ingested_at": format_instant(row[11]),
    }


def _write(effect: Effect) -> dict[str, object]:
    fields: dict[str, object] = {
        "type": type(effect).__name__,
        "schema_version": SCHEMA_VERSION,
        **effect._asdict(),
    }
    if isinstance(effect, ComboChanged):
        fields["paired_at"] = format_instant(effect.paired_at)
    return fields


def from_wire(data: bytes) -> Fact | FactRejected:
    """Decode a fact. Never raises: a foreign record on the stream must not stop a sink.

    What it returns, every sink can hold: no NUL, no endless key or number. A sink that found out
    by failing would fail for good.
    """
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError:
        return FactRejected(FactReason.BAD_FACT)
    if not isinstance(fields, dict):
        return FactRejected(FactReason.BAD_FACT)
    read = _READERS.get(str(fields.get("type")))
    if read is None:
        return FactRejected(FactReason.UNKNOWN_FACT)
    if fields.get("schema_version") != SCHEMA_VERSION:
        return FactRejected(FactReason.UNSUPPORTED_SCHEMA)
    try:
        return read(fields)
    except (KeyError, TypeError, ValueError):
        return FactRejected(FactReason.BAD_FACT)


def _text(value: Any) -> str:
    if type(value) is not str or len(value.encode()) > FIELD_BYTES_MAX or "\0" in value:
        raise TypeError("text")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) > _INTEGER_MAX:
        raise TypeError("integer")
    return value


def _units(value: Any) -> int:
    if type(value) is not int or abs(value) > CHANGE_MAX:
        raise TypeError("units")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("flag")
    return value


def _sequence(value: Any) -> int:
    if not _text(value).isdecimal() or not value.isascii() or len(value) > SEQUENCE_DIGITS_MAX:
        raise ValueError("sequence number")
    return int(value)


def _moment(value: Any, read: Callable[[str], int] = parse_instant) -> int:
    instant = read(_text(value))
    if instant > LATEST:
        raise ValueError("instant")
    return instant


def _ids(value: Any) -> tuple[str, ...]:
    if type(value) is not list or len(value) > COMBO_IDS_MAX:
        raise TypeError("list")
    return tuple(map(_text, value))


def _recorded(fields: dict[str, Any]) -> ChangeRecorded:
    return ChangeRecorded(
        _text(fields["location"]),
        _text(fields["transaction_id"]),
        _text(fields["product_id"]),
        _text(fields["base_product_id"]),
        _text(fields["category"]),
        _units(fields["change"]),
        _moment(fields["timestamp"]),
        _text(fields["source"]),
        _text(fields["shard_id"]),
        _sequence(fields["sequence_number"]),
        _integer(fields["sub_sequence_number"]),
        _moment(fields["ingested_at"], read_instant),
    )


def _annotated(fields: dict[str, Any]) -> ChangeAnnotated:
    return ChangeAnnotated(
        _text(fields["location"]),
        _text(fields["transaction_id"]),
        _ids(fields["combo_ids"]),
        _integer(fields["combo_count"]),
        _flag(fields["late"]),
        _integer(fields["revision"]),
    )


def _combo(fields: dict[str, Any]) -> ComboChanged:
    return ComboChanged(
        _text(fields["combo_id"]),
        _text(fields["location"]),
        _text(fields["base_product_id"]),
        _text(fields["jacket_transaction_id"]),
        _text(fields["pants_transaction_id"]),
        _moment(fields["paired_at"]),
        _units(fields["quantity"]),
        _units(fields["voided"]),
        ComboStatus(_text(fields["status"])),
        _integer(fields["revision"]),
    )


def _stock(fields: dict[str, Any]) -> StockChanged:
    return StockChanged(
        _text(fields["location"]),
        _text(fields["product_id"]),
        _integer(fields["on_hand"]),
        _integer(fields["revision"]),
    )


_READERS: dict[str, Callable[[dict[str, Any]], Fact]] = {
    "ChangeRecorded": _recorded,
    "ChangeAnnotated": _annotated,
    "ComboChanged": _combo,
    "StockChanged": _stock,
}


# ---------------------------------------------------------------------------------- the outbox
_ANNOTATION, _COMBO, _STOCK = range(3)
_STATUSES = tuple(ComboStatus)


def pack(effects: Sequence[Effect]) -> bytes:
    """Encode effects compactly; `unpack` gives them back. Empty in, empty out."""
    if not effects:
        return b""
    table: dict[str, int] = {}
    return orjson.dumps([_pack_rows(effects, table), list(table)])


def _pack_rows(effects: Iterable[Effect], table: dict[str, int]) -> list[list[Any]]:
    def refer(text: str) -> int:
        return table.setdefault(text, len(table))

    rows: list[list[Any]] = []
    for effect in effects:
        if isinstance(effect, StockChanged):
            rows.append([_STOCK, refer(effect[0]), refer(effect[1]), *effect[2:]])
        elif isinstance(effect, ChangeAnnotated):
            rows.append([_ANNOTATION, refer(effect[0]), refer(effect[1]), *effect[3:]])
            rows[-1].append([refer(combo_id) for combo_id in effect.combo_ids])
        else:
            status = _STATUSES.index(effect.status)
            rows.append([_COMBO, *map(refer, effect[:5]), *effect[5:8], status, effect.revision])
    return rows


def unpack(packed: bytes) -> tuple[Effect, ...]:
    """Decode what `pack` wrote."""
    if not packed:
        return ()
    rows, table = orjson.loads(packed)
    return tuple(_unpack_row(row, table) for row in rows)


def _unpack_row(row: list[Any], table: list[str]) -> Effect:
    kind, *values = row
    if kind == _STOCK:
        location, product_id, on_hand, revision = values
        return StockChanged(table[location], table[product_id], on_hand, revision)
    if kind == _ANNOTATION:
        location, transaction_id, count, late, revision, ids = values
        combo_ids = tuple(table[at] for at in ids)
        return ChangeAnnotated(
            table[location], table[transaction_id], combo_ids, count, late, revision
        )
    *texts, paired_at, quantity, voided, status, revision = values
    combo_id, location, base, jacket, pants = (table[at] for at in texts)
    return ComboChanged(
        *(combo_id, location, base, jacket, pants),
        *(paired_at, quantity, voided),
        _STATUSES[status],
        revision,
    )
