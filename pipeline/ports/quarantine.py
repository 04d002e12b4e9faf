"""The quarantine: what could not be used, kept whole."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.core.step import Refusal


class Quarantine(Protocol):
    """Refused records by position: raw bytes, reason, position, arrival time.

    The key is derived from kind and position alone, so a redelivery writes the same object again.
    An entry is durable once it is not among those returned: the checkpoint moves on the strength
    of that.
    """

    def put(self, refusals: Sequence[Refusal]) -> Sequence[Refusal]:
        """Keep refused records; return those not done yet."""

    def scan(self) -> Iterator[Refusal]:
        """Read every entry, in no order."""
