"""Events to start from: the fields of a valid one, some exchanged for values at an edge.

Bytes changed at random hardly ever get behind the JSON parser; a field exchanged for another does.
So half of the inputs are written field by field, and the other half are bytes changed at random.
"""

from typing import NamedTuple

from pipeline.core.events import FUTURE_ALLOWANCE_US
from pipeline.core.instants import EARLIEST, LATEST, format_instant
from tests.fuzz.dice import Dice, damaged
from tests.reference_events import TEXTS
from tests.unit.traffic import ARRIVAL

_GOOD = {
    "location": '"GB-1"',
    "transaction_id": '"t-1"',
    "product_id": '"J1"',
    "base_product_id": '"1"',
    "category": '"jacket"',
    "change": "-1",
    "timestamp": '"2011-03-13T07:06:40Z"',
    "source": '"POS"',
}
_FIELDS = tuple(_GOOD)
_TARGETS = (*_FIELDS, "timestamp", "timestamp", "timestamp", "change")
"""Fields to exchange, those with the most edges more often."""
_KEYS = (*_FIELDS, "note", "a", "\\u0061", "Location", "\\u0063hange", "\\ud800", "", "instant")
_SPACES = ("", "", "", "", " ", "\n\t", "\r", "\x0b", "\u00a0", "\ufeff", "\x00")
_TIMES = (1, 1, 1, 2, 3, 63, 64, 65, 85, 86, 127, 128, 129, 255, 256, 257)
_PIECES = (
    *("x", " ", "\u00e9", "\u20ac", "\U0001f454", "\u00a0", "\u3000", "\u2028", "\u200b", "\u0085"),
    *("\x7f", "\x80", "\x1f", "\x00", "\ufeff", "\ufffd", "e\u0301", "\\u0000", "\\u001f", "\\n"),
    *("\\u0085", "\\u00a0", "\\u2029", "\\ud83d\\udc54", "\\ud800", "\\udfff", "\\ud800x", '\\"'),
    *("\\\\", "\\/", "\\u0041", "[", "{", "}", "jacket", "POS", "batch", "J1", "\\u002"),
)
_NUMBERS = ("", "-", "+", "0", "1", "9", "5", "100000", "100001", "99999", str(2**63), str(2**64))
_DIGITS = (0, 0, 0, 1, 2, 5, 18, 19, 20, 21, 25, 300, 4_299, 4_300, 4_301)
_TAILS = ("", "", "", "", "", ".0", ".5", ".", "e2", "E+2", "e-2", "e", ".0e0", "e99999")
_WORDS = ("null", "true", "false", "NaN", "Infinity", "-Infinity", "{}", "[]", '""', '"', "nul")
_CLOCKWORK = (  # a timestamp in parts, each with what else may stand there
    ("2011", "2000", "1999", "9999", "0000", "2012", "1900", "20\u0661\u0661", "011", "02011"),
    ("-03", "-02", "-12", "-00", "-13", "-3", "--3", "03"),
    ("-13", "-01", "-28", "-29", "-30", "-31", "-32", "-00", "-1"),
    ("T", "t", " ", "", "TT"),
    ("07:06", "00:00", "23:59", "24:00", "07:60", "7:06", "07", "0706"),
    (":40", ":00", ":59", ":60", ":61", "", ":4"),
    ("", ".5", ".000001", ".0000009", ".9999999", ".", ",5", "." + "0" * 240, ".\u0661"),
    (
        *("Z", "z", "", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "+01:60", "+1:00"),
        *("+0100", "+01", "ZZ", "Z\\n", "Z\n", "\u221200:00", "+0\u0665:30", "+05:30"),
    ),
)
_MOMENTS = tuple(
    f'"{format_instant(edge + step)}"'
    for edge in (ARRIVAL + FUTURE_ALLOWANCE_US, EARLIEST, LATEST - 1)
    for step in (-1, 0, 1)
)


class Pool(NamedTuple):
    """What inputs are made from: events, and whole Kinesis records."""

    events: tuple[bytes, ...]
    records: tuple[bytes, ...]


def _text(dice: Dice) -> str:
    pieces = (dice.pick(_PIECES) * dice.pick(_TIMES) for _ in range(1 + dice.below(3)))
    return '"' + "".join(pieces) + '"'


def _number(dice: Dice) -> str:
    return dice.pick(_NUMBERS) + dice.pick("109") * dice.pick(_DIGITS) + dice.pick(_TAILS)


def _nested(dice: Dice) -> str:
    depth = 195 + dice.below(8)
    opening, closing = dice.pick((("[", "]"), ('{"a":', "}"), ('["[",', "]")))
    inside = dice.pick(("0", "[]", '"[[["', "NaN", '{"a":1,"a":2}', '"\\ud800"'))
    return opening * depth + inside + closing * depth


def _word(dice: Dice) -> str:
    return dice.pick(_WORDS)


def _timestamp(dice: Dice) -> str:
    if dice.below(3) == 2:
        return dice.pick(_MOMENTS)
    parts = [options[0] for options in _CLOCKWORK]
    for _ in range(1 + dice.below(3)):
        at = dice.below(len(parts))
        parts[at] = dice.pick(_CLOCKWORK[at])
    return f'"{"".join(parts)}"'


def _of_a_field(dice: Dice) -> str:
    return _GOOD[dice.pick(_FIELDS)]


_VALUES = (_text, _number, _word, _nested, _timestamp, _of_a_field)


def _value(name: str, dice: Dice) -> str:
    """Choose a value, more often than not of the field's own type."""
    if dice.below(4) == 3:
        return dice.pick(_VALUES)(dice)
    if name == "timestamp":
        return _timestamp(dice)
    return _text(dice) if name in TEXTS else _number(dice)


def _exchange(pairs: list[tuple[str, str]], dice: Dice) -> None:
    name = dice.pick(_TARGETS)
    places = [at for at, pair in enumerate(pairs) if pair[0] == name]
    at = places[0] if places else dice.below(len(pairs))
    pairs[at] = pairs[at][0], _value(pairs[at][0], dice)


def _add(pairs: list[tuple[str, str]], dice: Dice) -> None:
    name = dice.pick(_KEYS)
    pairs.insert(dice.below(len(pairs) + 1), (name, _value(name, dice)))


def _drop(pairs: list[tuple[str, str]], dice: Dice) -> None:
    if len(pairs) > 1:
        del pairs[dice.below(len(pairs))]


def _swap(pairs: list[tuple[str, str]], dice: Dice) -> None:
    one, other = dice.below(len(pairs)), dice.below(len(pairs))
    pairs[one], pairs[other] = pairs[other], pairs[one]


_EDITS = (_exchange, _exchange, _add, _drop, _swap)


def built_event(dice: Dice) -> bytes:
    """Write a valid event and change some of its fields, keys and spaces."""
    pairs = list(_GOOD.items())
    for _ in range(dice.below(4)):
        dice.pick(_EDITS)(pairs, dice)
    space = dice.pick(_SPACES)
    body = f",{space}".join(f'"{name}"{space}:{value}' for name, value in pairs)
    return f"{space}{{{body}}}{dice.pick(_SPACES)}".encode("utf-8", "surrogatepass")


def event(dice: Dice, pool: Pool) -> bytes:
    """Make one input of the parser."""
    way = dice.below(4)
    if way == 0:
        return damaged(dice.pick(pool.events), dice, dice.pick(pool.events))
    written = built_event(dice)
    return damaged(written, dice, dice.pick(pool.events)) if way == 1 else written
