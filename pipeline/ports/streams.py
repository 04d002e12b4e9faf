"""Streams of records, in and out."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from pipeline.core.errors import TransientFault
from pipeline.core.positions import Position
from pipeline.core.records import HashRange, Record

Cursor: TypeAlias = str
"""A place to read on from; opaque, and valid for minutes only."""


class IteratorExpired(TransientFault):
    """A cursor grew too old. Nothing is lost: open the shard again behind the last record."""


class Shard(NamedTuple):
    """One shard: the hash keys it owns and the shards it was split or merged from."""

    shard_id: str
    hash_range: HashRange
    parents: tuple[str, ...] = ()


def open_shards(shards: Sequence[Shard]) -> list[Shard]:
    """Return the shards that still take records: those that were neither split nor merged."""
    parents = {parent for shard in shards for parent in shard.parents}
    return [shard for shard in shards if shard.shard_id not in parents]


class Start(NamedTuple):
    """Where to begin a shard.

    Its oldest record, behind a sequence number, or at an instant (microseconds).
    """

    kind: Literal["TRIM_HORIZON", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP"]
    at: int = 0


TRIM_HORIZON = Start("TRIM_HORIZON")


class Page(NamedTuple):
    """Some records in order; the cursor behind them (None: the shard has ended).

    How far behind the tip.
    """

    records: Sequence[Record]
    cursor: Cursor | None
    behind_ms: int


class Message(NamedTuple):
    """One record to be put. An explicit hash key, where given,
    decides the shard instead of the key.
    """

    data: bytes
    partition_key: str
    explicit_hash_key: int | None = None


class RecordStream(Protocol):
    """A stream to read, shard by shard.

    A page may be empty although more records follow: ask again.
    """

    def shards(self) -> Sequence[Shard]:
        """List every shard that still holds records, closed ones included."""

    def open(self, shard_id: str, start: Start) -> Cursor:
        """Return a cursor at a place in a shard."""

    def read(self, shard_id: str, cursor: Cursor, limit: int) -> Page:
        """Read up to `limit` Kinesis records, aggregates unopened. Raises IteratorExpired."""


class Publisher(Protocol):
    """A stream to write. At least once, in no promised order, not even within a partition key."""

    def publish(self, messages: Sequence[Message]) -> Sequence[Position | None]:
        """Put messages; answer each with its position, in the order given,
        or None for "not yet".
        """
