"""A stream in memory behind the calls of boto3's Kinesis client that a reader makes."""

from datetime import UTC, datetime
from typing import Any

from pipeline.adapters.memory import MemoryStream
from pipeline.ports.streams import Start

Answer = dict[str, Any]


class MemoryKinesis:
    """Answer as Kinesis does; a closed shard names its last sequence number."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    def list_shards(self, **_: Any) -> Answer:
        """List the shards."""
        return {"Shards": [self._shard(shard.shard_id) for shard in self._stream.shards()]}

    def _shard(self, shard_id: str) -> Answer:
        shard = next(s for s in self._stream.shards() if s.shard_id == shard_id)
        names = ("ParentShardId", "AdjacentParentShardId")
        return {
            "ShardId": shard_id,
            "SequenceNumberRange": {},
            **dict(zip(names, shard.parents, strict=False)),
        }

    def get_shard_iterator(self, **request: Any) -> Answer:
        """Return an iterator that names its shard."""
        start = Start(request["ShardIteratorType"], int(request.get("StartingSequenceNumber", 0)))
        cursor = self._stream.open(request["ShardId"], start)
        return {"ShardIterator": f"{request['ShardId']} {cursor}"}

    def get_records(self, **request: Any) -> Answer:
        """Read a page."""
        shard_id, cursor = request["ShardIterator"].split(" ")
        page = self._stream.read(shard_id, cursor, request["Limit"])
        return {
            "NextShardIterator": page.cursor and f"{shard_id} {page.cursor}",
            "MillisBehindLatest": page.behind_ms,
            "Records": [
                {
                    "SequenceNumber": str(record.position.sequence),
                    "Data": record.data,
                    "PartitionKey": "key",
                    "ApproximateArrivalTimestamp": datetime.fromtimestamp(
                        record.arrival / 1_000_000, UTC
                    ),
                }
                for record in page.records
            ],
        }
