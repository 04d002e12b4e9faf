"""The local engine: one process, one thread a shard. For a laptop, tests and small shops.

Each shard's thread reads a batch, hands it to the handler, and checkpoints once the handler has
returned; never before, so a crash repeats a batch and loses none. A shard that was split or merged
is read to its end before its children begin, so that a key's events keep their order across a
reshard.

When the outside fails for longer than the handler's own patience, the shard goes back to its
checkpoint after a pause, for as long as it takes: the batch waits, nothing is skipped, other
shards go on. Faults that no waiting mends stop the engine.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.core.errors import BudgetExhausted, LeaseLost, Stopping, TransientFault
from pipeline.core.records import Batch, Record
from pipeline.ports.checkpoints import Checkpoint, CheckpointStore
from pipeline.ports.clock import Clock
from pipeline.ports.streams import (
    TRIM_HORIZON,
    Cursor,
    IteratorExpired,
    Page,
    RecordStream,
    Shard,
    Start,
)
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport, Handler

SHARD_SYNC_S = 10.0
"""Between two looks for new shards; the end of a shard is followed by a look at once."""
POLL_S = 0.05
"""Between two looks at the readers."""
SHARD_PAUSE_S = 5.0
"""Before a shard that failed goes back to its checkpoint."""
READERS_MAX = 256
"""Threads of one process; beyond that many shards a fleet is the right engine."""

Observer = Callable[[str, BatchReport, int], None]
"""Called on the shard's thread after each batch: shard, report, milliseconds behind the tip."""

_log = logging.getLogger("tillstream.local")


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How the engine reads. `owner` must differ between processes."""

    owner: str
    batch_records_max: int
    idle_wait_s: float
    start: Start = TRIM_HORIZON


@dataclass(frozen=True, slots=True)
class LocalPorts:
    """What the engine needs of the outside.

    `halt` is the event that interrupts the clock's waits.
    """

    stream: RecordStream
    checkpoints: CheckpointStore
    clock: Clock
    backoff: Backoff
    halt: threading.Event


class LocalEngine:
    """Drive one handler over every shard of one stream."""

    def __init__(
        self, handler: Handler, ports: LocalPorts, options: LocalOptions, observer: Observer
    ) -> None:
        self._handler, self._ports, self._options = handler, ports, options
        self._observer = observer
        self._readers: dict[str, ShardReader] = {}
        self._running: dict[Future[None], ShardReader] = {}

    def run(self, upstream_drained: Callable[[], bool] | None = None) -> None:
        """Read until a stop is asked for; with `upstream_drained`, until nothing is left to read.

        Nothing is left once that callable has said so and every shard was read to its tip after
        that. Raises LeaseLost when other processes have taken every shard, and whatever fault no
        waiting mends. On return no thread is left, and each shard is checkpointed at its last
        batch.
        """
        with ThreadPoolExecutor(READERS_MAX, thread_name_prefix="shard") as pool:
            try:
                self._loop(pool, upstream_drained)
            except Stopping:
                _log.info("stopping: each shard finishes its batch")
            finally:
                self._ports.halt.set()
        for future in self._running:
            future.result()

    def shards(self) -> list[str]:
        """Name the shards that are being read; safe from any thread."""
        return [reader.shard.shard_id for reader in list(self._running.values())]

    def _loop(self, pool: ThreadPoolExecutor, upstream_drained: Callable[[], bool] | None) -> None:
        clock = self._ports.clock
        sync_at = drained_at = float("-inf")
        while True:
            ended = self._reap()
            try:
                if ended or clock.monotonic() >= sync_at:
                    sync_at = float("-inf")  # a look that fails is followed by another
                    self._start(pool)
                    sync_at = clock.monotonic() + SHARD_SYNC_S
                if upstream_drained is not None and self._at_tip_since(drained_at):
                    if drained_at > float("-inf"):
                        return
                    if upstream_drained():
                        drained_at = clock.monotonic()
            except (TransientFault, BudgetExhausted) as fault:
                if not self._readers:
                    raise
                _log.warning("%s: %s; the shards at work go on", self._handler.name, fault)
            clock.wait(POLL_S)

    def _reap(self) -> bool:
        """Collect readers that ended; true if a shard did, whose children may start."""
        ended = [future for future in self._running if future.done()]
        for future in ended:
            del self._running[future]
            future.result()
        lost = [r.shard.shard_id for r in self._readers.values() if r.lost]
        if lost and not self._running:
            raise LeaseLost(f"another {self._handler.name} consumer has taken {', '.join(lost)}")
        return bool(ended)

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Start every shard whose parents are finished, or no longer known to the stream."""
        ports = self._ports
        shards = {s.shard_id: s for s in ports.backoff.call("shards", ports.stream.shards)}
        for shard in shards.values():
            parents = [parent for parent in shard.parents if parent in shards]
            if shard.shard_id not in self._readers and all(map(self._is_finished, parents)):
                reader = ShardReader(shard, self._handler, ports, self._options, self._observer)
                self._readers[shard.shard_id] = reader
                self._running[pool.submit(reader.run)] = reader

    def _is_finished(self, shard_id: str) -> bool:
        reader = self._readers.get(shard_id)
        return reader is not None and reader.finished

    def _at_tip_since(self, moment: float) -> bool:
        return bool(self._readers) and all(r.at_tip_at > moment for r in self._running.values())


