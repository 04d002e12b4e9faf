"""Files of records, and how their lines become messages on the stream.

A file holds one record a line; a line's bytes, less its newline, are the record. `.gz` is
unpacked. A file named `*.b64` (or `*.b64.gz`) holds one base64 record a line, for bytes that are
not text.
"""

import base64
import binascii
import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.core.claims import claim_id
from pipeline.core.errors import UsageError
from pipeline.core.events import PosEvent, parse
from pipeline.core.fingerprint import partition_key, raw_partition_key
from pipeline.core.records import (
    KPL_MAGIC,
    BadAggregate,
    HashRange,
    UserRecord,
    read_aggregate,
    write_aggregate,
)
from pipeline.core.rules import Rules
from pipeline.ports.streams import Message, Shard, open_shards

RECORD_BYTES_MAX = 1024 * 1024
"""The data of one Kinesis record, by default. Source: Kinesis quotas, PutRecord."""
ANY_TIME = 2**62
"""An arrival later than every timestamp: choosing a shard must not depend on a clock."""


class PartitionBy(StrEnum):
    """What decides the shard of an event; nothing but speed and lateness may depend on it."""

    KEY = "key"
    TRANSACTION_ID = "transaction_id"
    LOCATION = "location"


class Line(NamedTuple):
    """One record and its number, counted from 1 over all files."""

    number: int
    data: bytes


class Outgoing(NamedTuple):
    """A message and the line it carries, whole or in part."""

    line: int
    message: Message


def read_lines(paths: Iterable[str]) -> Iterator[Line]:
    """Read every line of every file in order. Raises UsageError, naming file and line."""
    number = 0
    for path in paths:
        for at, raw in enumerate(_raw_lines(path), 1):
            number += 1
            data = raw.removesuffix(b"\n")
            if _is_base64(path):
                try:
                    data = base64.b64decode(data.strip(), validate=True)
                except binascii.Error as fault:
                    raise UsageError(f"{path}:{at}: not base64: {fault}") from None
            yield Line(number, data)


def _is_base64(path: str) -> bool:
    return path.removesuffix(".gz").endswith(".b64")


def _raw_lines(path: str) -> Iterator[bytes]:
    if path == "-":
        yield from sys.stdin.buffer
        return
    try:
        with _open(Path(path)) as file:
            yield from file
    except (OSError, EOFError, zlib.error) as fault:  # gzip says of a broken file any of these
        raise UsageError(f"{path}: {getattr(fault, 'strerror', None) or fault}") from None


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value] # GzipFile reads like any binary file
    return path.open("rb")


def aggregate_members(data: bytes) -> list[bytes] | None:
    """Open an aggregate; None for anything else, broken ones included."""
    if not data.startswith(KPL_MAGIC):
        return None
    try:
        return [member.data for member in read_aggregate(data)]
    except BadAggregate:
        return None


def transaction_of(data: bytes, rules: Rules) -> str | None:
    """Return the claim id of one user record; None if it is no event."""
    event = parse(data, ANY_TIME, rules)
    return claim_id(event, rules.dedupe_scope) if isinstance(event, PosEvent) else None


class Partitioner:
    """Turn lines into messages, as a well-behaved producer would send them."""

    def __init__(self, rules: Rules, by: PartitionBy, shards: Sequence[Shard]) -> None:
        self._rules, self._by = rules, by
        # A closed shard is listed for days, and owns no key any more.
        self._ranges = [shard.hash_range for shard in open_shards(shards)]

    def messages(self, line: Line) -> Sequence[Outgoing]:
        """Return the messages of a line: one, but for an aggregate that spans shards.

        The Kinesis Producer Library makes aggregates per shard, and the client library drops one
        whose members lie outside its shard. So an aggregate from a file is put where its members
        belong, split along the shards if need be; its user records stay as they are.
        """
        if line.data.startswith(KPL_MAGIC):
            try:
                return self._aggregate(line)
            except BadAggregate:
                pass
        return [Outgoing(line.number, Message(line.data, self.key_of(line.data)))]

    def key_of(self, data: bytes) -> str:
        """Choose the partition key of one record; of its raw bytes if it is no event."""
        event = parse(data, ANY_TIME, self._rules)
        if not isinstance(event, PosEvent):
            return raw_partition_key(data)
        if self._by is PartitionBy.TRANSACTION_ID:
            return partition_key(event.transaction_id)
        if self._by is PartitionBy.LOCATION:
            return partition_key(event.location)
        return partition_key(event.location, event.base_product_id)

    def _aggregate(self, line: Line) -> Sequence[Outgoing]:
        members = read_aggregate(line.data)
        if not members:
            return [Outgoing(line.number, Message(line.data, raw_partition_key(line.data)))]
        parts: dict[HashRange, list[UserRecord]] = {}
        for member in members:
            owner = next(owned for owned in self._ranges if owned.holds(member.hash_key))
            parts.setdefault(owner, []).append(member)
        return [
            Outgoing(line.number, Message(data, part[0].partition_key, part[0].hash_key))
            for part in parts.values()
            for data in [line.data if len(parts) == 1 else write_aggregate(part)]
        ]
