"""The wire contract, read a second time: plainly, slowly, without a line of the product's parser.

`read` says of one user record what the contract says of it, `open_aggregate` what is inside a KPL
aggregate. Nothing here may import a module that it judges: JSON, RFC 3339, protobuf and the
calendar are all written out, so that a mistake has to be made twice, in two ways, to go unseen.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from pipeline.core.rules import Rules

MINUTE = 60_000_000
DAY = 24 * 60 * MINUTE
EPOCH_2000 = 10_957 * DAY
MAGIC = bytes.fromhex("f3899ac2")
EVERY_HASH_KEY = (0, 2**128 - 1)
TEXTS = (
    "location",
    "transaction_id",
    "product_id",
    "base_product_id",
    "category",
    "timestamp",
    "source",
)


class Fact(NamedTuple):
    """A valid event; `instant` is microseconds since 1970."""

    location: str
    transaction_id: str
    product_id: str
    base_product_id: str
    category: str
    change: int
    instant: int
    source: str


class Refused(Exception):
    """The first check that failed."""


def read(data: bytes, arrival: int, rules: Rules) -> Fact | str:
    """Return the fact that a user record states, or the code of the first check that fails."""
    try:
        return _read(data, arrival, rules)
    except Refused as refused:
        return str(refused)


def _read(data: bytes, arrival: int, rules: Rules) -> Fact:
    fields = _fields(_text(data))
    for name in (*TEXTS, "change"):
        _check(name in fields, "missing_field")
    for name in TEXTS:
        _check(isinstance(fields[name], str), "bad_type")
    change = fields["change"]
    _check(isinstance(change, int) and not isinstance(change, bool), "bad_type")
    for name in TEXTS:
        _check_text(fields[name])
    _check(fields["category"] in rules.categories, "unknown_category")
    _check(fields["source"] in rules.sources, "unknown_source")
    _check(change != 0, "zero_change")
    _check(-100_000 <= change <= 100_000, "out_of_range")
    moment = instant(fields["timestamp"])
    _check(moment <= arrival + 5 * MINUTE, "future_timestamp")
    return Fact(
        fields["location"],
        fields["transaction_id"],
        fields["product_id"],
        fields["base_product_id"],
        fields["category"],
        change,
        moment,
        fields["source"],
    )


def _check(holds: bool, code: str) -> None:
    if not holds:
        raise Refused(code)


def _text(data: bytes) -> str:
    _check(any(byte not in b" \t\r\n" for byte in data), "empty")
    _check(len(data) <= 65_536, "too_large")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("bad_encoding") from None
    _check(not text.startswith("\ufeff"), "bad_encoding")
    return text


def _fields(text: str) -> dict[str, Any]:
    reader = _Json(text)
    value = reader.whole()
    _check(not reader.repeated, "duplicate_key")
    if not isinstance(value, dict):
        raise Refused("not_object")
    return value


def _check_text(text: str) -> None:
    _check(text != "", "empty_field")
    _check(not any(0xD800 <= ord(char) <= 0xDFFF for char in text), "bad_unicode")
    _check(all(unicodedata.category(char) != "Cc" for char in text), "control_char")
    _check(not text[0].isspace() and not text[-1].isspace(), "padded")
    _check(len(text.encode()) <= 256, "too_long")


# --------------------------------------------------------------------------------- RFC 3339
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LOCAL = re.compile("([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})([.][0-9]+)?")
_OFFSET = re.compile("([+-])([0-9]{2}):([0-9]{2})")


def instant(text: str) -> int:
    """Read a timestamp as microseconds since 1970. Raises Refused."""
    local = _LOCAL.match(text)
    if local is None:
        raise Refused("bad_timestamp")
    year, month, day, hour, minute, second = map(int, local.groups()[:6])
    _check(year >= 1 and 1 <= month <= 12, "bad_timestamp")
    _check(1 <= day <= _days_in(year, month), "bad_timestamp")
    _check(hour <= 23 and minute <= 59 and second <= 59, "bad_timestamp")
    fraction = ((local.group(7) or ".") + "000000")[1:7]
    moment = _days_before(year, month, day) * DAY + (hour * 60 + minute) * MINUTE
    moment += second * 1_000_000 + int(fraction) - _offset(text[local.end() :])
    _check(moment >= EPOCH_2000, "bad_timestamp")
    return moment


def _offset(text: str) -> int:
    if text == "Z":
        return 0
    _check(text != "", "naive_timestamp")
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise Refused("bad_timestamp")
    hours, minutes = int(match.group(2)), int(match.group(3))
    _check(hours <= 23 and minutes <= 59, "bad_timestamp")
    return (hours * 60 + minutes) * MINUTE * (1 if match.group(1) == "+" else -1)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_in(year: int, month: int) -> int:
    return _MONTH_DAYS[month - 1] + (month == 2 and _is_leap(year))


def _days_before(year: int, month: int, day: int) -> int:
    past = year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 - 719_162
    return days + sum(_days_in(year, m) for m in range(1, month)) + day - 1


# --------------------------------------------------------------------------------- RFC 8259
_NUMBER = re.compile("(-?(?:0|[1-9][0-9]*))([.][0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN = re.compile('[^"\\\\\x00-\x1f]*')
_HEX4 = re.compile("[0-9a-fA-F]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


class _Json:
    """A reader of one JSON text that notes whether any object repeats a key."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.repeated = text, 0, False

    def whole(self) -> Any:
        value = self._value(0)
        self._space()
        _check(self.at == len(self.text), "malformed_json")
        return value

    def _space(self) -> None:
        while self._next() in (" ", "\t", "\r", "\n"):
            self.at += 1

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, token: str) -> bool:
        self._space()
        found = self.text.startswith(token, self.at)
        self.at += len(token) * found
        return found

    def _need(self, token: str) -> None:
        _check(self._take(token), "malformed_json")

    def _value(self, depth: int) -> Any:
        if self._take('"'):
            return self._string()
        if self._take("{"):
            return self._object(depth + 1)
        if self._take("["):
            return self._array(depth + 1)
        for word, value in _WORDS.items():
            if self._take(word):
                return value
        return self._number()

    def _object(self, depth: int) -> dict[str, Any]:
        _check(depth <= 200, "malformed_json")
        found: dict[str, Any] = {}
        if self._take("}"):
            return found
        while True:
            self._need('"')
            key = self._string()
            self._need(":")
            self.repeated |= key in found
            found[key] = self._value(depth)
            if not self._take(","):
                self._need("}")
                return found

    def _array(self, depth: int) -> list[Any]:
        _check(depth <= 200, "malformed_json")
        found: list[Any] = []
        if self._take("]"):
            return found
        while True:
            found.append(self._value(depth))
            if not self._take(","):
                self._need("]")
                return found

    def _number(self) -> int | float:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise Refused("malformed_json")
        self.at = match.end()
        if match.group(2) or match.group(3):
            return 0.5  # some float: nobody reads which
        digits = match.group(1)
        return int(digits) if len(digits) < 30 else int(digits[:2] + "0" * 28)

    def _string(self) -> str:
        parts: list[str] = []
        while True:
            plain = _PLAIN.match(self.text, self.at)
            parts.append(plain.group() if plain else "")
            self.at += len(parts[-1])
            char = self._next()
            self.at += 1
            if char == '"':
                return "".join(parts)
            _check(char == "\\", "malformed_json")
            parts.append(self._escape())

    def _escape(self) -> str:
        char = self._next()
        self.at += 1
        if char != "u":
            _check(char in _ESCAPES, "malformed_json")
            return _ESCAPES[char]
        first = self._hex()
        if 0xD800 <= first <= 0xDBFF and self.text.startswith("\\u", self.at):
            here = self.at
            self.at += 2
            second = self._hex()
            if 0xDC00 <= second <= 0xDFFF:
                return chr(0x10000 + (first - 0xD800) * 0x400 + second - 0xDC00)
            self.at = here
        return chr(first)

    def _hex(self) -> int:
        match = _HEX4.match(self.text, self.at)
        if match is None:
            raise Refused("malformed_json")
        self.at += 4
        return int(match.group(), 16)