class ShardReader:
    """Read one shard from its checkpoint to its end, or until a stop."""

    def __init__(
        self,
        shard: Shard,
        handler: Handler,
        ports: LocalPorts,
        options: LocalOptions,
        observer: Observer,
    ) -> None:
        self.shard, self._handler, self._ports = shard, handler, ports
        self._options, self._observer = options, observer
        self._checkpoint: Checkpoint | None = None
        self.finished = self.lost = False
        self.at_tip_at = float("-inf")
        """When the last read that found nothing began; minus infinity while there is work."""

    def run(self) -> None:
        """Go on from the checkpoint, again and again after faults that waiting may mend."""
        while not self._ports.halt.is_set():
            try:
                self._read()
                return
            except Stopping:
                return
            except LeaseLost as loss:
                _log.warning("%s: %s", self.shard.shard_id, loss)
                self.lost = True
                return
            except (TransientFault, BudgetExhausted) as fault:
                _log.warning("%s: %s; back to the checkpoint", self.shard.shard_id, fault)
                self.at_tip_at = float("-inf")
                self._ports.halt.wait(SHARD_PAUSE_S)

    def _read(self) -> None:
        checkpoint = self._take()
        cursor: Cursor | None = None
        while not checkpoint.finished and not self._ports.halt.is_set():
            began = self._ports.clock.monotonic()
            page = self._page(cursor or self._open(checkpoint.start))
            if page is None:
                cursor = None
                continue
            if page.records:
                checkpoint = self._handle(page.records, page.behind_ms)
            cursor = page.cursor
            if cursor is None:
                checkpoint = self._advance(Checkpoint(checkpoint.start, finished=True))
            elif not page.records:
                self.at_tip_at = float("-inf") if page.behind_ms else began
                self._ports.clock.wait(self._options.idle_wait_s)
        self.finished = checkpoint.finished

    def _take(self) -> Checkpoint:
        """Take the shard, once: taking it again after a fault would rob whoever took it since."""
        ports, options = self._ports, self._options
        name, shard_id = self._handler.name, self.shard.shard_id
        taken = self._checkpoint = self._checkpoint or ports.backoff.call(
            "take shard",
            lambda: ports.checkpoints.take(name, shard_id, options.owner, options.start),
        )
        return ports.backoff.call("resume", lambda: self._handler.resume(shard_id, taken))

    def _open(self, start: Start) -> Cursor:
        shard_id, stream = self.shard.shard_id, self._ports.stream
        return self._ports.backoff.call("open shard", lambda: stream.open(shard_id, start))

    def _page(self, cursor: Cursor) -> Page | None:
        """Read on; None if the cursor grew too old, which no second try with it would mend."""

        def attempt() -> Page | None:
            limit = self._options.batch_records_max
            try:
                return self._ports.stream.read(self.shard.shard_id, cursor, limit)
            except IteratorExpired:
                return None

        return self._ports.backoff.call("read", attempt)

    def _handle(self, records: Sequence[Record], behind_ms: int) -> Checkpoint:
        self.at_tip_at = float("-inf")
        report = self._handler.handle(Batch(self.shard.shard_id, records, self.shard.hash_range))
        last = records[-1].position.sequence
        checkpoint = self._advance(Checkpoint(Start("AFTER_SEQUENCE_NUMBER", last)))
        self._observer(self.shard.shard_id, report, behind_ms)
        return checkpoint

    def _advance(self, to: Checkpoint) -> Checkpoint:
        name, shard_id, ports = self._handler.name, self.shard.shard_id, self._ports
        ports.backoff.call(
            "checkpoint",
            lambda: ports.checkpoints.advance(name, shard_id, self._options.owner, to),
        )
        self._checkpoint = to
        return to
