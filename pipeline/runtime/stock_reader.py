"""Read a stock level through the cache: what gives invalidation its meaning.

A miss loads with a consistent read and fills the cache with the revision that it read, so a reader
that was slow cannot put an old value over a newer tombstone: the cache compares revisions.
"""

from contextlib import suppress
from typing import NamedTuple

from pipeline.core.errors import TransientFault
from pipeline.core.keyed_state import StateKey
from pipeline.core.stock import StockFold
from pipeline.ports.cache import CachedStock, StockCache, StockId
from pipeline.ports.states import StateStore
from pipeline.runtime.backoff import Backoff


class StockLevel(NamedTuple):
    """A level, the revision it was true at, and whether the cache had it."""

    on_hand: int
    revision: int
    cached: bool


class StockReader:
    """Serve stock levels from the cache, else from the table."""

    def __init__(self, cache: StockCache, states: StateStore, backoff: Backoff) -> None:
        self._cache, self._states, self._backoff = cache, states, backoff

    def read(self, location: str, product_id: str) -> StockLevel | None:
        """Return the level of a product at a location; None if no event ever moved it."""
        entry = location, product_id
        held = self._cached(entry)
        if held is not None and held.on_hand is not None:
            return StockLevel(held.on_hand, held.revision, cached=True)
        key = StateKey(StockFold.name, entry)
        state = self._backoff.gather("load stock", self._states.load, {key: key})[key]
        if not state.version:
            return None
        level = StockLevel(int(state.body), state.version, cached=False)
        with suppress(TransientFault):  # a cache that is away costs speed, not answers
            self._cache.fill(entry, CachedStock(level.on_hand, level.revision))
        return level

    def _cached(self, entry: StockId) -> CachedStock | None:
        with suppress(TransientFault):
            return self._cache.get(entry)
        return None
