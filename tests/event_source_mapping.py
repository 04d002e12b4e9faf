"""An emulator of Lambda's event source mapping for Kinesis, over any client that speaks boto3.

LocalStack runs no functions without Docker and moto's mapping knows nothing of order, so the rules
that a stateful function depends on are here, in one place, each with a test of its own:

- One batch a shard at a time, in order; a shard begins once its parents are read to their end.
- A batch ends at `batch_size` records, or before its payload exceeds 6 MB, base64 and all.
- With partial batch responses, an empty list (or no answer at all) is success; the lowest sequence
  number named is where the next batch begins; an empty or unknown one, a broken answer, or a raise
  is the failure of the whole batch.
- Progress begins a new count of retries. With `bisect`, a batch that failed is halved, and halving
  uses up no retry; a single record that fails does.
- Retries or record age used up: the payload goes to the on-failure destination in S3, if there is
  one, and the shard moves on. Both are without limit unless set.

Source: the Lambda developer guide, "Using Lambda to process records from Amazon Kinesis", and its
API reference, CreateEventSourceMapping. Left out: tumbling windows, filters, parallelisation.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, NamedTuple

from pipeline.ports.clock import Clock

PAYLOAD_BYTES_MAX = 6 * 1024 * 1024
"""Of one event. Source: Lambda quotas, invocation payload."""
ENVELOPE_BYTES = len('{"Records": []}')
ACCOUNT = "000000000000"

Event = dict[str, Any]
Function = Callable[[Event, Any], Any]


@dataclass(frozen=True, slots=True)
class MappingOptions:
    """What CreateEventSourceMapping takes; -1 is no limit."""

    batch_size: int = 100
    report_batch_item_failures: bool = True
    bisect_batch_on_function_error: bool = False
    maximum_retry_attempts: int = -1
    maximum_record_age_s: float = -1
    on_failure_bucket: str | None = None
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    function_timeout_ms: int = 120_000


class Invoked(NamedTuple):
    """The context of one invocation, as far as a function may ask."""

    aws_request_id: str
    remaining_ms: int

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still last."""
        return self.remaining_ms


@dataclass(slots=True)
class Offered:
    """Records that are offered together, and how often they failed."""

    records: list[Event]
    attempts: int = 0


@dataclass(slots=True)
class ReadShard:
    """How far the mapping is with a shard."""

    shard_id: str
    parents: Sequence[str]
    iterator: str | None
    closed: bool
    buffer: list[Event] = field(default_factory=list)
    pending: list[Offered] = field(default_factory=list)
    at_tip: bool = False

    @property
    def finished(self) -> bool:
        """Say whether nothing will ever come of it again."""
        ended = self.iterator is None or (self.closed and self.at_tip)
        return ended and not self.buffer and not self.pending


class Blocked(AssertionError):
    """The mapping would go on for ever: something is never finished."""


