"""The combos table: `inventory_combos`."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.core.changes import ComboChanged


class ComboTable(Protocol):
    """Combos keyed by combo id, each write guarded by revision.

    A lower one changes nothing, and is done.
    """

    def upsert(self, combos: Sequence[ComboChanged]) -> Sequence[ComboChanged]:
        """Write combos whose revision is higher than the stored one; return those not done yet."""

    def scan(self) -> Iterator[ComboChanged]:
        """Read every combo, retracted ones too, in no order."""
