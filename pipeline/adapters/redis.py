"""The stock cache in Redis: one hash per entry, written by one script that compares revisions.

The key's parts are percent-encoded, so an identifier can forge neither a separator nor a glob. A
tombstone is a hash without a value. Entries expire with jitter, so that what was filled together
does not miss together.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import orjson
import redis

from pipeline.core.errors import SystemFault, TransientFault, UsageError
from pipeline.ports.cache import CachedStock, Stale, StockId
from pipeline.ports.clock import Clock

CHANNEL = "stock-invalidated"
"""Messages are JSON objects: location, product_id, revision."""
TTL_JITTER = 0.1
"""Added to an entry's life at most, as a share of it."""

_SET_IF_NOT_OLDER = """
local stored = redis.call('HGET', KEYS[1], 'revision')
local offered = ARGV[1]
-- decimal text compared by length, then by digits: exact beyond the 2^53 of Lua's numbers
if stored and (#offered < #stored or (#offered == #stored and offered < stored)) then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'revision', offered)
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'value', ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


class RedisCache:
    """`ports.cache.StockCache`."""

    def __init__(self, url: str, clock: Clock, ttl_s: float, timeout_s: float) -> None:
        try:
            self._redis: Any = redis.Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
            )
        except ValueError as fault:
            raise UsageError(f"redis_url: {fault}") from None
        self._script: Any = self._redis.register_script(_SET_IF_NOT_OLDER)
        self._clock, self._ttl_ms = clock, ttl_s * 1_000

    def invalidate(self, stale: Sequence[Stale]) -> Sequence[Stale]:
        """Write tombstones and publish, all in one round trip.

        A lost connection leaves all to do.
        """
        with _translated():
            pipe = self._redis.pipeline(transaction=False)
            for (location, product_id), revision in stale:
                self._set(pipe, (location, product_id), CachedStock(None, revision))
                message = {"location": location, "product_id": product_id, "revision": revision}
                pipe.publish(CHANNEL, orjson.dumps(message))
            pipe.execute()
        return ()

    def get(self, entry: StockId) -> CachedStock | None:
        """Read one entry."""
        with _translated():
            held = self._redis.hgetall(_key(entry))
        if not held:
            return None
        on_hand = int(held[b"value"]) if b"value" in held else None
        return CachedStock(on_hand, int(held[b"revision"]))

    def fill(self, entry: StockId, level: CachedStock) -> None:
        """Offer a value."""
        with _translated():
            self._set(self._redis, entry, level)

    def _set(self, client: Any, entry: StockId, level: CachedStock) -> None:
        value = "" if level.on_hand is None else str(level.on_hand)
        ttl_ms = int(self._ttl_ms * (1 + TTL_JITTER * self._clock.jitter()))
        self._script(keys=[_key(entry)], args=[str(level.revision), value, ttl_ms], client=client)


_PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    redis.exceptions.MasterDownError,
    redis.exceptions.TryAgainError,
)
"""What a fail-over or a busy server answers; waiting mends it."""


def _key(entry: StockId) -> str:
    return "stock:{" + ":".join(quote(part, safe="") for part in entry) + "}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _PASSING as fault:
        raise TransientFault(f"Redis: {fault}") from fault
    except redis.RedisError as fault:
        raise SystemFault(f"Redis: {fault}") from fault
