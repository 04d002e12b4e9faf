"""Why a record can be refused: a closed set of codes, each with an example that earns it.

The codes are part of the wire contract: quarantine objects, metrics and exports carry them, so one
may be added but none renamed. `EXAMPLES` is documentation that a test runs.
"""

from enum import StrEnum


class Reason(StrEnum):
    """The code of the first check that failed, in the order in which the checks run."""

    BAD_AGGREGATE = "bad_aggregate"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    BAD_ENCODING = "bad_encoding"
    MALFORMED_JSON = "malformed_json"
    DUPLICATE_KEY = "duplicate_key"
    NOT_OBJECT = "not_object"
    MISSING_FIELD = "missing_field"
    BAD_TYPE = "bad_type"
    EMPTY_FIELD = "empty_field"
    BAD_UNICODE = "bad_unicode"
    CONTROL_CHAR = "control_char"
    PADDED = "padded"
    TOO_LONG = "too_long"
    UNKNOWN_CATEGORY = "unknown_category"
    UNKNOWN_SOURCE = "unknown_source"
    ZERO_CHANGE = "zero_change"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIMESTAMP = "bad_timestamp"
    NAIVE_TIMESTAMP = "naive_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"


class FactReason(StrEnum):
    """Why a record on the internal stream could not be used."""

    BAD_FACT = "bad_fact"
    UNKNOWN_FACT = "unknown_fact"
    UNSUPPORTED_SCHEMA = "unsupported_schema"
    REFUSED_VALUE = "refused_value"
    """A fact, but the warehouse refuses a value in it."""


def _event(**overrides: str) -> bytes:
    fields = {
        "location": '"GB-1"',
        "transaction_id": '"t-1"',
        "product_id": '"J1"',
        "base_product_id": '"1"',
        "category": '"jacket"',
        "change": "-1",
        "timestamp": '"2011-06-01T07:45:46Z"',
        "source": '"POS"',
    } | overrides
    return ("{" + ",".join(f'"{k}":{v}' for k, v in fields.items()) + "}").encode()


EXAMPLES: dict[Reason, bytes] = {
    Reason.BAD_AGGREGATE: b"\xf3\x89\x9a\xc2 a KPL magic with no valid body behind it",
    Reason.EMPTY: b" \r\n",
    Reason.TOO_LARGE: _event(note='"' + "x" * 65_536 + '"'),
    Reason.BAD_ENCODING: b'{"location":"\xff"}',
    Reason.MALFORMED_JSON: b'{"change":NaN}',
    Reason.DUPLICATE_KEY: _event(note='{"a":1,"a":2}'),
    Reason.NOT_OBJECT: b"[]",
    Reason.MISSING_FIELD: b"{}",
    Reason.BAD_TYPE: _event(change="-1.0"),
    Reason.EMPTY_FIELD: _event(location='""'),
    Reason.BAD_UNICODE: _event(product_id='"\\ud800"'),
    Reason.CONTROL_CHAR: _event(transaction_id='"a\\u0000b"'),
    Reason.PADDED: _event(base_product_id='" 1"'),
    Reason.TOO_LONG: _event(location='"' + "x" * 257 + '"'),
    Reason.UNKNOWN_CATEGORY: _event(category='"socks"'),
    Reason.UNKNOWN_SOURCE: _event(source='"fax"'),
    Reason.ZERO_CHANGE: _event(change="0"),
    Reason.OUT_OF_RANGE: _event(change="-100001"),
    Reason.BAD_TIMESTAMP: _event(timestamp='"2011-06-31T07:45:46Z"'),
    Reason.NAIVE_TIMESTAMP: _event(timestamp='"2011-06-01T07:45:46"'),
    Reason.FUTURE_TIMESTAMP: _event(timestamp='"9999-12-31T23:59:59Z"'),
}
