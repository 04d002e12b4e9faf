"""The combos table: `inventory_combos`."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.core.changes import ComboChanged
from pipeline.ports.scans import WHOLE, Segment


class ComboTable(Protocol):
    """Combos keyed by combo id, each write guarded by revision.

    A lower one changes nothing, and is done.
    """

    def upsert(self, combos: Sequence[ComboChanged]) -> Sequence[ComboChanged]:
        """Write combos whose revision is higher than the stored one; return those not done yet."""

    def scan(self, segment: Segment = WHOLE) -> Iterator[ComboChanged]:
        """Read every combo of a segment, retracted ones too, in no order."""
