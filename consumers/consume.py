"""Run one consumer on the local engine."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from consumers.engines.local import LocalEngine, LocalOptions, LocalPorts, Observer
from consumers.handlers import Consumer, build_handler
from consumers.health import Address, Pulse, served
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, Ports, backoff
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, RecordStream, Shard, Start
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class How:
    """Where to start shards never read before, and whether to end once nothing is left.

    `health` is where its health can be asked for.
    """

    start: Start = TRIM_HORIZON
    until_drained: bool = False
    health: Address | None = None


def consume(
    consumer: Consumer, settings: Settings, clock: SystemClock, observer: Observer, how: How
) -> None:
    """Run until the clock's stop event is set, or until nothing is left to read.

    Raises RefusedToStart if a precondition does not hold, LeaseLost if others took every shard,
    UsageError if its health cannot be served where it is wanted.
    """
    pulse = Pulse(consumer)

    def observe(shard_id: str, report: BatchReport, behind_ms: int) -> None:
        pulse.moved(shard_id, behind_ms)
        observer(shard_id, report, behind_ms)

    with served(how.health, pulse):
        ports = AwsPorts(settings, clock)
        patience = backoff(settings, clock)
        handler = build_handler(consumer, settings, ports, clock, how.start)
        stream = ports.events if consumer is Consumer.INVENTORY else ports.changes
        options = LocalOptions(
            owner=f"{socket.gethostname()}/{os.getpid()}/{clock.now()}",
            batch_records_max=settings.batch_records_max,
            idle_wait_s=settings.idle_wait.total_seconds(),
            start=how.start,
        )
        local = LocalPorts(stream, ports.checkpoints, clock, patience, clock.stop)
        upstream: Callable[[], bool] | None = None
        if how.until_drained:
            first = consumer is Consumer.INVENTORY
            upstream = (lambda: True) if first else lambda: is_drained(ports, patience)
        engine = LocalEngine(handler, local, options, observe)
        pulse.begin(handler.health, engine.shards)
        engine.run(upstream)


def is_drained(ports: Ports, patience: Backoff) -> bool:
    """Say whether the inventory consumer has finished with every record of its stream."""
    checkpoints = patience.call(
        "checkpoints", lambda: ports.checkpoints.all(str(Consumer.INVENTORY))
    )
    shards = patience.call("shards", ports.events.shards)
    return all(
        _is_finished(shard, checkpoints.get(shard.shard_id), ports.events, patience)
        for shard in shards
    )


def _is_finished(
    shard: Shard, checkpoint: Checkpoint | None, stream: RecordStream, patience: Backoff
) -> bool:
    if checkpoint is not None and checkpoint.finished:
        return True
    start = TRIM_HORIZON if checkpoint is None else checkpoint.start
    cursor = patience.call("open shard", lambda: stream.open(shard.shard_id, start))
    page = patience.call("read tip", lambda: stream.read(shard.shard_id, cursor, 1))
    return not page.records and not page.behind_ms and page.cursor is not None
