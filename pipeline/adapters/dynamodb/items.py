"""How core values look as DynamoDB items, and back.

By hand: boto3's serializer guesses, and is slow.
"""

from typing import Any

from pipeline.adapters.dynamodb.writes import Attributes
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    from_wire,
    to_wire,
)
from pipeline.core.claims import Claim, Holder
from pipeline.core.errors import SystemFault
from pipeline.core.instants import SECOND, format_instant, read_instant
from pipeline.core.positions import parse_position
from pipeline.core.step import event_of, row_of

Item = dict[str, Any]
_ANNOTATION = frozenset({"combo", "late", "revision"})


def text(value: str) -> Item:
    """Write a string attribute."""
    return {"S": value}


def number(value: int) -> Item:
    """Write a number attribute of at most 38 digits."""
    return {"N": str(value)}


def claim_item(claim: Claim, ttl_us: int | None) -> Item:
    """Write a claim: fingerprint, position, and the whole event as its row would say it."""
    item = {
        "fingerprint": text(claim.fingerprint),
        "position": text(claim.position.text()),
        "event": text(to_wire(row_of(claim)).decode()),
    }
    if ttl_us is not None:
        item["expires_at"] = number((claim.arrival + ttl_us) // SECOND)
    return item


def claim_holder(item: Attributes) -> Holder:
    """Read who holds a claim."""
    return Holder(item["fingerprint"]["S"], parse_position(item["position"]["S"]))


def item_claim(item: Attributes) -> Claim:
    """Read a claim whole. Raises SystemFault if what it holds is no event."""
    identity = item["transaction_id"]["S"]
    row = from_wire(item["event"]["S"].encode())
    if not isinstance(row, ChangeRecorded):
        raise SystemFault(f"the claim of {identity!r} holds no event")
    holder = claim_holder(item)
    return Claim(identity, event_of(row), holder.fingerprint, holder.position, row.ingested_at)


def row_item(row: ChangeRecorded) -> Item:
    """Write a change-log row, not annotated yet: revision 0 is below every annotation's."""
    item = {
        "product_id": text(row.product_id),
        "base_product_id": text(row.base_product_id),
        "category": text(row.category),
        "change": number(row.change),
        "timestamp": text(format_instant(row.instant)),
        "source": text(row.source),
        "combo": {"BOOL": False},
        "late": {"BOOL": False},
        "revision": number(0),
        "shard_id": text(row.shard_id),
        "sequence_number": text(str(row.sequence)),  # up to 129 digits; a number holds 38
        "ingested_at": text(format_instant(row.ingested_at)),
    }
    if row.sub:
        item["sub_sequence_number"] = number(row.sub)
    return item


def item_row(item: Attributes) -> ChangeRecorded:
    """Read the immutable part of a change-log row."""
    return ChangeRecorded(
        location=item["location"]["S"],
        transaction_id=item["transaction_id"]["S"],
        product_id=item["product_id"]["S"],
        base_product_id=item["base_product_id"]["S"],
        category=item["category"]["S"],
        change=int(item["change"]["N"]),
        instant=read_instant(item["timestamp"]["S"]),
        source=item["source"]["S"],
        shard_id=item["shard_id"]["S"],
        sequence=int(item["sequence_number"]["S"]),
        sub=int(item.get("sub_sequence_number", {"N": "0"})["N"]),
        ingested_at=read_instant(item["ingested_at"]["S"]),
    )


def annotation_free(row: ChangeRecorded) -> tuple[Item, tuple[str, ...]]:
    """Write the immutable part of a row that is there; return what to set and what to remove."""
    own = {name: value for name, value in row_item(row).items() if name not in _ANNOTATION}
    return own, () if row.sub else ("sub_sequence_number",)


def annotation_values(note: ChangeAnnotated) -> tuple[Item, tuple[str, ...]]:
    """Write an annotation; return what to set and what to remove."""
    values = {
        "combo": {"BOOL": bool(note.combo_ids)},
        "late": {"BOOL": note.late},
        "revision": number(note.revision),
    }
    removed = []
    if note.combo_ids:
        values["combo_id"] = text(note.combo_ids[0])
    else:
        removed.append("combo_id")
    if note.combo_count > 1:
        values["combo_ids"] = {"L": [text(combo_id) for combo_id in note.combo_ids]}
        values["combo_count"] = number(note.combo_count)
    else:
        removed += ["combo_ids", "combo_count"]
    return values, tuple(removed)


def item_annotation(item: Attributes) -> ChangeAnnotated | None:
    """Read the annotation of a row; None if it never had one."""
    revision = int(item["revision"]["N"])
    if not revision:
        return None
    single = [item["combo_id"]] if "combo_id" in item else []
    listed = item["combo_ids"]["L"] if "combo_ids" in item else single
    count = int(item["combo_count"]["N"]) if "combo_count" in item else len(single)
    combo_ids = tuple(combo_id["S"] for combo_id in listed)
    location, transaction_id = item["location"]["S"], item["transaction_id"]["S"]
    late = bool(item["late"]["BOOL"])
    return ChangeAnnotated(location, transaction_id, combo_ids, count, late, revision)


def combo_item(combo: ComboChanged) -> Item:
    """Write a combo, but for its key."""
    return {
        "location": text(combo.location),
        "base_product_id": text(combo.base_product_id),
        "jacket_transaction_id": text(combo.jacket_transaction_id),
        "pants_transaction_id": text(combo.pants_transaction_id),
        "paired_at": text(format_instant(combo.paired_at)),
        "quantity": number(combo.quantity),
        "voided": number(combo.voided),
        "status": text(combo.status),
        "revision": number(combo.revision),
    }


def item_combo(item: Attributes) -> ComboChanged:
    """Read a combo."""
    return ComboChanged(
        combo_id=item["combo_id"]["S"],
        location=item["location"]["S"],
        base_product_id=item["base_product_id"]["S"],
        jacket_transaction_id=item["jacket_transaction_id"]["S"],
        pants_transaction_id=item["pants_transaction_id"]["S"],
        paired_at=read_instant(item["paired_at"]["S"]),
        quantity=int(item["quantity"]["N"]),
        voided=int(item["voided"]["N"]),
        status=ComboStatus(item["status"]["S"]),
        revision=int(item["revision"]["N"]),
    )
