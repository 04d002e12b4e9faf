"""The contract of `ports.cache`, kept alike by Redis and by the one in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import orjson
import pytest
import redis

from consumers.embedded import Endpoints
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.redis import CHANNEL, RedisCache
from pipeline.bootstrap import Ports
from pipeline.core.errors import SystemFault, TransientFault
from pipeline.ports.cache import CachedStock, Stale, StockCache, StockId
from tests.stacks import fresh

SAME_IN_EVERY_WRITE_MODE = True

ODD = 2**53 + 1
"""The first integer that a double cannot hold."""


@pytest.fixture(scope="module")
def cache(ports: Ports) -> StockCache:
    return ports.cache


@pytest.fixture
def entry() -> StockId:
    return "GB-1", fresh("J")


def test_what_was_never_cached_is_none(cache: StockCache, entry: StockId) -> None:
    assert cache.get(entry) is None


@pytest.mark.parametrize("on_hand", [0, 7, -3, 2**63])
def test_a_value_comes_back(cache: StockCache, entry: StockId, on_hand: int) -> None:
    cache.fill(entry, CachedStock(on_hand, 4))
    assert cache.get(entry) == CachedStock(on_hand, 4)


def test_an_invalidation_leaves_a_tombstone(cache: StockCache, entry: StockId) -> None:
    cache.fill(entry, CachedStock(7, 4))
    cache.invalidate([Stale(entry, 5)])
    assert cache.get(entry) == CachedStock(None, 5)


def test_a_tombstone_is_left_where_nothing_was(cache: StockCache, entry: StockId) -> None:
    cache.invalidate([Stale(entry, 5)])
    assert cache.get(entry) == CachedStock(None, 5)


def test_a_value_below_the_tombstone_is_refused(cache: StockCache, entry: StockId) -> None:
    cache.invalidate([Stale(entry, 5)])
    cache.fill(entry, CachedStock(7, 4))
    assert cache.get(entry) == CachedStock(None, 5)


def test_a_value_below_a_value_is_refused(cache: StockCache, entry: StockId) -> None:
    cache.fill(entry, CachedStock(7, 5))
    cache.fill(entry, CachedStock(8, 4))
    assert cache.get(entry) == CachedStock(7, 5)


def test_a_tombstone_below_a_value_is_refused(cache: StockCache, entry: StockId) -> None:
    cache.fill(entry, CachedStock(7, 5))
    cache.invalidate([Stale(entry, 4)])
    assert cache.get(entry) == CachedStock(7, 5)


@pytest.mark.parametrize("revision", [5, 6, 10, 5 + 2**40])
def test_a_value_not_below_the_tombstone_is_taken(
    cache: StockCache, entry: StockId, revision: int
) -> None:
    cache.invalidate([Stale(entry, 5)])
    cache.fill(entry, CachedStock(7, revision))
    assert cache.get(entry) == CachedStock(7, revision)


def test_at_equal_revisions_a_tombstone_that_comes_later_wins(
    cache: StockCache, entry: StockId
) -> None:
    cache.fill(entry, CachedStock(7, 5))
    cache.invalidate([Stale(entry, 5)])
    assert cache.get(entry) == CachedStock(None, 5)


@pytest.mark.parametrize("order", list(permutations((9, 10, 100))))
def test_the_highest_revision_holds_whatever_the_order(
    cache: StockCache, entry: StockId, order: tuple[int, ...]
) -> None:
    for revision in order:
        cache.fill(entry, CachedStock(revision, revision))
    assert cache.get(entry) == CachedStock(100, 100)


@pytest.mark.parametrize("high", [ODD, 2**62 + 1, 5 * 2**40 + 1])
def test_revisions_that_differ_by_one_differ(cache: StockCache, entry: StockId, high: int) -> None:
    cache.invalidate([Stale(entry, high)])
    cache.fill(entry, CachedStock(7, high - 1))
    assert cache.get(entry) == CachedStock(None, high)


def test_many_entries_are_invalidated(cache: StockCache) -> None:
    entries = [("GB-1", fresh("J")) for _ in range(300)]
    left = cache.invalidate([Stale(entry, n) for n, entry in enumerate(entries)])
    assert (list(left), [cache.get(entry) for entry in entries]) == (
        [],
        [CachedStock(None, n) for n in range(300)],
    )


def test_nothing_is_left_to_do_of_nothing(cache: StockCache) -> None:
    assert not cache.invalidate([])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("f", "g:h"), ("f:g", "h")),
        (("f", "g}:{h"), ("f}:{g", "h")),
        (("*", "x"), ("y", "x")),
        (("%3A", "x"), (":", "x")),
        (("a b", "x"), ("a+b", "x")),
        (("e\u0301", "x"), ("\u00e9", "x")),
        (("🧥", "x"), ("👖", "x")),
    ],
)
def test_no_identifier_can_forge_another_entry(
    cache: StockCache, one: StockId, other: StockId
) -> None:
    cache.fill(one, CachedStock(1, 1))
    cache.fill(other, CachedStock(2, 2))
    assert (cache.get(one), cache.get(other)) == (CachedStock(1, 1), CachedStock(2, 2))


# ------------------------------------------------------------------- what only a server can do
TTL_S = 3_600.0


@pytest.fixture(scope="module")
def server(servers: Endpoints) -> Iterator[Any]:
    with redis.Redis.from_url(servers.redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture(scope="module")
def real(servers: Endpoints) -> StockCache:
    return RedisCache(servers.redis_url, SystemClock(), TTL_S, 5.0)


@contextmanager
def listening(server: Any) -> Iterator[Callable[[], Any]]:
    with server.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe(CHANNEL)
        subscriber.get_message(timeout=5)  # the server's word that it subscribed

        def heard() -> Any:
            message = subscriber.get_message(timeout=5)
            return message and orjson.loads(message["data"])

        yield heard


@pytest.mark.parametrize("location", ["GB-1", "🧥", 'say "hi"', "a:b{c}*"])
def test_subscribers_hear_of_an_invalidation(real: StockCache, server: Any, location: str) -> None:
    with listening(server) as heard:
        real.invalidate([Stale((location, "J1"), ODD)])
        assert heard() == {"location": location, "product_id": "J1", "revision": ODD}


def test_subscribers_who_hear_find_the_tombstone(
    real: StockCache, server: Any, entry: StockId
) -> None:
    with listening(server) as heard:
        real.invalidate([Stale(entry, 5)])
        heard()
        assert real.get(entry) == CachedStock(None, 5)


def test_keys_hold_no_separator_and_no_glob_of_an_identifier(real: StockCache, server: Any) -> None:
    name = fresh("odd")
    real.fill(("a:b{c}*?[d]%", name), CachedStock(1, 1))
    assert list(server.scan_iter(match=f"*{name}*")) == [
        "stock:{a%3Ab%7Bc%7D%2A%3F%5Bd%5D%25:" + name + "}"
    ]


@pytest.mark.parametrize("on_hand", [None, 7])
def test_entries_live_as_long_as_set_and_a_tenth_at_most(
    real: StockCache, server: Any, on_hand: int | None
) -> None:
    name = fresh("J")
    real.fill(("GB-1", name), CachedStock(on_hand, 1))
    (key,) = server.scan_iter(match=f"*{name}*")
    assert TTL_S * 1_000 - 10_000 < server.pttl(key) <= TTL_S * 1_100


def test_entries_of_one_moment_do_not_expire_together(real: StockCache, server: Any) -> None:
    name = fresh("J")
    real.invalidate([Stale((f"GB-{n}", name), 1) for n in range(50)])
    lives = {server.pttl(key) // 1_000 for key in server.scan_iter(match=f"*{name}*")}
    assert len(lives) > 10


def test_a_script_that_the_server_forgot_is_sent_again(
    real: StockCache, server: Any, entry: StockId
) -> None:
    real.invalidate([Stale(entry, 5)])
    server.script_flush()
    real.invalidate([Stale(entry, 6)])
    assert real.get(entry) == CachedStock(None, 6)


def test_a_key_of_another_kind_is_a_lasting_fault(real: StockCache, server: Any) -> None:
    name = fresh("J")
    server.set("stock:{GB-1:" + name + "}", "no hash")
    with pytest.raises(SystemFault, match="WRONGTYPE") as caught:
        real.invalidate([Stale(("GB-1", name), 1)])
    assert not isinstance(caught.value, TransientFault)


@pytest.mark.parametrize("call", [lambda c: c.get(("a", "b")), lambda c: c.invalidate([])])
def test_a_server_that_is_not_there_is_a_transient_fault(call: Callable[[StockCache], Any]) -> None:
    nobody = RedisCache("redis://127.0.0.1:1/0", SystemClock(), TTL_S, 1.0)
    with pytest.raises(TransientFault):
        call(nobody)
        nobody.invalidate([Stale(("a", "b"), 1)])
