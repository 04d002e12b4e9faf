"""Aggregates to start from: protobuf messages as trees, changed where a producer could be wrong.

A tree is written with any field numbers, wire types and lengths; the checksum is repaired behind
nearly all of them, or nothing would ever come to the decoder.
"""

from hashlib import md5
from typing import TypeAlias

from pipeline.core.records import HASH_KEY_MAX, KPL_MAGIC
from tests.fuzz.dice import Dice, damaged
from tests.fuzz.shapes import Pool, built_event

Field: TypeAlias = tuple[int, int, "int | bytes | list[Field]"]
"""Number, wire type, value; a list is a message, or the inside of a group."""

VARINT, FIXED64, LENGTH, GROUP, END, FIXED32 = range(6)
RAW = -1
"""Not a wire type: the bytes of a field as they are to be written, tag included."""
_KEYS = (b"a", b"", b"b", b"\xff", b"\xed\xa0\x80", b"\xe2\x82", b"x" * 256, b"a\x00")
_HASH_KEYS = (
    *(b"0", b"5", str(2**127).encode(), str(2**127 - 1).encode(), str(HASH_KEY_MAX).encode()),
    *(str(HASH_KEY_MAX + 1).encode(), b"", b"-1", b"+1", b" 1", b"1_0", b"007", b"1\n"),
    *("\u0661".encode(), b"\xb2", b"0x1", b"0" * 4_301 + b"7", b"9" * 4_301),
)
_INDEXES = (0, 1, 2, 3, 2**31 - 1, 2**31, 2**32, 2**40, 2**63, 2**64 - 1, 2**64, 2**70 - 1)
_NUMBERS = (1, 2, 3, 4, 0, 5, 15, 16, 2**29 - 1, 2**29)
_INNER = (b"", b"{}", b"[]", b"\xff", KPL_MAGIC, KPL_MAGIC + b"x" * 16)


def sealed(body: bytes) -> bytes:
    """Put the magic before a body and the right checksum behind it."""
    return KPL_MAGIC + body + md5(body, usedforsecurity=False).digest()


def varint(value: int, width: int = 1) -> bytes:
    """Write a number in at least so many bytes; longer than needed is odd and lawful."""
    found = bytearray()
    while value > 127 or len(found) + 1 < width:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def written(fields: list[Field]) -> bytes:
    """Encode a message."""
    return b"".join(map(_written, fields))


def _written(field: Field) -> bytes:
    number, kind, value = field
    if kind == RAW and isinstance(value, bytes):
        return value
    tag = varint(number << 3 | kind)
    if isinstance(value, int):
        if kind in (FIXED64, FIXED32):
            return tag + value.to_bytes(16, "little")[: 8 if kind == FIXED64 else 4]
        return tag + varint(value)
    body = written(value) if isinstance(value, list) else value
    if kind == GROUP:
        return tag + body + varint(number << 3 | END)
    return tag + varint(len(body)) + body if kind == LENGTH else tag + body


def _member(dice: Dice, pool: Pool) -> list[Field]:
    way = dice.below(4)
    data = dice.pick(pool.events)
    if way == 1:
        data = built_event(dice)
    elif way == 2:
        data = dice.pick(_INNER)
    elif way == 3:
        data = dice.pick(pool.records)
    entry: list[Field] = [(1, VARINT, dice.below(2)), (3, LENGTH, data)]
    if dice.below(3) == 2:
        entry.insert(dice.below(3), (2, VARINT, dice.below(2)))
    return entry


def _tree(dice: Dice, pool: Pool) -> list[Field]:
    """Write a message that is valid but for its keys."""
    tables: list[Field] = [(1, LENGTH, dice.pick(_KEYS)) for _ in range(2)]
    tables += [(2, LENGTH, dice.pick(_HASH_KEYS)) for _ in range(2)]
    return tables + [(3, LENGTH, _member(dice, pool)) for _ in range(dice.below(5))]


# -------------------------------------------------------------------------------- what goes wrong
def _exchange(fields: list[Field], at: int, dice: Dice) -> None:
    number, kind, value = fields[at]
    if isinstance(value, int):
        value = dice.pick(_INDEXES)
    elif isinstance(value, bytes):
        value = dice.pick(_KEYS if number == 1 else _HASH_KEYS if number == 2 else _INNER)
    fields[at] = number, kind, value


def _renumber(fields: list[Field], at: int, dice: Dice) -> None:
    fields[at] = dice.pick(_NUMBERS), *fields[at][1:]


def _retype(fields: list[Field], at: int, dice: Dice) -> None:
    fields[at] = fields[at][0], dice.below(8), fields[at][2]


def _drop(fields: list[Field], at: int, dice: Dice) -> None:
    del fields[at]


def _double(fields: list[Field], at: int, dice: Dice) -> None:
    fields.insert(dice.below(len(fields) + 1), fields[at])


def _unknown(fields: list[Field], at: int, dice: Dice) -> None:
    inside: int | list[Field] = dice.pick(_INDEXES)
    kind = dice.pick((VARINT, FIXED64, FIXED32, GROUP))
    if kind == GROUP:
        inside = [(dice.pick(_NUMBERS), VARINT, 1)]
        for _ in range(dice.pick((0, 1, 97, 98, 99, 100))):
            inside = [(4, GROUP, inside)]
    fields.insert(at, (dice.pick(_NUMBERS), kind, inside))


def _overlong(fields: list[Field], at: int, dice: Dice) -> None:
    """Write a tag, a length or a number in more bytes than it needs."""
    number, kind, value = fields[at]
    if kind == RAW:
        return
    tag = varint(number << 3 | kind, 1 + dice.below(11))
    if isinstance(value, int):
        odd = tag + varint(value, 1 + dice.below(11))
    else:
        body = written(value) if isinstance(value, list) else value
        odd = tag + varint(len(body), 1 + dice.below(11)) + body
    fields[at] = number, RAW, odd


_EDITS = (_exchange, _renumber, _retype, _drop, _double, _unknown, _overlong)


def _edited(fields: list[Field], dice: Dice) -> list[Field]:
    """Change a field here, or one inside a member."""
    found = list(fields)
    if found:
        at = dice.below(len(found))
        number, kind, value = found[at]
        if isinstance(value, list) and value and dice.below(4):
            found[at] = number, kind, _edited(value, dice)
        else:
            dice.pick(_EDITS)(found, at, dice)
    return found


def _body(dice: Dice, pool: Pool) -> bytes:
    tree = _tree(dice, pool)
    for _ in range(dice.below(4)):
        tree = _edited(tree, dice)
    return written(tree)


def record(dice: Dice, pool: Pool) -> bytes:
    """Make one input of the de-aggregation."""
    way = dice.below(8)
    if way == 0:
        return damaged(dice.pick(pool.records), dice, dice.pick(pool.records))
    if way == 1:
        body = dice.pick(pool.records)[len(KPL_MAGIC) : -16]
        return sealed(damaged(body, dice, dice.pick(pool.records)))
    body = _body(dice, pool)
    if way == 2:
        return sealed(damaged(body, dice, dice.pick(pool.records)))
    return damaged(sealed(body), dice, body) if way == 3 else sealed(body)
