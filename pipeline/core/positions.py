"""Where a record stands in its stream.

A sequence number is a decimal string of up to 129 digits that only orders records of one shard.
Text order is wrong as soon as lengths differ (an emulator counts 1, 2, ... 10), so positions hold
integers and become text only at the edges. The sub-sequence number tells user records of one KPL
aggregate apart.
"""

from typing import NamedTuple, TypeAlias

Order: TypeAlias = tuple[int, int]
"""(sequence number, sub-sequence number).

Comparable within one shard, meaningless across shards.
"""


SEQUENCE_DIGITS_MAX = 129
"""Source: the Kinesis API reference, SequenceNumber."""


class Position(NamedTuple):
    """One user record's place: stream, shard, sequence number, sub-sequence number."""

    stream: str
    shard_id: str
    sequence: int
    sub: int = 0

    @property
    def order(self) -> Order:
        """The part that may be compared, and only with positions of the same shard."""
        return self.sequence, self.sub

    def text(self) -> str:
        """Encode for a store that keeps strings; `parse_position` reads it back."""
        return f"{self.stream}/{self.shard_id}/{self.sequence}/{self.sub}"


def parse_position(text: str) -> Position:
    """Read what `Position.text` wrote. Raises ValueError on anything else."""
    stream, shard_id, sequence, sub = text.split("/")
    return Position(stream, shard_id, int(sequence), int(sub))
