"""The local engine on a stream in memory, with a handler that looks on."""

import threading
from collections.abc import Callable
from typing import Any

from consumers.engines.local import LocalEngine, LocalOptions, LocalPorts
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory import MemoryCheckpoints, MemoryStream
from pipeline.core.records import Batch
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, Message, Start
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport

LOW, HIGH = "shardId-000000000000", "shardId-000000000001"
NOW = 1_300_000_000_000_000


class Recorder:
    """A handler that notes what it is given; `on_batch` may look on, fail or wait."""

    name = "recorder"

    def __init__(self, on_batch: Callable[[Batch], None] | None = None) -> None:
        self.on_batch = on_batch
        self.batches: list[tuple[str, list[bytes]]] = []

    def handle(self, batch: Batch) -> BatchReport:
        self.batches.append((batch.shard_id, [record.data for record in batch.records]))
        if self.on_batch is not None:
            self.on_batch(batch)
        return BatchReport()

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint

    @property
    def data(self) -> list[bytes]:
        return [one for _, data in self.batches for one in data]


class Rig:
    """One engine on a stream in memory."""

    def __init__(self, handler: Any, shard_count: int = 1, start: Start = TRIM_HORIZON) -> None:
        self.handler, self.start = handler, start
        self.stream = MemoryStream("s", shard_count, lambda: NOW)
        self.checkpoints = MemoryCheckpoints()
        self.halt = threading.Event()
        self.batch_records_max, self.budget_s = 2, 5.0

    def put(self, *data: bytes, hash_at: int = 0) -> None:
        self.stream.publish([Message(one, "k", hash_at) for one in data])

    def engine(
        self, owner: str = "one", stream: Any = None, checkpoints: Any = None
    ) -> LocalEngine:
        clock = SystemClock(self.halt)
        ports = LocalPorts(
            stream or self.stream,
            checkpoints or self.checkpoints,
            clock,
            Backoff(clock, 0.001, 0.002, self.budget_s),
            self.halt,
        )
        options = LocalOptions(owner, self.batch_records_max, 0.001, self.start)
        return LocalEngine(self.handler, ports, options, lambda *_: None)

    def drain(self, **changes: Any) -> None:
        self.halt.clear()
        self.engine(**changes).run(lambda: True)

    def reached(self, shard_id: str = LOW) -> Checkpoint:
        return self.checkpoints.all("recorder")[shard_id]


def behind(sequence: int) -> Checkpoint:
    return Checkpoint(Start("AFTER_SEQUENCE_NUMBER", sequence))


class Faulty:
    """A port whose named method raises these faults before it works."""

    def __init__(self, port: Any, method: str, *faults: Exception) -> None:
        self._port, self._method, self._faults = port, method, list(faults)

    def __getattr__(self, name: str) -> Any:
        return self._call if name == self._method else getattr(self._port, name)

    def _call(self, *args: Any) -> Any:
        if self._faults:
            raise self._faults.pop(0)
        return getattr(self._port, self._method)(*args)
