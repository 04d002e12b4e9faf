"""Events: what a till may say, and the parser that never raises.

Two parsers read the same contract. The fast one (jiter for the JSON, one pydantic model for the
fields) only ever says yes. Whatever it does not take goes through `_diagnose`, which runs the
checks one by one in the documented order, and either accepts after all or names the first that
failed. The slow parser *is* the contract; the fast one is an optimisation that must agree with it,
which a property test checks.

Why two: pydantic alone keeps the last of two duplicate keys in silence, jiter refuses a lone
surrogate even in a field nobody reads, and neither reports in the contract's order; one careful
parser in Python would cost several times the fold behind it.
"""

import json
import re
from typing import Annotated, Any, NamedTuple

import jiter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from pipeline.core.instants import LATEST, MINUTE, BadTimestamp, NaiveTimestamp, parse_instant
from pipeline.core.reasons import Reason
from pipeline.core.rules import Rules

EVENT_BYTES_MAX = 64 * 1024
"""Per user record. Thirty times the largest honest event,
small enough that a batch fits in memory.
"""
FIELD_BYTES_MAX = 256
"""Of a string field, in UTF-8.

Keeps every composite key inside DynamoDB's 2,048 and 1,024 byte limits.
"""
CHANGE_MAX = 100_000
"""Units in one line item; above it somebody scanned a barcode into the quantity."""
NESTING_MAX = 200
"""Containers inside containers, the outer object included."""
FUTURE_ALLOWANCE_US = 5 * MINUTE
"""How far a till's clock may run ahead of the record's arrival at Kinesis."""

_JSON_SPACE = b" \t\n\r"
_BOM = b"\xef\xbb\xbf"
_JSON_STRING = re.compile(r'"(?:[^"\\]+|\\.)*+"?', re.DOTALL)  # an open one too: linear
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # exactly Unicode category Cc
_HUGE = (
    10**30
)  # stands for an integer of more digits than anyone reads; only its sign and size matter


def _instant(text: object) -> int:
    if not isinstance(text, str) or len(text) > FIELD_BYTES_MAX:
        raise ValueError("not a timestamp")
    return parse_instant(text)


Identifier = Annotated[
    str,
    StringConstraints(
        max_length=FIELD_BYTES_MAX, pattern=r"^[^\p{Cc}\s](?:[^\p{Cc}]*[^\p{Cc}\s])?$"
    ),
]


class PosEvent(BaseModel):
    """One line item that a till sold, took back or received.

    Identifiers are opaque: equal only if equal code point by code point. `change` is negative for
    units that left. `instant` is microseconds since 1970 UTC, read from the wire's `timestamp`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    location: Identifier
    transaction_id: Identifier
    product_id: Identifier
    base_product_id: Identifier
    category: str
    change: Annotated[int, Field(ge=-CHANGE_MAX, le=CHANGE_MAX)]
    instant: Annotated[int, BeforeValidator(_instant), Field(validation_alias="timestamp")]
    source: str


class Rejected(NamedTuple):
    """A record that could not be used, why, and which field was at fault (empty.

    The whole record).
    """

    reason: Reason
    field: str = ""


_validate = PosEvent.__pydantic_validator__.validate_python
_TEXT_FIELDS = (
    "location",
    "transaction_id",
    "product_id",
    "base_product_id",
    "category",
    "timestamp",
    "source",
)
_FIELDS = (*_TEXT_FIELDS, "change")


def parse(data: bytes, arrival: int, rules: Rules) -> PosEvent | Rejected:
    """Read one user record. Never raises, whatever the bytes.

    `arrival` is its Kinesis arrival instant.
    """
    event = _fast(data)
    if event is not None:
        fault = _meaning(event.category, event.source, event.change, rules)
        if fault is None and _in_time(event.instant, arrival) is None:
            return event
    return _diagnose(data, arrival, rules)


def _fast(data: bytes) -> PosEvent | None:
    """Accept what is plainly good; None means "look closer", never "bad"."""
    if len(data) > EVENT_BYTES_MAX:
        return None
    if len(data) > NESTING_MAX and data.count(b"[") + data.count(b"{") > NESTING_MAX:
        return None  # jiter's own limit is counted differently
    try:
        fields = jiter.from_json(data, catch_duplicate_keys=True, allow_inf_nan=False)
        event: PosEvent = _validate(fields)
    except ValueError:
        return None
    if not data.isascii() or b"\\" in data:  # otherwise a character is a byte, and max_length held
        texts = (
            event.location,
            event.transaction_id,
            event.product_id,
            event.base_product_id,
        )
        if any(len(text.encode()) > FIELD_BYTES_MAX for text in texts):
            return None
    return event


def _meaning(category: str, source: str, change: int, rules: Rules) -> Rejected | None:
    """Check what the values mean, in the contract's order."""
    if category not in rules.categories:
        return Rejected(Reason.UNKNOWN_CATEGORY, "category")
    if source not in rules.sources:
        return Rejected(Reason.UNKNOWN_SOURCE, "source")
    if change == 0:
        return Rejected(Reason.ZERO_CHANGE, "change")
    if abs(change) > CHANGE_MAX:
        return Rejected(Reason.OUT_OF_RANGE, "change")
    return None