class EventSourceMapping:
    """Feed one function from one stream, from TRIM_HORIZON on."""

    def __init__(
        self,
        kinesis: Any,
        stream: str,
        function: Function,
        options: MappingOptions,
        outside: "Outside",
    ) -> None:
        self._kinesis, self._stream, self._function = kinesis, stream, function
        self._options, self._outside = options, outside
        self._shards: dict[str, ReadShard] = {}
        self._requests = count(1)
        self.events: list[Event] = []
        """Every event that the function was called with."""

    def drain(self, polls_max: int = 10_000) -> None:
        """Poll until every shard is read to its tip. Raises Blocked when that takes too long."""
        for _ in range(polls_max):
            if not self.poll():
                return
        raise Blocked(f"{self._stream} is not drained after {polls_max} polls")

    def poll(self) -> bool:
        """Offer one batch of each shard that has any; say whether there is more to do."""
        self._begin_shards()
        busy = False
        for shard in self._shards.values():
            if not shard.finished:
                self._fill(shard)
                if shard.pending:
                    self._offer(shard)
                busy |= bool(shard.pending or shard.buffer or not shard.at_tip)
        return busy or self._begin_shards()

    # ------------------------------------------------------------------------------- reading
    def _begin_shards(self) -> bool:
        listed = {s["ShardId"]: s for s in self._list_shards()}
        begun = False
        for shard_id, entry in listed.items():
            named = (entry.get("ParentShardId"), entry.get("AdjacentParentShardId"))
            parents = [parent for parent in named if parent and parent in listed]
            closed = "EndingSequenceNumber" in entry.get("SequenceNumberRange", {})
            if known := self._shards.get(shard_id):
                known.at_tip &= known.closed == closed  # records may have come before it closed
                known.closed = closed
            elif all(p in self._shards and self._shards[p].finished for p in parents):
                iterator = self._kinesis.get_shard_iterator(
                    StreamName=self._stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
                self._shards[shard_id] = ReadShard(shard_id, parents, iterator, closed)
                begun = True
        return begun

    def _list_shards(self) -> list[dict[str, Any]]:
        page = self._kinesis.list_shards(StreamName=self._stream)
        found: list[dict[str, Any]] = list(page["Shards"])
        while page.get("NextToken"):
            page = self._kinesis.list_shards(NextToken=page["NextToken"])
            found += page["Shards"]
        return found

    def _fill(self, shard: ReadShard) -> None:
        """Read until a whole batch is there, or the tip; cut it unless one is pending."""
        while len(shard.buffer) < self._options.batch_size and shard.iterator is not None:
            page = self._kinesis.get_records(
                ShardIterator=shard.iterator, Limit=self._options.batch_size
            )
            shard.iterator = page.get("NextShardIterator")
            entries = page["Records"]
            shard.buffer += [kinesis_record(self._stream, shard.shard_id, e) for e in entries]
            shard.at_tip = not entries and not page.get("MillisBehindLatest")
            if not entries:
                break
        if shard.iterator is None:
            shard.at_tip = True
        if shard.buffer and not shard.pending:
            size = self._cut(shard.buffer)
            shard.pending.append(Offered(shard.buffer[:size]))
            del shard.buffer[:size]

    def _cut(self, records: Sequence[Event]) -> int:
        """Say how many records one event may hold; at least one."""
        total = ENVELOPE_BYTES
        for number, record in enumerate(records[: self._options.batch_size]):
            total += len(json.dumps(record)) + len(", ")
            if number and total > self._options.payload_bytes_max:
                return number
        return min(len(records), self._options.batch_size)

    # ------------------------------------------------------------------------------ offering
    def _offer(self, shard: ReadShard) -> None:
        """Offer the first pending batch once, and decide what becomes of it."""
        offered = shard.pending[0]
        expired = self._expired(offered.records)
        if expired:
            self._give_up(shard, offered.records[:expired], "RecordAgeExceeded", offered.attempts)
            del offered.records[:expired]
        if not offered.records:
            shard.pending.pop(0)
            return
        finished = self._invoke(offered.records)
        if finished == len(offered.records):
            shard.pending.pop(0)
        elif finished:
            shard.pending[0] = Offered(offered.records[finished:])
        elif self._options.bisect_batch_on_function_error and len(offered.records) > 1:
            middle = len(offered.records) // 2
            halves = offered.records[:middle], offered.records[middle:]
            shard.pending[:1] = [Offered(half, offered.attempts) for half in halves]
        else:
            offered.attempts += 1
            if 0 <= self._options.maximum_retry_attempts < offered.attempts:
                self._give_up(shard, offered.records, "RetryAttemptsExhausted", offered.attempts)
                shard.pending.pop(0)

    def _expired(self, records: Sequence[Event]) -> int:
        """Count the records at the front that are too old."""
        oldest = self._outside.clock.now() / 1e6 - self._options.maximum_record_age_s
        if self._options.maximum_record_age_s < 0:
            return 0
        arrivals = [record["kinesis"]["approximateArrivalTimestamp"] for record in records]
        return next((n for n, at in enumerate(arrivals) if at >= oldest), len(records))

    def _invoke(self, records: Sequence[Event]) -> int:
        """Call the function; return how many records are done with."""
        event = json.loads(json.dumps({"Records": records}))
        self.events.append(event)
        request = f"request-{next(self._requests)}"
        try:
            answer = self._function(event, Invoked(request, self._options.function_timeout_ms))
            answer = json.loads(json.dumps(answer))
        except Exception:  # noqa: BLE001 - whatever a function raises, its batch failed
            return 0
        if not self._options.report_batch_item_failures:
            return len(records)
        return first_failure(answer, [record["kinesis"]["sequenceNumber"] for record in records])

    def _give_up(
        self, shard: ReadShard, records: Sequence[Event], condition: str, attempts: int
    ) -> None:
        """Write the invocation record with its payload, if there is a destination."""
        bucket = self._options.on_failure_bucket
        if bucket is None:
            return
        sequences = [record["kinesis"]["sequenceNumber"] for record in records]
        body = {
            "requestContext": {
                "requestId": f"request-{next(self._requests)}",
                "functionArn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:function",
                "condition": condition,
                "approximateInvokeCount": attempts,
            },
            "version": "1.0",
            "KinesisBatchInfo": {
                "shardId": shard.shard_id,
                "startSequenceNumber": sequences[0],
                "endSequenceNumber": sequences[-1],
                "batchSize": len(records),
                "streamArn": records[0]["eventSourceARN"],
            },
            "payload": json.dumps({"Records": records}),
        }
        key = f"aws/lambda/mapping/{shard.shard_id}/{sequences[0]}"
        self._outside.s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(body).encode())


class Outside(NamedTuple):
    """What a mapping needs beside the stream: the age of records, and where they end up."""

    clock: Clock
    s3: Any = None


def kinesis_record(stream: str, shard_id: str, entry: Mapping[str, Any]) -> Event:
    """Write one record of GetRecords as it stands in an event."""
    arrival: datetime = entry["ApproximateArrivalTimestamp"]
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": entry["PartitionKey"],
            "sequenceNumber": entry["SequenceNumber"],
            "data": base64.b64encode(entry["Data"]).decode(),
            "approximateArrivalTimestamp": arrival.timestamp(),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard_id}:{entry['SequenceNumber']}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": f"arn:aws:iam::{ACCOUNT}:role/function",
        "awsRegion": "us-east-1",
        "eventSourceARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{stream}",
    }


def first_failure(answer: Any, sequences: Sequence[str]) -> int:
    """Say how many records an answer calls finished: all before the lowest that it names."""
    if answer is None or answer == {}:
        return len(sequences)
    if not isinstance(answer, dict) or "batchItemFailures" not in answer:
        return 0
    failures = answer["batchItemFailures"]
    if failures is None or failures == []:
        return len(sequences)
    places = {sequence: place for place, sequence in enumerate(sequences)}
    try:
        return min(places[failure["itemIdentifier"]] for failure in failures)
    except (KeyError, TypeError):
        return 0
