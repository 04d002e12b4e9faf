"""A cache consumer that waits for Redis says so."""

from collections.abc import Sequence

import pytest

from consumers.cache import CacheHandler
from pipeline.adapters.memory import MemoryCache, MemoryQuarantine
from pipeline.core.changes import StockChanged, to_wire
from pipeline.core.errors import TransientFault
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record
from pipeline.ports.cache import Stale
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.health import Health
from tests.clocks import VirtualClock

LEVEL = to_wire(StockChanged("GB-1", "J1", -1, 1))
BATCH = Batch("shard-1", [Record(LEVEL, Position("changes", "shard-1", 1), 0)])


class Down(MemoryCache):
    """Does not answer for a number of tries; notes the consumer's health at each."""

    def __init__(self, tries: int) -> None:
        super().__init__()
        self._left = tries
        self.handler = CacheHandler(self, MemoryQuarantine(), Backoff(VirtualClock()))
        self.seen: list[Health] = []

    def invalidate(self, stale: Sequence[Stale]) -> Sequence[Stale]:
        """Answer, or not yet."""
        self.seen.append(self.handler.health())
        if self._left:
            self._left -= 1
            raise TransientFault("Redis: connection refused")
        return super().invalidate(stale)


def test_shard_that_waits_for_the_cache_is_named_with_the_reason() -> None:
    cache = Down(2)
    cache.handler.handle(BATCH)
    waits = {"shard-1": "Redis: connection refused"}
    assert [health.waiting for health in cache.seen] == [{}, waits, waits]
    assert cache.seen[1].waiting_s < cache.seen[2].waiting_s


def test_consumer_whose_cache_answers_again_is_well() -> None:
    cache = Down(2)
    cache.handler.handle(BATCH)
    assert (cache.handler.health(), len(cache.items)) == (Health({}, 0.0), 1)


def test_wait_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    Down(2).handler.handle(BATCH)
    said = [record.message for record in caplog.records if record.name == "tillstream.health"]
    assert said[0] == "shard-1 waits for the cache: Redis: connection refused"
