"""The cache: what readers may see without asking the tables."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

StockId = tuple[str, str]
"""(location, product_id)."""


class Stale(NamedTuple):
    """An entry that a change has made stale, as of a revision."""

    entry: StockId
    revision: int


class CachedStock(NamedTuple):
    """A cached level and its revision; `on_hand` is None for a tombstone."""

    on_hand: int | None
    revision: int


class StockCache(Protocol):
    """Revisioned entries: a write below the stored revision changes nothing.

    Invalidation leaves a tombstone that carries the change's revision, so that a slow reader, who
    loaded before the change, cannot put the old value back. At equal revisions the newcomer wins:
    a value read at that very revision is good, and a tombstone sent again costs one more read.
    """

    def invalidate(self, stale: Sequence[Stale]) -> Sequence[Stale]:
        """Mark entries stale and tell subscribers; return those not done yet."""

    def get(self, entry: StockId) -> CachedStock | None:
        """Return what is cached, tombstones included; None if nothing is."""

    def fill(self, entry: StockId, level: CachedStock) -> None:
        """Offer a value that was read with its revision."""
