"""Parts of a table that several readers may scan at once."""

from typing import NamedTuple

from pipeline.core.fingerprint import partition_key


class Segment(NamedTuple):
    """One of `of` parts that together hold every item once.

    Which items are in which is the store's choice; it stays the same while their number does.
    """

    number: int
    of: int

    def holds(self, *key: str) -> bool:
        """Choose by the key, for a store that has no choice of its own."""
        return self.of == 1 or int(partition_key(*key), 16) % self.of == self.number


WHOLE = Segment(0, 1)
