"""Run lines through real servers: started here, deployed to, fed, read back, and stopped."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from consumers.children import Children
from consumers.deployment import deploy
from consumers.handlers import Consumer
from consumers.progress import Progress
from consumers.publishing import chunked, send, unpublishable
from consumers.sources import Line, PartitionBy, Partitioner
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, backoff, stream_names
from pipeline.core.errors import SystemFault, UsageError
from pipeline.core.positions import Position, parse_position
from pipeline.settings import Settings

if TYPE_CHECKING:
    from consumers.embedded import Endpoints

IDLE_WAIT = timedelta(milliseconds=50)
"""Between empty reads: an emulator has no quota, and nobody wants to wait for it."""


@contextmanager
def embedded_stack(
    settings: Settings, clock: SystemClock, progress: Progress
) -> Iterator["EmbeddedRun"]:
    """Start the servers for the length of a block. Raises SystemFault if they cannot be had."""
    try:
        from consumers.embedded import EmbeddedStack, EmbeddedStackError
    except ImportError as fault:
        raise UsageError(f"{fault.name} is missing: pip install 'tillstream[embedded]'") from None
    try:
        with EmbeddedStack(notice=progress.say) as endpoints:
            yield EmbeddedRun(settings, endpoints, clock, progress)
    except EmbeddedStackError as fault:
        raise SystemFault(str(fault)) from fault


class EmbeddedRun:
    """One run over servers that answer at `endpoints`."""

    def __init__(
        self, settings: Settings, endpoints: "Endpoints", clock: SystemClock, progress: Progress
    ) -> None:
        self.endpoints, self._clock, self._progress = endpoints, clock, progress
        self.settings = settings.model_copy(
            update={
                "endpoint_url": endpoints.aws_endpoint_url,
                "aws_credentials": "test",
                "conditional_writes": "single",  # moto answers success where a PartiQL guard failed
                "idle_wait": IDLE_WAIT,
                "postgres_dsn": endpoints.postgres_dsn,
                "redis_url": endpoints.redis_url,
            }
        )
        self.ports = AwsPorts(self.settings, clock)
        self.placed: dict[int, list[Position]] = {}

    def deploy(self, shard_count: int) -> None:
        """Create streams, tables, bucket and schema."""
        deploy(self.settings, self._clock, shard_count, protect=False)

    def publish(self, lines: Sequence[Line], by: PartitionBy, map_file: Path) -> None:
        """Put every line on the stream; keep the map of lines to positions as it grows."""
        rules, patience = self.settings.rules(), backoff(self.settings, self._clock)
        partitioner = Partitioner(rules, by, self.ports.events.shards())
        stream = stream_names(self.settings)[0]
        with map_file.open("ab") as durable, self._progress.bars({"publish": len(lines)}) as bars:
            for line, position in send(chunked(lines), self.ports.events, partitioner, patience):
                if position is None:
                    refused = unpublishable(line, stream, self._clock.now(), rules)
                    patience.drain("quarantine", self.ports.quarantine.put, [refused])
                    position = refused.record.position
                durable.write(orjson.dumps([line.number, position.text()]) + b"\n")
                self.placed.setdefault(line.number, []).append(position)
                bars.update("publish", len(self.placed))

    def consume(self, consumers: Sequence[Consumer] = tuple(Consumer)) -> int:
        """Run the consumers side by side until the streams are drained; return the restarts."""
        total = sum(map(len, self.placed.values()))
        totals = {str(c): total if c is Consumer.INVENTORY else None for c in consumers}
        with self._progress.bars(totals) as bars:
            done: Counter[str] = Counter()

            def on_batch(name: str, counts: Counter[str]) -> None:
                done[name] += counts["read"]
                done["facts"] += counts["facts"] if name == "inventory" else 0
                bars.update(name, done[name], None if name == "inventory" else done["facts"])

            environment, say = self.settings.environment(), self._progress.say
            children = Children(environment, self._clock, on_batch, say)
            children.run(tuple(map(str, consumers)))
        return children.restarts


def read_map(map_file: Path) -> dict[int, list[Position]]:
    """Read the map of lines to positions back."""
    placed: dict[int, list[Position]] = {}
    for row in map_file.read_bytes().splitlines():
        line, position = orjson.loads(row)
        placed.setdefault(line, []).append(parse_position(position))
    return placed
