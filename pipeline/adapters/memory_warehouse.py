"""The warehouse in memory, and questions about it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from threading import Lock

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    DeliveryRefused,
    Effect,
    Fact,
    StockChanged,
    effect_key,
    newer,
)
from pipeline.core.errors import FellBehind, ValueRefused
from pipeline.core.positions import Order
from pipeline.core.reconciling import Member, members
from pipeline.ports.change_log import RowKey
from pipeline.ports.reports import Fall, Seller
from pipeline.ports.warehouse import FactBatch, WarehouseRows


class MemoryWarehouse:
    """`ports.warehouse.Warehouse`."""

    def __init__(self) -> None:
        self.changes: dict[RowKey, ChangeRecorded] = {}
        self.refusals: dict[tuple[str, int, int], DeliveryRefused] = {}
        self.effects: dict[tuple[str, ...], Effect] = {}
        self.dimensions: set[Member] = set()
        self.positions: dict[tuple[str, str], Order] = defaultdict(lambda: (-1, -1))
        self._lock = Lock()

    def load(self, batch: FactBatch) -> None:
        """Write a batch and its position, or raise FellBehind or ValueRefused."""
        shard = batch.consumer, batch.shard_id
        for fact in batch.facts:
            _check(fact)
        with self._lock:
            if not batch.joins(self.positions.get(shard)):
                raise FellBehind(batch.shard_id)
            for fact in batch.facts:
                self.dimensions |= members(fact)
                if isinstance(fact, ChangeRecorded):
                    self.changes.setdefault((fact.location, fact.transaction_id), fact)
                elif isinstance(fact, DeliveryRefused):
                    self.refusals.setdefault((fact.shard_id, fact.sequence, fact.sub), fact)
                else:
                    key = effect_key(fact)
                    self.effects[key] = newer(self.effects.get(key), fact)
            self.positions[shard] = max(self.positions[shard], batch.last)

    def position(self, consumer: str, shard_id: str) -> Order | None:
        """Return the position of the last batch."""
        return self.positions.get((consumer, shard_id))

    def rows(self) -> WarehouseRows:
        """Read everything back."""
        notes = {
            (note.location, note.transaction_id): note
            for note in self.effects.values()
            if isinstance(note, ChangeAnnotated)
        }
        effects = list(self.effects.values())
        return WarehouseRows(
            iter([(row, notes.get(key)) for key, row in self.changes.items()]),
            iter([effect for effect in effects if isinstance(effect, ComboChanged)]),
            iter([effect for effect in effects if isinstance(effect, StockChanged)]),
            iter(list(self.refusals.values())),
        )


def _check(fact: Fact) -> None:
    """Refuse what a relational database cannot hold: no Unicode, NUL, more than 64 bits."""
    texts = "".join(value for value in fact if isinstance(value, str))
    numbers = [n for name, n in zip(fact._fields, fact, strict=True) if name != "sequence"]
    large = any(isinstance(n, int) and not -(2**63) <= n < 2**63 for n in numbers)
    odd = not texts.isascii() and any("\ud800" <= c <= "\udfff" for c in texts)
    if large or odd or "\0" in texts:
        raise ValueRefused("a value that no database can hold")


class MemoryReports:
    """`ports.reports.Reports` over a warehouse in memory."""

    def __init__(self, warehouse: MemoryWarehouse) -> None:
        self._warehouse = warehouse

    def best_sellers(self, limit: int) -> Sequence[Seller]:
        """Add up what tills sold and took back."""
        sold: Counter[str] = Counter()
        returned: Counter[str] = Counter()
        for row in self._warehouse.changes.values():
            if row.source == "POS":
                (sold if row.change < 0 else returned)[row.product_id] += abs(row.change)
        ranked = sorted(sold, key=lambda product_id: (-sold[product_id], product_id))
        return [Seller(p, sold[p], returned[p]) for p in ranked[:limit]]

    def steepest_falls(self, limit: int) -> Sequence[Fall]:
        """Add up the changes of every source."""
        change: Counter[str] = Counter()
        for row in self._warehouse.changes.values():
            change[row.product_id] += row.change
        falls = sorted((total, product_id) for product_id, total in change.items() if total < 0)
        return [Fall(product_id, total) for total, product_id in falls[:limit]]
