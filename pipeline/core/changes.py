"""The facts: what the pipeline tells the world, and the effects that carry them.

Five kinds travel on `inventory-changes`, at least once and in any order. Two are immutable, each
under the position of a delivery: `ChangeRecorded` of one that was accepted, `DeliveryRefused` of
any other, so that every delivery is told of exactly once in any sink. The other three are *effects*
of folds: upserts on a deterministic key, each with a revision, so that emitting one twice, or late
from a worker that lost its lease, changes nothing: the higher revision wins.

`to_wire` is the public encoding: one JSON object, named fields, `schema_version`. The private one,
of the outbox inside a keyed state, is `core.outbox`.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias, TypeVar

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


class RefusedAs(StrEnum):
    """Duplicate: the same came before. Conflict: another body came before, and stays.

    Rejected: no valid event.
    """

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"


class DeliveryRefused(NamedTuple):
    """One delivery that became no change.

    A rejected one has a reason, and nothing that an event would say (None): it may not even say it
    in JSON.
    """

    verdict: RefusedAs
    reason: str
    location: str | None
    transaction_id: str | None
    source: str | None
    instant: int | None
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
OneEffect = TypeVar("OneEffect", ChangeAnnotated, ComboChanged, Effect)
TableFact: TypeAlias = ChangeRecorded | Effect
"""What the tables hold too, and what can be told again from them."""
Fact: TypeAlias = TableFact | DeliveryRefused


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


def newer(held: OneEffect | None, offered: OneEffect) -> OneEffect:
    """Choose between two effects on one key, as every store does: the higher revision stands."""
    return offered if held is None or offered.revision > held.revision else held


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
    if isinstance(fact, DeliveryRefused):
        return partition_key(fact.shard_id, str(fact.sequence))
    return partition_key(fact.location, fact.product_id)


# ---------------------------------------------------------------------------------- the wire
def to_wire(fact: Fact) -> bytes:
    """Encode a fact for the stream: `type`, `schema_version`, its fields; instants as RFC 3339."""
    if isinstance(fact, ChangeRecorded):
        return orjson.dumps(_write_row(fact))
    return orjson.dumps(_write_refusal(fact) if isinstance(fact, DeliveryRefused) else _write(fact))


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


def _write_refusal(refused: DeliveryRefused) -> dict[str, object]:
    """Leave out what a rejected record does not say."""
    said = {
        "location": refused.location,
        "transaction_id": refused.transaction_id,
        "source": refused.source,
        "timestamp": None if refused.instant is None else format_instant(refused.instant),
    }
    return {
        **_header(refused),
        "verdict": refused.verdict,
        "reason": refused.reason,
        **{name: value for name, value in said.items() if value is not None},
        "shard_id": refused.shard_id,
        "sequence_number": str(refused.sequence),
        "sub_sequence_number": refused.sub,
        "ingested_at": format_instant(refused.ingested_at),
    }


def _header(fact: Fact) -> dict[str, object]:
    return {"type": type(fact).__name__, "schema_version": SCHEMA_VERSION}


def _write(effect: Effect) -> dict[str, object]:
    fields: dict[str, object] = {**_header(effect), **effect._asdict()}
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


def _refused(fields: dict[str, Any]) -> DeliveryRefused:
    verdict = RefusedAs(_text(fields["verdict"]))
    rejected = verdict is RefusedAs.REJECTED
    return DeliveryRefused(
        verdict,
        _text(fields["reason"]),
        None if rejected else _text(fields["location"]),
        None if rejected else _text(fields["transaction_id"]),
        None if rejected else _text(fields["source"]),
        None if rejected else _moment(fields["timestamp"]),
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
    "DeliveryRefused": _refused,
    "ChangeAnnotated": _annotated,
    "ComboChanged": _combo,
    "StockChanged": _stock,
}
