"""Records: raw bytes at a place in a stream, and the KPL aggregates that hide several in one.

The Kinesis Producer Library packs user records into one Kinesis record: a four-byte magic, a
protobuf message, an MD5 of the message. De-aggregation must agree with the Kinesis Client Library
bit by bit, since one fleet may run on it and another on Lambda: in particular, when the hash key
of any user record lies outside the shard's range (a producer that had not seen a reshard), the
whole aggregate is dropped, because the library drops it; another copy sits in the shard that owns
it.

Source: the aggregation format of amazon-kinesis-producer, and AggregatorUtil of
amazon-kinesis-client.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import md5
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from pipeline.core.positions import Position

KPL_MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES = 16
HASH_KEY_MAX = 2**128 - 1
_HASH_KEY = re.compile(rb"0*([0-9]{1,39})")
"""Bounded before it is read: how many digits Python reads at all is a setting of the process."""


class HashRange(NamedTuple):
    """The hash keys that a shard owns, both ends included."""

    start: int = 0
    end: int = HASH_KEY_MAX

    def holds(self, hash_key: int) -> bool:
        """Say whether a record with this hash key belongs to the shard."""
        return self.start <= hash_key <= self.end


class Record(NamedTuple):
    """One user record: its bytes, its place,
    and when Kinesis received it (microseconds since 1970).
    """

    data: bytes
    position: Position
    arrival: int


class Batch(NamedTuple):
    """Kinesis records of one shard, in order, not yet de-aggregated.

    `shard_id` names their shard; `hash_range` decides which aggregates the client library would
    drop.
    """

    shard_id: str
    records: Sequence[Record]
    hash_range: HashRange = HashRange()


class UserRecord(NamedTuple):
    """One member of an aggregate as its producer wrote it."""

    partition_key: str
    data: bytes
    explicit_hash_key: int | None = None

    @property
    def hash_key(self) -> int:
        """The key that decides the shard: the explicit one, else the MD5 of the partition key."""
        if self.explicit_hash_key is not None:
            return self.explicit_hash_key
        return hash_key(self.partition_key)


class BadAggregate(ValueError):
    """The KPL magic with something else behind it."""


def hash_key(partition_key: str) -> int:
    """Hash a partition key as Kinesis does."""
    return int.from_bytes(md5(partition_key.encode(), usedforsecurity=False).digest())


def deaggregate(record: Record, owned: HashRange) -> list[Record] | None:
    """Return the user records inside a record, itself if it is no aggregate, None if the shard
    must drop it.

    Raises BadAggregate for a magic with a broken body; members of an aggregate are never opened
    again.
    """
    # With a sub-sequence number it is a member already, opened by whoever handed it to us.
    if record.position.sub or not record.data.startswith(KPL_MAGIC):
        return [record]
    members = read_aggregate(record.data)
    if not all(owned.holds(member.hash_key) for member in members):
        return None
    return [
        Record(member.data, record.position._replace(sub=sub), record.arrival)
        for sub, member in enumerate(members)
    ]


def read_aggregate(data: bytes) -> list[UserRecord]:
    """Decode an aggregate. Raises BadAggregate when the checksum, the body or an index is wrong."""
    body, digest = data[len(KPL_MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if (
        len(data) < len(KPL_MAGIC) + _DIGEST_BYTES
        or md5(body, usedforsecurity=False).digest() != digest
    ):
        raise BadAggregate("checksum")
    message: Any = _Aggregate()
    try:
        message.ParseFromString(body)
        if not message.IsInitialized():
            raise BadAggregate("a required field is missing")
        return [_user_record(message, entry) for entry in message.records]
    except (DecodeError, ValueError) as fault:
        raise BadAggregate(str(fault)) from None


def _user_record(message: Any, entry: Any) -> UserRecord:
    key = _at(message.partition_key_table, entry.partition_key_index).decode("utf-8", "replace")
    explicit: int | None = None
    if entry.HasField("explicit_hash_key_index"):
        digits = _at(message.explicit_hash_key_table, entry.explicit_hash_key_index)
        explicit = _explicit_hash_key(digits)
    return UserRecord(key, entry.data, explicit)


def _explicit_hash_key(digits: bytes) -> int:
    match = _HASH_KEY.fullmatch(digits)
    if match is None or (explicit := int(match.group(1))) > HASH_KEY_MAX:
        raise BadAggregate("explicit hash key")
    return explicit


def _at(table: Any, index: int) -> bytes:
    if index >= len(table):  # the library would raise whatever suits it, by the size of the index
        raise BadAggregate("index out of range")
    found: bytes = table[index]
    return found


def write_aggregate(members: Iterable[UserRecord]) -> bytes:
    """Encode user records as the KPL does; `read_aggregate` gives them back."""
    message: Any = _Aggregate()
    keys: dict[bytes, int] = {}
    hashes: dict[bytes, int] = {}
    for member in members:
        entry = message.records.add()
        entry.data = member.data
        entry.partition_key_index = keys.setdefault(member.partition_key.encode(), len(keys))
        if member.explicit_hash_key is not None:
            digits = str(member.explicit_hash_key).encode()
            entry.explicit_hash_key_index = hashes.setdefault(digits, len(hashes))
    message.partition_key_table.extend(keys)
    message.explicit_hash_key_table.extend(hashes)
    body: bytes = message.SerializeToString()
    return KPL_MAGIC + body + md5(body, usedforsecurity=False).digest()


def _message_class() -> type[Any]:
    """Build the protobuf class from its description: no generated file, no protoc, one page to
    compare.

    Keys are declared as bytes, not string (the same on the wire), so that a producer's broken
    UTF-8 is ours to judge and not the protobuf library's.
    """
    field = FieldDescriptorProto
    repeated, required, optional = (
        field.LABEL_REPEATED,
        field.LABEL_REQUIRED,
        field.LABEL_OPTIONAL,
    )
    file = FileDescriptorProto(
        name="tillstream_kpl.proto", package="tillstream.kpl", syntax="proto2"
    )
    entry = DescriptorProto(name="Record")
    entry.field.add(name="partition_key_index", number=1, label=required, type=field.TYPE_UINT64)
    entry.field.add(
        name="explicit_hash_key_index", number=2, label=optional, type=field.TYPE_UINT64
    )
    entry.field.add(name="data", number=3, label=required, type=field.TYPE_BYTES)
    whole = DescriptorProto(name="AggregatedRecord")
    whole.field.add(name="partition_key_table", number=1, label=repeated, type=field.TYPE_BYTES)
    whole.field.add(name="explicit_hash_key_table", number=2, label=repeated, type=field.TYPE_BYTES)
    whole.field.add(
        name="records",
        number=3,
        label=repeated,
        type=field.TYPE_MESSAGE,
        type_name=".tillstream.kpl.Record",
    )
    file.message_type.extend([entry, whole])
    pool = DescriptorPool()
    pool.Add(file)
    found: type[Any] = GetMessageClass(
        pool.FindMessageTypeByName("tillstream.kpl.AggregatedRecord")
    )
    return found


_Aggregate = _message_class()
