"""What must hold of any bytes whatever. A broken claim raises `Broken`; what holds has a *trait*.

The oracle is `tests/reference_events.py`, which shares no line with the parser. A trait says in
what way an input was judged, down to the JSON library's own complaint: the fuzz keeps an input that
shows a new one, and so feels its way through compiled code that no coverage tool looks into.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import md5
from typing import Any, NamedTuple, TypeVar

import jiter
import orjson

from pipeline.core import events, records, step
from pipeline.core.events import PosEvent, Rejected
from pipeline.core.fingerprint import fingerprint
from pipeline.core.instants import EARLIEST, MINUTE, format_instant
from pipeline.core.positions import Position
from pipeline.core.reasons import Reason
from pipeline.core.records import KPL_MAGIC, Batch, HashRange, Record
from pipeline.core.step import Reading, Refusal
from tests import reference_events as reference
from tests.unit.traffic import ARRIVAL, RULES, fact

PLACE = Position("pos-events", "shardId-000000000000", 7)
RANGES = (HashRange(), HashRange(0, 2**127 - 1))
"""Every hash key, and the lower half: what a shard owns after a split."""
_FIELDS = ("", *reference.TEXTS, "change")
_Found = TypeVar("_Found")
_contract = lru_cache(1_024)(reference.read)  # one member is judged once for each range


class Trait(NamedTuple):
    """How an input was judged: the kind of verdict, and in what manner it came to it."""

    kind: str
    manner: str


class Broken(AssertionError):
    """A claim that some input breaks."""


def _claim(holds: object, says: str, *seen: object) -> None:
    if not holds:
        raise Broken(f"{says}: {' / '.join(map(repr, seen))[:600]}")


def _unraised(call: Callable[..., _Found], *arguments: Any) -> _Found:
    """Call what must not raise, panics of compiled code included."""
    try:
        return call(*arguments)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as fault:  # a panic of Rust code is no Exception
        raise Broken(f"{call.__qualname__} raised {fault!r}") from fault


# --------------------------------------------------------------------------------- the parser
def check_event(data: bytes) -> Trait:
    """Judge one user record; return its trait."""
    found = _unraised(events.parse, data, ARRIVAL, RULES)
    careful = _unraised(events._diagnose, data, ARRIVAL, RULES)
    _claim(found == careful, "the fast parser agrees with the careful one", found, careful)
    _agrees(found, _contract(data, ARRIVAL, RULES))
    if isinstance(found, PosEvent):
        _is_lawful(found)
        _is_read_back(found)
    return _trait(data, found)


def _agrees(found: PosEvent | Rejected, wanted: object) -> None:
    if isinstance(found, Rejected):
        closed = isinstance(found.reason, Reason) and found.field in _FIELDS
        _claim(closed, "a refusal names a known reason and field", found)
        _claim(found.reason.value == wanted, "the reason is the contract's", found, wanted)
    else:
        _claim(fact(found) == wanted, "what is accepted says what the till said", found, wanted)


def _is_lawful(event: PosEvent) -> None:
    """Check an accepted event against the rules themselves."""
    names = (event.location, event.transaction_id, event.product_id, event.base_product_id)
    for name in names:
        _claim(type(name) is str and 1 <= len(name.encode()) <= 256, "1 to 256 bytes", name)
        odd = any(unicodedata.category(char) == "Cc" for char in name)
        _claim(not odd and name == name.strip(), "no control characters, no white space", name)
    _claim(event.category in RULES.categories, "a known category", event)
    _claim(event.source in RULES.sources, "a known source", event)
    _claim(type(event.change) is int and 1 <= abs(event.change) <= 100_000, "a change", event)
    in_time = EARLIEST <= event.instant <= ARRIVAL + 5 * MINUTE
    _claim(type(event.instant) is int and in_time, "since 2000, and not of the future", event)


def _is_read_back(event: PosEvent) -> None:
    """Write the event in its plainest form, and read the same event again."""
    fields = event.model_dump(exclude={"instant"})
    text = orjson.dumps(fields | {"timestamp": format_instant(event.instant)})
    again = _unraised(events.parse, text, ARRIVAL, RULES)
    _claim(again == event, "an event written again is read as the same", event, again)
    same = isinstance(again, PosEvent) and fingerprint(again) == fingerprint(event)
    _claim(same, "its fingerprint stays", event, again)


def _trait(data: bytes, found: PosEvent | Rejected) -> Trait:
    said = "accepted" if isinstance(found, PosEvent) else f"{found.reason} {found.field}"
    try:
        jiter.from_json(data, catch_duplicate_keys=True, allow_inf_nan=False)
        complaint = ""
    except ValueError as fault:
        complaint = re.sub(r"\d+|`.*`|'.*'|\".*\"", "_", str(fault), flags=re.DOTALL)
    spelling = "plain" if data.isascii() else "wide"
    if b"\\" in data:
        spelling += " escaped"
    return Trait(f"{said}: {complaint}", f"{spelling} {len(data).bit_length() // 3}")


# --------------------------------------------------------------------------------- aggregates
def check_record(data: bytes) -> Trait:
    """Judge one Kinesis record, in a shard that owns every hash key and in one that does not."""
    (kind, manner), half = (_judge(Record(data, PLACE, ARRIVAL), owned) for owned in RANGES)
    return Trait(kind, f"{manner} {half.kind}")


def _judge(whole: Record, owned: HashRange) -> Trait:
    reading = _unraised(step.read, Batch(PLACE.shard_id, [whole], owned), RULES)
    is_aggregate = whole.data.startswith(KPL_MAGIC)
    bad = Reading([], [Refusal("rejected", Reason.BAD_AGGREGATE, "", whole)], 0)
    if is_aggregate and not _checksum_holds(whole.data):
        _claim(reading == bad, "a broken checksum is one bad aggregate", reading)
        return Trait("checksum", "")
    try:
        members = reference.open_aggregate(whole.data, owned)
    except reference.Refused as refused:
        _claim(reading == bad, f"one {refused}, and nothing of it is read", reading)
        return Trait(_complaint(whole.data), "")
    if members is None:
        _claim(reading == Reading([], [], 1), "an aggregate out of range is dropped", reading)
        return Trait("dropped", "")
    reasons = _members_are_kept(reading, members, whole)
    if is_aggregate:
        _members_are_read_back(whole.data)
    kind = f"{'aggregate' if is_aggregate else 'plain'} of {min(len(members), 3)}"
    return Trait(f"{kind}, {min(len(reasons), 2)} refused", " ".join(sorted(set(reasons))))


def _checksum_holds(data: bytes) -> bool:
    body, digest = data[len(KPL_MAGIC) : -16], data[-16:]
    return len(data) >= 20 and md5(body, usedforsecurity=False).digest() == digest


def _members_are_kept(reading: Reading, members: Sequence[bytes], whole: Record) -> list[str]:
    """Check that every member comes out once, in its place, judged as it would be alone."""
    delivered = [delivery.record for delivery in reading.deliveries]
    refused = [refusal.record for refusal in reading.refusals]
    for some in (delivered, refused):
        subs = [record.position.sub for record in some]
        _claim(subs == sorted(set(subs)), "sub-sequence numbers increase", subs)
    kept = sorted(delivered + refused, key=lambda record: record.position.order)
    wanted = [
        Record(member, whole.position._replace(sub=sub), whole.arrival)
        for sub, member in enumerate(members)
    ]
    _claim(kept == wanted and not reading.dropped, "nothing is lost", kept, wanted)
    for claim, record in reading.deliveries:
        _claim(claim.position == record.position, "a claim stands where its record does", claim)
        _agrees(claim.event, _contract(record.data, record.arrival, RULES))
    for kind, reason, field, record in reading.refusals:
        _claim(kind == "rejected" and reason != Reason.BAD_AGGREGATE, "a member stays closed", kind)
        wanted_reason = _contract(record.data, record.arrival, RULES)
        _agrees(Rejected(Reason(reason), field), wanted_reason)
    return [refusal.reason for refusal in reading.refusals]


def _members_are_read_back(data: bytes) -> None:
    found = _unraised(records.read_aggregate, data)
    again = _unraised(records.read_aggregate, records.write_aggregate(found))
    _claim(again == found, "members written again are read as the same", found, again)


def _complaint(data: bytes) -> str:
    try:
        records.read_aggregate(data)
    except records.BadAggregate as fault:
        return str(fault)
    return "refused"
