"""Choices read from bytes, and what may be done to any bytes at all.

An input of the fuzz is a *program*: a few bytes that Hypothesis draws, shrinks and replays. `Dice`
reads every choice from them. Bytes that shrink come to 0, so the first option of everything is the
plainest one, and a program of zeros gives the first seed as it is.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pipeline.core.records import KPL_MAGIC

Option = TypeVar("Option")

TOKENS: tuple[bytes, ...] = (
    *(bytes([byte]) for byte in b'"\\{}[]:,0-.eE+ \t\n\r\x00\x0b\x0c\x1f\x7f\x80\xbf\xc0\xff'),
    *(b'\\"', b"\\\\", b"\\/", b"\\n", b"\\u", b"\\u0000", b"\\u006c", b"\\ud83d\\udc54"),
    *(b"\\ud800", b"\\udc00", b"\\x41", b"null", b"true", b"NaN", b"-Infinity", b"1e999"),
    *(b"\xc2\x85", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xe3\x80\x80", b"\xef\xbb\xbf", b"\xc0\x80"),
    *(b"\xed\xa0\x80", b"\xf0\x9f\x91\x94", b"\xf4\x90\x80\x80", b"\xe2\x80\x8b", b"e\xcc\x81"),
    *(b',"change":-1', b',"note":', b'"location"', b"2011", b"+01:00", b"Z", b"T", b".9999999"),
    *(KPL_MAGIC, KPL_MAGIC[:3], b"\x0a\x01a", b"\x1a\x05\x08\x00\x1a\x01x", b"\x80" * 9, b"[" * 9),
)


class Dice:
    """Choices, one after the other; where the program ends, every choice is the first."""

    def __init__(self, program: bytes) -> None:
        self._bytes = iter(program)

    def below(self, count: int) -> int:
        """Choose a number from 0; `count` must be at least 1."""
        value = next(self._bytes, 0)
        if count > 256:
            value = value << 8 | next(self._bytes, 0)
        return value % count

    def pick(self, options: Sequence[Option]) -> Option:
        """Choose one of some."""
        return options[self.below(len(options))]


def _flip(data: bytearray, at: int, dice: Dice, other: bytes) -> None:
    if at < len(data):
        data[at] ^= 1 << dice.below(8)


def _insert(data: bytearray, at: int, dice: Dice, other: bytes) -> None:
    data[at:at] = dice.pick(TOKENS)


def _overwrite(data: bytearray, at: int, dice: Dice, other: bytes) -> None:
    token = dice.pick(TOKENS)
    data[at : at + len(token)] = token


def _cut_out(data: bytearray, at: int, dice: Dice, other: bytes) -> None:
    del data[at : at + 1 + dice.below(32)]


def _cut_off(data: bytearray, at: int, dice: Dice, other: bytes) -> None:
    del data[at:]


def _double(data: bytearray, at: int, dice: Dice, other: bytes) -> None:
    piece = data[at : at + 1 + dice.below(64)]
    data[at:at] = piece * (1 + dice.below(3))


def _splice(data: bytearray, at: int, dice: Dice, other: bytes) -> None:
    start = dice.below(len(other) + 1)
    data[at:] = other[start:]


def _any_byte(data: bytearray, at: int, dice: Dice, other: bytes) -> None:
    data[at : at + 1] = bytes([dice.below(256)])


_DAMAGES: tuple[Callable[[bytearray, int, Dice, bytes], None], ...] = (
    *(_flip, _insert, _overwrite, _cut_out, _cut_off, _double, _splice, _any_byte),
)


def damaged(data: bytes, dice: Dice, other: bytes) -> bytes:
    """Flip, cut, double, insert and splice a few times; `other` is what splices come from."""
    found = bytearray(data)
    for _ in range(dice.below(5)):
        damage = dice.pick(_DAMAGES)
        damage(found, dice.below(len(found) + 1), dice, other)
    return bytes(found)
