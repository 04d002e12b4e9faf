"""The Lambda engine on a stream in memory, and events to call it with."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from consumers.engines.aws_lambda import LambdaEngine, LambdaOptions, Response, Site
from consumers.handlers import Consumer
from pipeline.adapters.memory import MemoryStream
from pipeline.ports.clock import Clock
from pipeline.ports.streams import Message
from pipeline.runtime.backoff import Backoff
from tests.clocks import VirtualClock
from tests.engines.rig import LOW, NOW
from tests.event_source_mapping import (
    Event,
    EventSourceMapping,
    Invoked,
    MappingOptions,
    Outside,
    kinesis_record,
)
from tests.memory_kinesis import MemoryKinesis

OPTIONS = LambdaOptions(Consumer.INVENTORY, "s", 2, reserve_s=11.0, namespace="spaces")
ARRIVED = datetime.fromtimestamp(NOW / 1_000_000, UTC)
MINUTE_MS = 60_000


class LambdaRig:
    """One engine, its stream and its clock; a record's data is its sequence number."""

    def __init__(self, handler: Any, shard_count: int = 1, **options: Any) -> None:
        self.handler, self.clock = handler, VirtualClock()
        self.stream: Any = MemoryStream("s", shard_count, lambda: NOW)
        self.starts = 0
        self.on_start: Callable[[], None] = lambda: None
        self.engine = LambdaEngine(replace(OPTIONS, **options), self.clock, self._start)

    def _start(self, clock: Clock) -> Site:
        self.starts += 1
        self.on_start()
        return Site(self.handler, self.stream, Backoff(clock, 1.0, 1.0, 30.0))

    def put(self, count: int, hash_at: int = 0) -> None:
        self.stream.publish([Message(b"%d" % n, "k", hash_at) for n in range(1, count + 1)])

    def invoke(self, *numbers: int, shard_id: str = LOW, ms: int = MINUTE_MS) -> Response:
        """Call the function with these records."""
        return self.call(event(*numbers, shard_id=shard_id), ms)

    def call(self, whole: Event, ms: int = MINUTE_MS) -> Response:
        """Call the function with this event."""
        return self.engine.invoke(whole, Invoked("request", ms))

    def mapping(self, **options: Any) -> EventSourceMapping:
        """Put a mapping between the stream and the function."""
        return EventSourceMapping(
            MemoryKinesis(self.stream),
            "s",
            self.engine.invoke,
            MappingOptions(**options),
            Outside(self.clock),
        )


def event(*numbers: int, shard_id: str = LOW, stream: str = "s") -> Event:
    """Write an event of records whose data is their sequence number."""
    return {"Records": [record(number, shard_id, stream) for number in numbers]}


def record(number: int, shard_id: str = LOW, stream: str = "s") -> Event:
    entry = {
        "SequenceNumber": str(number),
        "Data": b"%d" % number,
        "PartitionKey": "k",
        "ApproximateArrivalTimestamp": ARRIVED,
    }
    return kinesis_record(stream, shard_id, entry)


def from_record(number: int) -> Response:
    """Write the answer that names a record."""
    return {"batchItemFailures": [{"itemIdentifier": str(number)}]}


DONE: Response = {"batchItemFailures": []}
