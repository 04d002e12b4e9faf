"""What a repair asks of the change log and the combos beside the hot path."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pipeline.core.changes import ChangeAnnotated, ChangeRecorded, ComboChanged
from pipeline.ports.change_log import RowKey


class TableRepair(Protocol):
    """Consistent reads by key, and the one write that replaces an immutable row.

    Only whoever holds a row's claim, with the row's very position, may restore the row: the claim
    was there first and cannot change, so it says what the row said. An item that is not there is
    answered with None; one left out is asked for again.
    """

    def rows(
        self, keys: Sequence[RowKey]
    ) -> Mapping[RowKey, tuple[ChangeRecorded, ChangeAnnotated | None] | None]:
        """Read rows with their annotations."""

    def combos(self, combo_ids: Sequence[str]) -> Mapping[str, ComboChanged | None]:
        """Read combos."""

    def restore(self, rows: Sequence[ChangeRecorded]) -> Sequence[ChangeRecorded]:
        """Set rows that are there to what they were recorded as, but for their annotations.

        Return those not done yet; a row that is not there is left alone, and done.
        """
