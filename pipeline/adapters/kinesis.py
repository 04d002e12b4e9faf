"""Kinesis, in and out."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.adapters._aws import Aws, error_code, translated
from pipeline.core.errors import SystemFault
from pipeline.core.instants import EPOCH, from_datetime
from pipeline.core.positions import Position
from pipeline.core.records import HashRange, Record
from pipeline.ports.streams import Cursor, IteratorExpired, Message, Page, Shard, Start

if TYPE_CHECKING:
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef

PUT_RECORDS_MAX = 500
PUT_BYTES_MAX = 5 * 1024 * 1024
"""Of one PutRecords call, data and partition keys together. Source: Kinesis quotas."""


class KinesisStream:
    """`ports.streams.RecordStream` and `Publisher` over one stream."""

    def __init__(self, aws: Aws, name: str) -> None:
        self._aws, self.name = aws, name

    def shards(self) -> Sequence[Shard]:
        """List every shard, page by page."""
        request: dict[str, Any] = {"StreamName": self.name}
        found: list[Shard] = []
        while True:
            with translated(f"shards of {self.name}"):
                page = self._aws.kinesis.list_shards(**request)
            found += map(_shard, page["Shards"])
            if not page.get("NextToken"):
                return found
            request = {"NextToken": page["NextToken"]}

    def open(self, shard_id: str, start: Start) -> Cursor:
        """Ask for an iterator; it lives for five minutes."""
        request: dict[str, Any] = {
            "StreamName": self.name,
            "ShardId": shard_id,
            "ShardIteratorType": start.kind,
        }
        if start.kind == "AFTER_SEQUENCE_NUMBER":
            request["StartingSequenceNumber"] = str(start.at)
        elif start.kind == "AT_TIMESTAMP":
            request["Timestamp"] = start.at / 1_000_000
        with translated(f"iterator of {shard_id}"):
            return self._aws.kinesis.get_shard_iterator(**request)["ShardIterator"]

    def read(self, shard_id: str, cursor: Cursor, limit: int) -> Page:
        """Read on from an iterator."""
        try:
            with translated(f"records of {shard_id}"):
                answer = self._aws.kinesis.get_records(ShardIterator=cursor, Limit=limit)
        except SystemFault as fault:
            if error_code(fault) == "ExpiredIteratorException":
                raise IteratorExpired(str(fault)) from fault
            raise
        records = [self._record(shard_id, entry) for entry in answer["Records"]]
        behind_ms = answer.get("MillisBehindLatest", 0)
        return Page(records, answer.get("NextShardIterator"), behind_ms)

    def _record(self, shard_id: str, entry: Any) -> Record:
        position = Position(self.name, shard_id, int(entry["SequenceNumber"]))
        moment = entry.get("ApproximateArrivalTimestamp", EPOCH)
        return Record(entry["Data"], position, from_datetime(moment))

    def publish(self, messages: Sequence[Message]) -> Sequence[Position | None]:
        """Put messages in as few calls as fit; a record that was refused is answered None."""
        chunks = list(_chunks(messages))
        placed: list[Position | None] = []
        for chunk, answer in zip(chunks, self._aws.fan.each(self._put, chunks), strict=True):
            placed += answer if answer is not None else [None] * len(chunk)
        return placed

    def _put(self, chunk: "list[PutRecordsRequestEntryTypeDef]") -> list[Position | None]:
        with translated(f"put to {self.name}"):
            answer = self._aws.kinesis.put_records(StreamName=self.name, Records=chunk)
        return [
            None
            if result.get("ErrorCode")
            else Position(self.name, result["ShardId"], int(result["SequenceNumber"]))
            for result in answer["Records"]
        ]


def _shard(entry: Any) -> Shard:
    keys = entry["HashKeyRange"]
    parents = (entry.get("ParentShardId"), entry.get("AdjacentParentShardId"))
    return Shard(
        entry["ShardId"],
        HashRange(int(keys["StartingHashKey"]), int(keys["EndingHashKey"])),
        tuple(parent for parent in parents if parent),
    )


def _entry(message: Message) -> "PutRecordsRequestEntryTypeDef":
    entry: PutRecordsRequestEntryTypeDef = {
        "Data": message.data,
        "PartitionKey": message.partition_key,
    }
    if message.explicit_hash_key is not None:
        entry["ExplicitHashKey"] = str(message.explicit_hash_key)
    return entry


def _chunks(
    messages: Sequence[Message],
) -> "Iterator[list[PutRecordsRequestEntryTypeDef]]":
    """Cut by count and by bytes."""
    chunk: list[PutRecordsRequestEntryTypeDef] = []
    size = 0
    for message in messages:
        weight = len(message.data) + len(message.partition_key.encode())
        if chunk and (len(chunk) == PUT_RECORDS_MAX or size + weight > PUT_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(_entry(message))
        size += weight
    if chunk:
        yield chunk
