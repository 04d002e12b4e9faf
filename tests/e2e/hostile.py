"""Records that a pipeline must survive, each with what must become of it."""

import base64
from typing import NamedTuple

import orjson

from consumers.sources import RECORD_BYTES_MAX
from pipeline.core.reasons import EXAMPLES
from pipeline.core.records import KPL_MAGIC, UserRecord, write_aggregate


class Case(NamedTuple):
    """One line and its verdict."""

    data: bytes
    verdict: str


def event(transaction_id: str, **fields: object) -> bytes:
    """Write one good event, but for the fields given."""
    good = {
        "location": "H-1",
        "transaction_id": transaction_id,
        "product_id": "J1",
        "base_product_id": "1",
        "category": "jacket",
        "change": -1,
        "timestamp": "2011-06-01T07:45:46Z",
        "source": "POS",
    }
    return orjson.dumps(good | fields)


def spread_aggregate() -> bytes:
    """Pack members that belong to many shards, one of them broken, one an aggregate itself."""
    members = [UserRecord(f"key-{n}", event(f"kpl-{n}")) for n in range(12)]
    inner = write_aggregate([UserRecord("a", event("inner"))])
    return write_aggregate([*members, UserRecord("x", b"broken"), UserRecord("y", inner)])


CASES = [
    *(Case(data, f"rejected:{reason}") for reason, data in EXAMPLES.items()),
    Case(event("first"), "accepted"),
    Case(event("first"), "duplicate"),
    Case(event("first", source="batch"), "duplicate"),
    Case(event("first", change=-2), "conflict"),
    Case(event("first", product_id="J2"), "conflict"),
    Case(event("elsewhere", location="H-2"), "accepted"),
    Case(event("elsewhere", location="H-3"), "conflict"),
    Case(event("name \U0001f454 'quoted' \\ % # / :"), "accepted"),
    Case(event("extra", note={"deep": [1, 2.5, None]}), "accepted"),
    Case(b' \t{"location":1}', "rejected:missing_field"),
    Case(b"[" * 100_000, "rejected:too_large"),
    Case(b"[" * 50_000, "rejected:malformed_json"),
    Case(b'{"a":' * 5_000, "rejected:malformed_json"),
    Case(b" " * 200_000, "rejected:empty"),
    Case(b"x" * (RECORD_BYTES_MAX + 1), "rejected:too_large"),
    Case(b"", "rejected:empty"),
    Case(b"\x00\x01\x02", "rejected:malformed_json"),
    Case(KPL_MAGIC, "rejected:bad_aggregate"),
    Case(spread_aggregate(), "accepted:12"),
    Case(write_aggregate([UserRecord("a", event("kpl-0"))]), "accepted:0"),
    Case(write_aggregate([]), "accepted:0"),
    Case(write_aggregate([UserRecord("a", b"x" * 60_000)] * 20), "rejected:too_large"),
    Case(KPL_MAGIC + b"x" * RECORD_BYTES_MAX, "rejected:bad_aggregate"),
    Case(event("last"), "accepted"),
]


def as_base64() -> bytes:
    """Write the cases as a .b64 file."""
    return b"".join(base64.b64encode(case.data) + b"\n" for case in CASES)