def _in_time(instant: int, arrival: int) -> Rejected | None:
    if instant > min(arrival + FUTURE_ALLOWANCE_US, LATEST):  # past 9999 nothing can be written
        return Rejected(Reason.FUTURE_TIMESTAMP, "timestamp")
    return None


def _diagnose(data: bytes, arrival: int, rules: Rules) -> PosEvent | Rejected:
    """Run every check in the documented order; the first that fails names the reason."""
    fields = _decode(data)
    if isinstance(fields, Rejected):
        return fields
    fault = _shape(fields) or next(
        filter(None, (_text_fault(name, fields[name]) for name in _TEXT_FIELDS)), None
    )
    return fault or _values(fields, arrival, rules)


def _decode(data: bytes) -> dict[str, Any] | Rejected:
    if not data.strip(_JSON_SPACE):
        return Rejected(Reason.EMPTY)
    if len(data) > EVENT_BYTES_MAX:
        return Rejected(Reason.TOO_LARGE)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return Rejected(Reason.BAD_ENCODING)
    if data.startswith(_BOM):
        return Rejected(Reason.BAD_ENCODING)
    if _nesting(text) > NESTING_MAX:
        return Rejected(Reason.MALFORMED_JSON)
    repeated: list[str] = []
    try:
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: _object(pairs, repeated),
            parse_int=_bounded_int,
            parse_constant=_refuse_constant,
        )
    except ValueError:
        return Rejected(Reason.MALFORMED_JSON)
    if repeated:
        return Rejected(Reason.DUPLICATE_KEY, repeated[0] if repeated[0] in _FIELDS else "")
    return value if isinstance(value, dict) else Rejected(Reason.NOT_OBJECT)


def _nesting(text: str) -> int:
    """Measure depth without recursion.

    The standard parser would exhaust the stack on what this refuses.
    """
    depth = deepest = 0
    for char in _JSON_STRING.sub("", text):
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]], repeated: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            repeated.append(key)
        found[key] = value
    return found


def _bounded_int(digits: str) -> int:
    """Read an integer; Python refuses text of more than 4,300 digits, JSON does not."""
    if len(digits) <= 20:
        return int(digits)
    return -_HUGE if digits[0] == "-" else _HUGE


def _refuse_constant(name: str) -> float:
    raise ValueError(name)  # NaN and the infinities are not JSON


def _shape(fields: dict[str, Any]) -> Rejected | None:
    for name in _FIELDS:
        if name not in fields:
            return Rejected(Reason.MISSING_FIELD, name)
    for name in _TEXT_FIELDS:
        if not isinstance(fields[name], str):
            return Rejected(Reason.BAD_TYPE, name)
    if type(fields["change"]) is not int:  # bool is an int in Python, and not in JSON
        return Rejected(Reason.BAD_TYPE, "change")
    return None


def _text_fault(name: str, text: str) -> Rejected | None:
    if not text:
        return Rejected(Reason.EMPTY_FIELD, name)
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        return Rejected(Reason.BAD_UNICODE, name)
    if _CONTROL.search(text):
        return Rejected(Reason.CONTROL_CHAR, name)
    if text.strip() != text:
        return Rejected(Reason.PADDED, name)
    if len(encoded) > FIELD_BYTES_MAX:
        return Rejected(Reason.TOO_LONG, name)
    return None


def _values(fields: dict[str, Any], arrival: int, rules: Rules) -> PosEvent | Rejected:
    fault = _meaning(fields["category"], fields["source"], fields["change"], rules)
    if fault is not None:
        return fault
    try:
        instant = parse_instant(fields["timestamp"])
    except BadTimestamp:
        return Rejected(Reason.BAD_TIMESTAMP, "timestamp")
    except NaiveTimestamp:
        return Rejected(Reason.NAIVE_TIMESTAMP, "timestamp")
    checked = {name: fields[name] for name in _FIELDS} | {"timestamp": instant}
    return _in_time(instant, arrival) or PosEvent.model_construct(**checked)
