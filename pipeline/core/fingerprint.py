"""The fingerprint: what makes two deliveries of one transaction the same delivery.

`source` is left out on purpose: the nightly batch may resend what the till has already sent.
"""

from hashlib import blake2b, sha256
from typing import Protocol

SEPARATOR = "\x1f"
"""Unit separator: no identifier can hold it, since control characters are refused."""


class Facts(Protocol):
    """What an event and its change-log row have in common."""

    @property
    def instant(self) -> int: ...
    @property
    def location(self) -> str: ...
    @property
    def product_id(self) -> str: ...
    @property
    def base_product_id(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def change(self) -> int: ...


def fingerprint(event: Facts) -> str:
    """Hash the facts of an event, or of its row.

    `v1:` and 32 hex digits, equal exactly for equal facts.
    """
    facts = SEPARATOR.join(
        (
            str(event.instant),
            event.location,
            event.product_id,
            event.base_product_id,
            event.category,
            str(event.change),
        )
    )
    return "v1:" + blake2b(facts.encode(), digest_size=16).hexdigest()


def partition_key(*parts: str) -> str:
    """Spread by the parts, 32 hex digits.

    The plain text could exceed the 256 characters Kinesis allows.
    """
    return sha256(SEPARATOR.join(parts).encode()).hexdigest()[:32]


def raw_partition_key(data: bytes) -> str:
    """Spread by the bytes themselves, for a record that is no event."""
    return sha256(data).hexdigest()[:32]
