"""The stock fold: on hand = the sum of every accepted change of every source. It may be negative.

The body is the level itself, as decimal text, so that the stored state *is* the row of
`stock_levels`. Order does not matter to a sum; positions and outbox still do, and come with the
mechanism.
"""

from collections.abc import Sequence

from pipeline.core.changes import Effect, StockChanged
from pipeline.core.events import PosEvent


class StockFold:
    """Fold every event into the level of its (location, product)."""

    name = "stock"
    table = "stock_levels"

    def key(self, event: PosEvent) -> tuple[str, str]:
        """Every event moves stock, whatever its category or source."""
        return event.location, event.product_id

    def apply(
        self, key: tuple[str, ...], body: bytes, events: Sequence[PosEvent], revision: int
    ) -> tuple[bytes, Sequence[Effect]]:
        """Add the changes up."""
        on_hand = int(body or b"0") + sum([event.change for event in events])
        location, product_id = key
        return str(on_hand).encode(), (StockChanged(location, product_id, on_hand, revision),)
