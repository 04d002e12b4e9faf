"""The claims: `processed_transactions`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from pipeline.core.claims import Claim, Holder


class ClaimStore(Protocol):
    """Insert-if-absent, keyed by claim id.

    The caller offers each claim id once per call. The answer names, for each id, the claim that
    holds after the call: the offered one (`fresh` if this call inserted it) or an older one. Ids
    left out are unknown and are offered again. A claim that was ever answered must never change,
    expire or be overwritten.
    """

    def claim(self, claims: Sequence[Claim]) -> Mapping[str, Holder]:
        """Insert what is absent and return who holds, by claim id."""

    def scan(self) -> Iterator[Claim]:
        """Read every claim whole, in no order. For audits, not for the hot path."""
