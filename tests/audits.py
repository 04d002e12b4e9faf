"""A small installation in memory that has run to its end, to be damaged, audited and repaired."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from consumers import inventory
from consumers.audit.auditing import Audit, audit
from consumers.cache import CacheHandler
from consumers.demo import demo_lines
from consumers.etl import EtlHandler
from consumers.inventory import InventoryHandler
from consumers.memory_run import MemoryRun
from consumers.sources import Line, PartitionBy
from pipeline.bootstrap import MemoryPorts, backoff
from pipeline.core.instants import from_datetime
from pipeline.core.reconciling import EVERYTHING, Part
from pipeline.core.records import Batch
from pipeline.ports.streams import TRIM_HORIZON
from pipeline.runtime.handler import Handler
from pipeline.settings import Settings
from tests.clocks import VirtualClock
from tests.crashes import steps_over

LINES = 500
ARRIVAL = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(batch_records_max=50, arrival_clock=ARRIVAL)


class Audited:
    """An installation and what can be done to it."""

    by = PartitionBy.KEY
    long = timedelta(days=400)

    def __init__(self, lines: list[Line], settings: Settings = SETTINGS, shards: int = 2) -> None:
        self.settings, self.clock = settings, VirtualClock()
        self.run = MemoryRun(settings, self.clock, shards)
        self.run.publish(lines, PartitionBy.KEY)
        for _ in self.run.consume(lines):
            pass

    @property
    def ports(self) -> MemoryPorts:
        """Everything in memory."""
        return self.run.ports

    def audit(self, part: Part = EVERYTHING, *, mend: bool = False) -> Audit:
        """Audit, or repair."""
        return audit(self.ports, self.settings, self.clock, part, mend=mend)

    def working(
        self, around: Callable[..., Any] | None = None, broken: type[Exception] = Exception
    ) -> Iterator[bool]:
        """Process all batches of the stream; yield whether each of them was finished."""
        steps = steps_over(self.ports, around or (lambda call, *args: call(*args)), self.settings)
        handler = InventoryHandler(steps, from_datetime(ARRIVAL))
        inventory.check_preconditions(
            inventory.preconditions(self.settings, TRIM_HORIZON), self.ports.states
        )
        size = self.settings.batch_records_max
        for shard_id, records in self.ports.events.records.items():
            for at in range(0, len(records), size):
                try:
                    handler.handle(Batch(shard_id, records[at : at + size]))
                    yield True
                except broken:
                    yield False

    def work(
        self,
        around: Callable[..., Any] | None = None,
        broken: type[Exception] = Exception,
        *,
        skipped: bool = True,
    ) -> None:
        """Process all batches; end at one that is broken off, unless such are skipped."""
        for finished in self.working(around, broken):
            if not finished and not skipped:
                return

    def drain(self) -> None:
        """Let etl and cache read everything again, from the start."""
        patience, quarantine = backoff(self.settings, self.clock), self.ports.quarantine
        handlers: tuple[Handler, ...] = (
            EtlHandler(self.ports.warehouse, quarantine, patience),
            CacheHandler(self.ports.cache, quarantine, patience),
        )
        for shard_id, records in self.ports.changes.records.items():
            for handler in handlers:
                handler.handle(Batch(shard_id, list(records)))

    def mended(self) -> Audit:
        """Repair, let the sinks catch up, and audit again."""
        self.audit(mend=True)
        self.drain()
        return self.audit()


def installation(lines: int = LINES, **settings: object) -> Audited:
    """Run the beginning of the demo's deliveries."""
    changed = SETTINGS.model_copy(update=settings)
    return Audited(demo_lines()[:lines], changed)
