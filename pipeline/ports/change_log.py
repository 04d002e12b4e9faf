"""The change log: `inventory_change_log`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from pipeline.core.changes import ChangeAnnotated, ChangeRecorded
from pipeline.core.claims import Holder
from pipeline.ports.scans import WHOLE, Segment

RowKey: TypeAlias = tuple[str, str]
"""(location, transaction_id)."""


class ChangeLog(Protocol):
    """Rows keyed by (location, transaction_id): immutable, but for their annotation.

    `record` comes before `annotate` for the same transaction, always: an annotation of a row that
    is not there is a fault of the caller and is refused with `SystemFault`. The caller offers each
    key once per call.
    """

    def record(self, rows: Sequence[ChangeRecorded]) -> Mapping[RowKey, Holder]:
        """Insert rows where absent; return who holds, by key. Keys left out are offered again."""

    def annotate(self, annotations: Sequence[ChangeAnnotated]) -> Sequence[ChangeAnnotated]:
        """Replace annotations of lower revision; return those not done yet."""

    def scan(
        self, segment: Segment = WHOLE
    ) -> Iterator[tuple[ChangeRecorded, ChangeAnnotated | None]]:
        """Read every row of a segment with its annotation, in no order.

        For exports and audits, not for the hot path.
        """