# --------------------------------------------------------------------------------- KPL aggregates
def open_aggregate(data: bytes, owned: tuple[int, int]) -> list[bytes] | None:
    """Return the user records of a record; None if the shard that owns these hash keys drops it.

    Raises Refused for a magic with anything but an aggregate behind it.
    """
    if data[:4] != MAGIC:
        return [data]
    body, digest = data[4:-16], data[-16:]
    _check(len(data) >= 20 and _md5(body) == digest, "bad_aggregate")
    top = _message(body)
    members, hash_keys = [], []
    for raw in top.get((3, _LENGTH), ()):
        entry = _message(raw, depth=1)
        _check((1, _VARINT) in entry and (3, _LENGTH) in entry, "bad_aggregate")
        key = _pick(top.get((1, _LENGTH), ()), entry[1, _VARINT][-1])
        indexes = entry.get((2, _VARINT), [])
        explicit = _pick(top.get((2, _LENGTH), ()), indexes[-1]) if indexes else None
        hash_keys.append(_hash_key(key, explicit))
        members.append(entry[3, _LENGTH][-1])
    return members if all(owned[0] <= key <= owned[1] for key in hash_keys) else None


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _pick(table: Sequence[Any], index: int) -> bytes:
    _check(index < len(table), "bad_aggregate")
    return bytes(table[index])


