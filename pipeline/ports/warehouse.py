"""The warehouse: the relational copy that analysts read."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from pipeline.core.changes import ChangeAnnotated, ChangeRecorded, ComboChanged, Fact, StockChanged
from pipeline.core.positions import Order


class FactBatch(NamedTuple):
    """Facts of one shard of the internal stream,
    and the position of the last record they came from.
    """

    consumer: str
    shard_id: str
    last: Order
    facts: Sequence[Fact]


class WarehouseRows(NamedTuple):
    """Everything in the warehouse, for exports and audits; rows in no order."""

    changes: Iterator[tuple[ChangeRecorded, ChangeAnnotated | None]]
    combos: Iterator[ComboChanged]
    stock: Iterator[StockChanged]


class Warehouse(Protocol):
    """Facts in, at least once and in any order; the same tables out, whatever the order.

    `load` is one transaction: rows, guarded by revision, and the position. All of it or nothing. A
    batch at or before the stored position may come again; it changes nothing but is not an error.
    """

    def load(self, batch: FactBatch) -> None:
        """Write a batch and its position."""

    def position(self, consumer: str, shard_id: str) -> Order | None:
        """Return the position of the last batch that was loaded from a shard."""

    def rows(self) -> WarehouseRows:
        """Read everything back."""
