"""What a person wants to see of the warehouse at a glance."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Seller(NamedTuple):
    """A product and the units that tills sold of it; returns stand beside, not subtracted."""

    product_id: str
    units_sold: int
    units_returned: int


class Fall(NamedTuple):
    """A product whose stock fell, over all locations and sources; the change is negative."""

    product_id: str
    stock_change: int


class Reports(Protocol):
    """Read-only questions, answered from one committed state."""

    def best_sellers(self, limit: int) -> Sequence[Seller]:
        """Return the products that tills sold most of, most first."""

    def steepest_falls(self, limit: int) -> Sequence[Fall]:
        """Return the products whose stock fell most, most first."""
