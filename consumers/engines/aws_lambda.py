"""The Lambda engine: one function a consumer, behind a Kinesis event source mapping.

The mapping owns what other engines own themselves: it reads each shard in order, parents before
children, keeps the place, and offers a batch again until it is finished. What is left for the
engine is to say honestly how far a batch came.

    in      one shard's records in order; anything else is refused, since P1 does not hold then
    work    batches of `batch_records_max`, each to its end before the next
    out     nothing: all of it is durable; or the first record of the first batch that is not

A batch of a handler is finished whole or not at all, so the first record that is named is the first
of a batch, and the mapping offers it and everything behind it again. (Powertools' batch processor
goes on behind a record that failed and names the failed ones: right for records that know nothing
of each other, wrong for a shard that is folded in order.) A fault that waiting may mend is answered
so, and shows as the metric `unfinished` and as the mapping's iterator age; any other is raised, so
that the function's error alarm fires, and the mapping offers the whole batch again.

Time. The invocation's remaining time bounds everything: no pause and no batch begins that would not
end with a call's time-out to spare. If the function is cut off all the same, nothing is lost or
doubled, only repeated.

What the mapping must say, and the function cannot see (P1): start at TRIM_HORIZON, one batch a
shard at a time, retries and record age without limit, no on-failure destination, partial batch
responses. A test holds the templates in `infra/` to it.

A sink that was set back (a warehouse restored from a backup) lacks what the mapping will never
offer again. So a shard's first batch in an environment, and the first after a failure, asks the
handler where to go on, as the local engine does, and what lies between there and the batch is read
from the stream and handled first: in this shard and in the closed ones that it came from.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import (
    KinesisStreamEvent,
    KinesisStreamRecord,
)

from consumers.handlers import Consumer, build_handler
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, Ports, backoff, stream_names
from pipeline.core.errors import (
    BudgetExhausted,
    FellBehind,
    RefusedToStart,
    Stopping,
    SystemFault,
    TransientFault,
)
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.clock import Clock
from pipeline.ports.streams import TRIM_HORIZON, RecordStream, Shard, Start
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.catching_up import CatchUp
from pipeline.runtime.handler import BatchReport, Handler
from pipeline.settings import Settings

ANSWER_S = 1.0
"""Kept for the answer itself: logs, metrics, and a runtime that is not on time to the ms."""

Response = dict[str, list[dict[str, str]]]
"""`batchItemFailures`: empty for success, else one item, whose sequence number to go on from."""

_log = logging.getLogger("tillstream.lambda")


class Context(Protocol):
    """What the engine asks of Lambda's context."""

    @property
    def aws_request_id(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still last."""


# ------------------------------------------------------------------------------ entry points
def inventory_handler(event: Mapping[str, Any], context: Context) -> Response:
    """Handle records of `pos-events`."""
    return _engine(Consumer.INVENTORY).invoke(event, context)


def cache_handler(event: Mapping[str, Any], context: Context) -> Response:
    """Handle records of `inventory-changes` for Redis."""
    return _engine(Consumer.CACHE).invoke(event, context)


def etl_handler(event: Mapping[str, Any], context: Context) -> Response:
    """Handle records of `inventory-changes` for PostgreSQL."""
    return _engine(Consumer.ETL).invoke(event, context)


@cache
def _engine(consumer: Consumer) -> "LambdaEngine":
    """Make the engine once an environment; it connects at its first event."""
    Logger(service="tillstream")  # the project's loggers are its children: from here on, JSON
    return LambdaEngine.wired(consumer, Settings(), SystemClock(), AwsPorts)


# ---------------------------------------------------------------------------------- the clock
class InvocationClock:
    """A clock whose waits end with the invocation; `ports.clock.Clock`.

    A wait that would outlast the deadline raises Stopping at once, so every back-off in the system
    is bounded by the invocation without knowing of it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self.deadline = clock, float("inf")

    def now(self) -> int:
        """Return microseconds since 1970."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic()

    def wait(self, seconds: float) -> None:
        """Pause. Raises Stopping if the invocation would be over before."""
        if self._clock.monotonic() + seconds >= self.deadline:
            raise Stopping("the invocation's time is over")
        self._clock.wait(seconds)

    def jitter(self) -> float:
        """Return a number in [0, 1)."""
        return self._clock.jitter()


# --------------------------------------------------------------------------------- the engine
class Site(NamedTuple):
    """What an environment works with from its first event on."""

    handler: Handler
    stream: RecordStream
    backoff: Backoff


@dataclass(frozen=True, slots=True)
class LambdaOptions:
    """Which consumer, of which stream, in batches of how many records.

    `reserve_s` is kept free at the end of an invocation; metrics go to `namespace`.
    """

    consumer: Consumer
    stream: str
    batch_records_max: int
    reserve_s: float
    namespace: str


@dataclass(slots=True)
class Progress:
    """How far one invocation came."""

    records: Sequence[KinesisStreamRecord]
    finished: int = 0
    slowest_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def unfinished(self) -> int:
        """Count the records that must come again."""
        return len(self.records) - self.finished


class TimedHandler:
    """A handler whose batches are counted, and begin only while there is time for them."""

    def __init__(self, handler: Handler, clock: InvocationClock, progress: Progress) -> None:
        self.name, self.resume = handler.name, handler.resume
        self._handler, self._clock, self._progress = handler, clock, progress

    def handle(self, batch: Batch) -> BatchReport:
        """Handle one batch. Raises Stopping if it would take too long, by the slowest so far."""
        began, progress = self._clock.monotonic(), self._progress
        if began + progress.slowest_s >= self._clock.deadline:
            raise Stopping("no time is left for another batch")
        report = self._handler.handle(batch)
        progress.counts.update(report.counts)
        progress.slowest_s = max(progress.slowest_s, self._clock.monotonic() - began)
        return report


class LambdaEngine:
    """Drive one handler with the events of one mapping.

    One invocation at a time, as Lambda calls an environment. `start` connects and runs the start-up
    checks; it is called at the first event, and again at the next if it raised.
    """

    def __init__(
        self, options: LambdaOptions, clock: Clock, start: Callable[[Clock], Site]
    ) -> None:
        self._options, self._start = options, start
        self._clock = InvocationClock(clock)
        self._site: Site | None = None
        self._shards: dict[str, Shard] = {}
        self._joined: set[str] = set()

    @classmethod
    def wired(
        cls,
        consumer: Consumer,
        settings: Settings,
        clock: Clock,
        connect: Callable[[Settings, Clock], Ports],
    ) -> "LambdaEngine":
        """Wire the engine of a consumer; `connect` makes the ports at the first event."""
        events, changes = stream_names(settings)
        options = LambdaOptions(
            consumer=consumer,
            stream=events if consumer is Consumer.INVENTORY else changes,
            batch_records_max=settings.batch_records_max,
            reserve_s=settings.call_timeout.total_seconds() + ANSWER_S,
            namespace=settings.prefix,
        )

        def start(clock: Clock) -> Site:
            ports = connect(settings, clock)
            handler = build_handler(consumer, settings, ports, clock, TRIM_HORIZON)
            stream = ports.events if consumer is Consumer.INVENTORY else ports.changes
            return Site(handler, stream, backoff(settings, clock))

        return cls(options, clock, start)

    def invoke(self, event: Mapping[str, Any], context: Context) -> Response:
        """Handle one event; answer what must come again.

        Raises whatever no waiting mends: RefusedToStart for an event or a start that breaks a
        precondition, SystemFault for a missing table or permission.
        """
        if "Records" not in event:
            raise RefusedToStart("not a Kinesis event: call the function through a mapping")
        progress = Progress(list(KinesisStreamEvent(dict(event)).records))
        if not progress.records:
            return {"batchItemFailures": []}
        try:
            self._work(progress, context)
        except (TransientFault, BudgetExhausted, Stopping, FellBehind) as fault:
            told = f"{progress.unfinished} of {len(progress.records)} records come again"
            extra = {"request_id": context.aws_request_id}
            _log.warning("%s: %s; %s", self._options.consumer, fault, told, extra=extra)
        finally:
            self._emit(progress)
        left = progress.records[progress.finished :][:1]
        return {"batchItemFailures": [{"itemIdentifier": r.kinesis.sequence_number} for r in left]}

    def _work(self, progress: Progress, context: Context) -> None:
        seconds = context.get_remaining_time_in_millis() / 1_000
        if seconds <= self._options.reserve_s:
            raise RefusedToStart(
                f"the function's time-out leaves {seconds:g} s, and {self._options.reserve_s:g} s"
                " are kept for a call that hangs: raise the time-out or lower call_timeout"
            )
        self._clock.deadline = self._clock.monotonic() + seconds - self._options.reserve_s
        shard_id, records = _read(progress.records, self._options.stream)
        site = self._site = self._site or self._start(self._clock)
        shard = self._shard(site, shard_id)
        handler = TimedHandler(site.handler, self._clock, progress)
        limit = self._options.batch_records_max
        if shard_id not in self._joined:
            before = Start("AFTER_SEQUENCE_NUMBER", records[0].position.sequence - 1)
            catch_up = CatchUp(handler, site.stream, site.backoff, limit)
            catch_up.run(self._shards, shard_id, Checkpoint(before))
        self._joined.discard(shard_id)  # until all of this is finished: a fault is a reason to look
        for part in _parts(records, limit):
            handler.handle(Batch(shard_id, part, shard.hash_range))
            progress.finished += len(part)
        self._joined.add(shard_id)

    def _shard(self, site: Site, shard_id: str) -> Shard:
        """Find a shard and the hash keys it owns; they never change, so one look is enough."""
        if shard_id not in self._shards:
            found = site.backoff.call("shards", site.stream.shards)
            self._shards = {shard.shard_id: shard for shard in found}
        if shard_id not in self._shards:
            raise SystemFault(f"{self._options.stream} has no shard {shard_id}")
        return self._shards[shard_id]

    # --------------------------------------------------------------------------------- metrics
    def _emit(self, progress: Progress) -> None:
        """Write the counts as one line of embedded metric format."""
        metrics = EphemeralMetrics(namespace=self._options.namespace)
        metrics.add_dimension(name="consumer", value=str(self._options.consumer))
        for name, value in {**progress.counts, "unfinished": progress.unfinished}.items():
            metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
        metrics.flush_metrics()


# ---------------------------------------------------------------------------------- the event
def _read(records: Sequence[KinesisStreamRecord], stream: str) -> tuple[str, list[Record]]:
    """Read an event's records, which must be one shard's, in order. Raises RefusedToStart."""
    shard_ids = {record.event_id.rpartition(":")[0] for record in records}
    streams = {_stream_of(record.event_source_arn) for record in records}
    if len(shard_ids) != 1 or streams != {stream}:
        raise RefusedToStart(
            f"an event must hold records of one shard of {stream}, this one is of"
            f" {', '.join(sorted(streams))}: {', '.join(sorted(shard_ids))} (P1)"
        )
    (shard_id,) = shard_ids
    read = [_record(record, stream, shard_id) for record in records]
    orders = [record.position.sequence for record in read]
    if not shard_id or any(a >= b for a, b in pairwise(orders)):
        raise RefusedToStart(f"the records of an event of {shard_id} are out of order (P1)")
    return shard_id, read


def _record(record: KinesisStreamRecord, stream: str, shard_id: str) -> Record:
    payload = record.kinesis
    if record.event_id != f"{shard_id}:{payload.sequence_number}":
        raise RefusedToStart(f"{record.event_id} is not {payload.sequence_number} (P1)")
    position = Position(stream, shard_id, int(payload.sequence_number))
    arrival = round(payload.approximate_arrival_timestamp * 1_000_000)
    return Record(payload.data_as_bytes(), position, arrival)


def _stream_of(arn: str) -> str:
    """Name the stream of an ARN, which may be that of a consumer with fan-out."""
    return arn.partition(":stream/")[2].partition("/")[0]


def _parts(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    return (records[at : at + size] for at in range(0, len(records), size))
