"""Run lines through the consumers in one process, without any server.

The same steps, handlers and folds as everywhere, over the ports in memory, one shard after the
other. So a run is a function of its input: what two shards would race for goes to the line that
came first.
"""

from collections.abc import Iterator, Sequence

from consumers import inventory
from consumers.cache import CacheHandler
from consumers.etl import EtlHandler
from consumers.publishing import chunked, send, unpublishable
from consumers.sources import (
    Line,
    PartitionBy,
    Partitioner,
    aggregate_members,
    transaction_of,
)
from pipeline.bootstrap import MemoryPorts, backoff, memory_ports
from pipeline.core.positions import Position
from pipeline.core.records import Batch
from pipeline.ports.clock import Clock
from pipeline.ports.streams import TRIM_HORIZON
from pipeline.runtime.handler import Handler
from pipeline.settings import Settings


class MemoryRun:
    """One run over in-memory ports."""

    def __init__(self, settings: Settings, clock: Clock, shard_count: int) -> None:
        self._settings, self._clock = settings, clock
        self.ports: MemoryPorts = memory_ports(settings, shard_count, clock.now)
        self.placed: dict[int, list[Position]] = {}

    def publish(self, lines: Sequence[Line], by: PartitionBy) -> None:
        """Put every line on the stream; quarantine what no record can hold."""
        rules, patience = self._settings.rules(), backoff(self._settings, self._clock)
        partitioner = Partitioner(rules, by, self.ports.events.shards())
        for line, position in send(chunked(lines), self.ports.events, partitioner, patience):
            if position is None:
                refused = unpublishable(line, self.ports.events.name, self._clock.now(), rules)
                self.ports.quarantine.put([refused])
                position = refused.record.position
            self.placed.setdefault(line.number, []).append(position)

    def consume(self, lines: Sequence[Line]) -> Iterator[int]:
        """Run the three consumers until the streams are drained; yield the lines done so far."""
        patience = backoff(self._settings, self._clock)
        handler = inventory.build(self._settings, self.ports, self._clock, TRIM_HORIZON)
        done = 0
        for chunk in self._chunks(lines):
            self._feed(handler, chunk)
            done += len(chunk)
            yield done
        quarantine = self.ports.quarantine
        self._drain(EtlHandler(self.ports.warehouse, quarantine, patience))
        self._drain(CacheHandler(self.ports.cache, quarantine, patience))

    def _chunks(self, lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
        """Cut lines into batches,
        and before a transaction that comes again through another shard.
        """
        rules = self._settings.rules()
        chunk: list[Line] = []
        seen: dict[str, set[str]] = {}
        for line in lines:
            shards = {position.shard_id for position in self.placed[line.number]}
            records = aggregate_members(line.data) or [line.data]
            ids = [tx for data in records if (tx := transaction_of(data, rules))]
            again = any(seen.get(identity, shards) != shards for identity in ids)
            if chunk and (again or len(chunk) >= self._settings.batch_records_max):
                yield chunk
                chunk, seen = [], {}
            chunk.append(line)
            seen.update(dict.fromkeys(ids, shards))
        if chunk:
            yield chunk

    def _feed(self, handler: Handler, chunk: Sequence[Line]) -> None:
        positions = [p for line in chunk for p in self.placed[line.number]]
        for shard in self.ports.events.shards():
            mine = [p.sequence for p in positions if p.shard_id == shard.shard_id]
            if mine:
                log = self.ports.events.records[shard.shard_id]
                records = log[min(mine) - 1 : max(mine)]
                handler.handle(Batch(shard.shard_id, records, shard.hash_range))

    def _drain(self, handler: Handler) -> None:
        size = self._settings.batch_records_max
        for shard in self.ports.changes.shards():
            log = self.ports.changes.records[shard.shard_id]
            for at in range(0, len(log), size):
                handler.handle(Batch(shard.shard_id, log[at : at + size], shard.hash_range))
