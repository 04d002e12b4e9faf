"""The etl consumer as a process that can be killed: the shipped engine over a stream from a file.

What is shipped runs: local engine, handler, loader. The stream and the checkpoints come from files,
so that no emulator stands between a test and the moment at which it kills. A line on standard
output tells of each batch.
"""

import fcntl
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from consumers.engines import local
from consumers.engines.local import LocalEngine, LocalOptions, LocalPorts
from consumers.etl import EtlHandler
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory import MemoryCheckpoints, MemoryQuarantine, MemoryStream
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.core.errors import TillstreamError
from pipeline.core.records import Record
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import Start
from pipeline.runtime.backoff import Backoff

BATCH = 2
PAUSE_S = 0.02
PATIENCE_S = 0.3
"""Of the pool; what waits for longer says so, and is tried again."""


def save(records: Mapping[str, list[Record]], file: Path) -> None:
    """Write a stream that was not resharded."""
    file.write_bytes(pickle.dumps(dict(records)))


def _stream(file: Path) -> MemoryStream:
    records = pickle.loads(file.read_bytes())
    stream = MemoryStream("changes", len(records), lambda: 0)
    assert stream.records.keys() == records.keys()
    stream.records = records
    return stream


class FileCheckpoints(MemoryCheckpoints):
    """`ports.checkpoints.CheckpointStore` in a file that processes share."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    @contextmanager
    def _shared(self) -> Iterator[None]:
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._file.exists():
                self.items = pickle.loads(self._file.read_bytes())
            yield
            written = self._file.with_suffix(".new")
            written.write_bytes(pickle.dumps(self.items))
            written.replace(self._file)

    def take(self, consumer: str, shard_id: str, owner: str, start: Start) -> Checkpoint:
        """Become the owner."""
        with self._shared():
            return super().take(consumer, shard_id, owner, start)

    def advance(self, consumer: str, shard_id: str, owner: str, to: Checkpoint) -> None:
        """Move on, if still the owner."""
        with self._shared():
            super().advance(consumer, shard_id, owner, to)


def consume(dsn: str, folder: Path, owner: str) -> None:
    """Load until nothing is left."""

    def tell(shard_id: str, report: Any, behind_ms: int) -> None:
        sys.stdout.write(f"{shard_id}\n")
        sys.stdout.flush()

    clock = SystemClock()
    patience = Backoff(clock, first_pause_s=PAUSE_S, longest_pause_s=0.1)
    options = LocalOptions(owner, BATCH, idle_wait_s=PAUSE_S)
    with PostgresWarehouse(dsn, patience_s=PATIENCE_S) as warehouse:
        handler = EtlHandler(warehouse, MemoryQuarantine(), patience)
        checkpoints = FileCheckpoints(folder / "checkpoints")
        ports = LocalPorts(_stream(folder / "stream"), checkpoints, clock, patience, clock.stop)
        LocalEngine(handler, ports, options, tell).run(lambda: True)


def main(dsn: str, folder: str, owner: str, mistake: str = "") -> int:
    """Consume, with a planted mistake if one is named; 1 if it has to be started again."""
    local.SHARD_PAUSE_S = local.POLL_S = PAUSE_S
    planted: Any = nullcontext()
    if mistake:
        from tests.loader_mistakes import MISTAKES

        planted = MISTAKES[mistake].planted()
    try:
        with planted:
            consume(dsn, Path(folder), owner)
    except TillstreamError as fault:
        sys.stderr.write(f"{owner}: {fault}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
