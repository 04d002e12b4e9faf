"""Reading a stock level through the cache, and what a slow reader must not do to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pipeline.adapters.memory import MemoryCache, MemoryStates
from pipeline.core.errors import BudgetExhausted, TransientFault
from pipeline.core.keyed_state import KeyedState, StateKey
from pipeline.ports.cache import CachedStock, Stale
from pipeline.ports.states import Commit
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.stock_reader import StockLevel, StockReader
from tests.clocks import VirtualClock

ENTRY = ("GB-1", "J1")
KEY = StateKey("stock", ENTRY)


class Shop:
    """A cache and a table; `on_load` happens once, between the load and its answer."""

    def __init__(self, on_hand: int | None = None, version: int = 1) -> None:
        self.cache, self.table, self.loads = MemoryCache(), MemoryStates(), 0
        self.on_load: Any = None
        if on_hand is not None:
            self.set(on_hand, version)

    def set(self, on_hand: int, version: int) -> None:
        held = self.table.load([KEY])[KEY]
        self.table.commit([Commit(KeyedState(KEY, version, b"%d" % on_hand), held.version)])

    def load(self, keys: Sequence[StateKey]) -> Mapping[StateKey, KeyedState]:
        self.loads += 1
        answer = self.table.load(keys)
        happening, self.on_load = self.on_load, None
        if happening:
            happening()
        return answer

    def read(self) -> StockLevel | None:
        states: Any = self
        return StockReader(self.cache, states, Backoff(VirtualClock())).read(*ENTRY)


def test_a_miss_reads_the_table() -> None:
    assert Shop(7, version=3).read() == StockLevel(7, 3, cached=False)


def test_a_miss_fills_the_cache() -> None:
    shop = Shop(7, version=3)
    shop.read()
    assert shop.cache.get(ENTRY) == CachedStock(7, 3)


def test_a_hit_does_not_touch_the_table() -> None:
    shop = Shop(7, version=3)
    shop.read()
    assert (shop.read(), shop.loads) == (StockLevel(7, 3, cached=True), 1)


@pytest.mark.parametrize("on_hand", [0, -5])
def test_a_level_of_nothing_is_a_hit_too(on_hand: int) -> None:
    shop = Shop(on_hand)
    shop.read()
    assert shop.read() == StockLevel(on_hand, 1, cached=True)


def test_a_product_that_never_moved_has_no_level() -> None:
    assert Shop().read() is None


def test_a_product_that_never_moved_is_not_cached() -> None:
    shop = Shop()
    shop.read()
    assert shop.cache.get(ENTRY) is None


def test_a_tombstone_is_a_miss() -> None:
    shop = Shop(7)
    shop.read()
    shop.set(6, version=2)
    shop.cache.invalidate([Stale(ENTRY, 2)])
    assert shop.read() == StockLevel(6, 2, cached=False)


def test_a_value_fills_the_tombstone_of_its_own_revision() -> None:
    shop = Shop(6, version=2)
    shop.cache.invalidate([Stale(ENTRY, 2)])
    shop.read()
    assert shop.cache.get(ENTRY) == CachedStock(6, 2)


def test_a_slow_reader_cannot_put_back_a_stale_value() -> None:
    shop = Shop(7)

    def change() -> None:
        shop.set(6, version=2)
        shop.cache.invalidate([Stale(ENTRY, 2)])

    shop.on_load = change
    shop.read()
    assert shop.cache.get(ENTRY) == CachedStock(None, 2)


def test_after_a_slow_reader_the_next_one_sees_the_new_value() -> None:
    shop = Shop(7)

    def change() -> None:
        shop.set(6, version=2)
        shop.cache.invalidate([Stale(ENTRY, 2)])

    shop.on_load = change
    shop.read()
    assert shop.read() == StockLevel(6, 2, cached=False)


def test_a_slow_reader_cannot_undo_a_quick_one() -> None:
    shop = Shop(7)

    def change_and_read() -> None:
        shop.set(6, version=2)
        shop.cache.invalidate([Stale(ENTRY, 2)])
        shop.read()

    shop.on_load = change_and_read
    shop.read()
    assert shop.cache.get(ENTRY) == CachedStock(6, 2)


def test_a_reader_that_was_throttled_tries_again() -> None:
    shop = Shop(7)

    def throttle() -> None:
        raise TransientFault("throttled")

    shop.on_load = throttle
    assert shop.read() == StockLevel(7, 1, cached=False)


def test_a_table_that_never_answers_is_given_up() -> None:
    class Silent:
        def load(self, keys: Sequence[StateKey]) -> Mapping[StateKey, KeyedState]:
            return {}

    states: Any = Silent()
    with pytest.raises(BudgetExhausted, match="load stock"):
        StockReader(MemoryCache(), states, Backoff(VirtualClock())).read(*ENTRY)
