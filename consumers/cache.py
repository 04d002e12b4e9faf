"""The cache consumer: a stock change in.

A tombstone with its revision and a message to subscribers out.
"""

from collections import Counter
from collections.abc import Sequence

from pipeline.core.changes import FactRejected, StockChanged, from_wire
from pipeline.core.records import Batch
from pipeline.core.step import Refusal
from pipeline.ports.cache import Stale, StockCache, StockId
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.quarantine import Quarantine
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport
from pipeline.runtime.health import Health, Waiting


class CacheHandler:
    """Invalidate what changed; `runtime.handler.Handler`."""

    name = "cache"

    def __init__(self, cache: StockCache, quarantine: Quarantine, backoff: Backoff) -> None:
        self._cache, self._quarantine, self._backoff = cache, quarantine, backoff
        self._waiting = Waiting("cache", backoff.clock)

    def health(self) -> Health:
        """Say which shards wait for the cache, why and how long; safe from any thread."""
        return self._waiting.health()

    def handle(self, batch: Batch) -> BatchReport:
        """Leave one tombstone for each entry that changed, with its newest revision."""
        newest: dict[StockId, int] = {}
        refusals: list[Refusal] = []
        for record in batch.records:
            fact = from_wire(record.data)
            if isinstance(fact, FactRejected):
                refusals.append(Refusal("rejected", fact.reason, "", record))
            elif isinstance(fact, StockChanged):
                entry = fact.location, fact.product_id
                newest[entry] = max(newest.get(entry, 0), fact.revision)
        self._backoff.drain("quarantine", self._quarantine.put, refusals)
        stale = [Stale(entry, revision) for entry, revision in newest.items()]
        self._invalidate(batch.shard_id, stale)
        return BatchReport(
            Counter(read=len(batch.records), invalidated=len(stale), rejected=len(refusals))
        )

    def _invalidate(self, shard_id: str, stale: Sequence[Stale]) -> None:
        def attempt(left: Sequence[Stale]) -> Sequence[Stale]:
            return self._waiting.watch(shard_id, lambda: self._cache.invalidate(left))

        self._backoff.drain("invalidate", attempt, stale)

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Go on at the checkpoint: tombstones are durable enough for a cache."""
        return checkpoint
