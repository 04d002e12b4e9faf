"""The warehouse: the relational copy that analysts read."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    DeliveryRefused,
    Fact,
    StockChanged,
)
from pipeline.core.positions import Order


class FactBatch(NamedTuple):
    """Facts of one shard of the internal stream,
    and the position of the last record they came from.
    """

    consumer: str
    shard_id: str
    last: Order
    facts: Sequence[Fact]
    after: Order | None = None
    """Where the consumer knows the warehouse to be already; None if it does not know."""

    def joins(self, stored: Order | None) -> bool:
        """Say whether a warehouse at this position has everything before the batch."""
        return self.after is None or (stored is not None and stored >= self.after)


class WarehouseRows(NamedTuple):
    """Everything in the warehouse, for exports and audits; rows in no order."""

    changes: Iterator[tuple[ChangeRecorded, ChangeAnnotated | None]]
    combos: Iterator[ComboChanged]
    stock: Iterator[StockChanged]
    refusals: Iterator[DeliveryRefused]


class Warehouse(Protocol):
    """Facts in, at least once and in any order; the same tables out, whatever the order.

    `load` is one transaction: rows, guarded by revision, and the position. All of it or nothing. A
    batch at or before the stored position may come again; it changes nothing but is not an error.

    A batch whose `after` lies beyond the stored position does not join on: what is between was
    loaded once and is gone, since somebody restored the warehouse under a running consumer. It is
    refused whole with FellBehind: loading it would move the position past the gap, and nothing
    would ever fill that.

    A batch with a value that the store cannot hold, whatever the wire allowed, is refused whole
    with ValueRefused, so that its caller finds out which by offering parts. Everything else that
    goes wrong is a SystemFault, and a TransientFault where waiting may mend it.
    """

    def load(self, batch: FactBatch) -> None:
        """Write a batch and its position, or raise FellBehind or ValueRefused."""

    def position(self, consumer: str, shard_id: str) -> Order | None:
        """Return the position of the last batch that was loaded from a shard."""

    def rows(self) -> WarehouseRows:
        """Read everything back."""