def _hash_key(key: bytes, explicit: bytes | None) -> int:
    """Hash the key as text, which is what the client library makes of it: odd bytes are U+FFFD."""
    if explicit is None:
        return int.from_bytes(_md5(key.decode("utf-8", "replace").encode()))
    _check(explicit != b"" and not explicit.strip(b"0123456789"), "bad_aggregate")
    digits = explicit.lstrip(b"0")
    _check(len(digits) <= 39 and int(digits or b"0") < 2**128, "bad_aggregate")
    return int(digits or b"0")


_VARINT, _FIXED64, _LENGTH, _GROUP, _END, _FIXED32 = range(6)
_Found: TypeAlias = dict[tuple[int, int], list[Any]]


def _message(data: bytes, depth: int = 0) -> _Found:
    """Decode one protobuf message into the values of each field number and wire type.

    A known number under another wire type is an unknown field: skipped, but it must be well formed.
    """
    found, at = _fields_of(data, 0, None, depth)
    _check(at == len(data), "bad_aggregate")
    return found


def _fields_of(data: bytes, at: int, group: int | None, depth: int) -> tuple[_Found, int]:
    """Decode fields up to the end of the data, or of the group; groups nest 100 deep at most.

    Number 0 is no field, and the decoder does not mind it inside a group, which nobody writes.
    """
    _check(depth <= 100, "bad_aggregate")
    found: _Found = {}
    while at < len(data):
        tag, at = _varint(data, at, 32)
        number, kind = tag >> 3, tag & 7
        _check(number > 0 or group is not None, "bad_aggregate")
        if kind == _END:
            _check(number == group, "bad_aggregate")
            return found, at
        value: Any
        if kind == _GROUP:
            value, at = _fields_of(data, at, number, depth + 1)
        else:
            value, at = _scalar(data, at, kind)
        found.setdefault((number, kind), []).append(value)
    _check(group is None, "bad_aggregate")
    return found, at


def _scalar(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == _VARINT:
        return _varint(data, at, 64)
    sizes = {_FIXED64: 8, _FIXED32: 4}
    size, at = _varint(data, at, 32) if kind == _LENGTH else (sizes.get(kind, len(data)), at)
    _check(at + size <= len(data) and kind <= _FIXED32, "bad_aggregate")
    return data[at : at + size], at + size


def _varint(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """Read a number; a tag or a length has five bytes at most, any other ten, the rest is cut."""
    value = shift = 0
    while True:
        _check(at < len(data) and shift < bits, "bad_aggregate")
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 128:
            _check(bits == 64 or value < 2**32, "bad_aggregate")
            return value % 2**bits, at
