"""Pairing: a left fold in event time that finds a maximum matching of jackets and pants.

Sales stand in a queue for each category. A sale takes the oldest units of the opposite queue that
were sold within the window; what is left of it waits in its own queue. First-in first-out on a
line is a maximum matching, and the queues make it linear: the head of a queue that is out of reach
once stays out of reach. Quantities are counters, so a sale of 100,000 units costs what a sale of
one does.

A return undoes units of its product: unpaired ones first, newest first, then paired ones, newest
first. The partner of an undone unit does not pair again: its customer has left the shop.

The fold mutates a `Pairing`, which is why callers work on `copy()`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Move(NamedTuple):
    """An event as the fold reads it.

    The tuple's own order is the fold's: sales before returns, then ids.
    """

    instant: int
    is_return: bool
    transaction_id: str
    product_id: str
    is_jacket: bool
    units: int


class Sale:
    """Units of one sale; `free` of them wait for a partner."""

    __slots__ = ("free", "instant", "is_jacket", "product_id", "transaction_id")

    def __init__(self, move: Move, free: int) -> None:
        self.instant, self.transaction_id = move.instant, move.transaction_id
        self.product_id, self.is_jacket, self.free = move.product_id, move.is_jacket, free

    def order(self) -> tuple[int, str]:
        """Oldest first."""
        return self.instant, self.transaction_id

    def move(self) -> Move:
        """The sale as an event of its free units."""
        return Move(
            self.instant, False, self.transaction_id, self.product_id, self.is_jacket, self.free
        )


class Pair:
    """Units of two sales that belong together: how many ever paired, and how many still stand."""

    __slots__ = ("jacket", "made", "pants", "standing")

    def __init__(self, jacket: Sale, pants: Sale, made: int, standing: int) -> None:
        self.jacket, self.pants, self.made, self.standing = jacket, pants, made, standing

    @property
    def ids(self) -> tuple[str, str]:
        """The jacket's and the pants' transaction: two sales pair at most once."""
        return self.jacket.transaction_id, self.pants.transaction_id

    @property
    def paired_at(self) -> int:
        """The later of the two instants: from then on there was a combo."""
        return max(self.jacket.instant, self.pants.instant)

    def order(self) -> tuple[int, str, str]:
        """The order of combos."""
        return self.paired_at, *self.ids


class Pairing:
    """The accumulator: sales with free units by category (pants, jackets),
    and pairs in the order made.
    """

    __slots__ = ("pairs", "queues", "returns", "window")

    def __init__(self, window: int, returns: int) -> None:
        self.window, self.returns = window, returns
        self.queues: tuple[list[Sale], list[Sale]] = ([], [])
        self.pairs: list[Pair] = []

    def copy(self) -> "Pairing":
        """Copy deeply, keeping which sales are the same."""
        twin = Pairing(self.window, self.returns)
        if not self.entries():
            return twin
        known: dict[int, Sale] = {}

        def clone(sale: Sale) -> Sale:
            found = known.get(id(sale))
            if found is None:
                found = known[id(sale)] = Sale(sale.move(), sale.free)
            return found

        for mine, theirs in zip(twin.queues, self.queues, strict=True):
            mine.extend(map(clone, theirs))
        twin.pairs = [Pair(clone(p.jacket), clone(p.pants), p.made, p.standing) for p in self.pairs]
        return twin

    def entries(self) -> int:
        """Count unpaired sales and pairs."""
        return len(self.queues[0]) + len(self.queues[1]) + len(self.pairs)

    def sales(self) -> list[Sale]:
        """List every sale that is unpaired or stands in a pair, each once, in no order."""
        found = {id(sale): sale for queue in self.queues for sale in queue}
        for pair in self.pairs:
            found[id(pair.jacket)] = pair.jacket
            found[id(pair.pants)] = pair.pants
        return list(found.values())

    def fold(self, moves: Sequence[Move]) -> None:
        """Apply moves, which must be sorted and not before anything folded already."""
        if not moves:
            return
        heads = [0, 0]
        for move in moves:
            if move.is_return:
                self._undo(move)
            else:
                self._sell(move, heads)
        for queue in self.queues:
            if queue:
                queue[:] = [sale for sale in queue if sale.free]

    def _sell(self, move: Move, heads: list[int]) -> None:
        sale = Sale(move, move.units)
        side = not move.is_jacket
        queue, at = self.queues[side], heads[side]
        while sale.free and at < len(queue):
            old = queue[at]
            if (
                units := min(sale.free, old.free)
                if move.instant - old.instant <= self.window
                else 0
            ):
                sale.free -= units
                old.free -= units
                jacket, pants = (sale, old) if move.is_jacket else (old, sale)
                self.pairs.append(Pair(jacket, pants, units, units))
            if not old.free or not units:  # used up, undone, or out of reach for good
                at += 1
        heads[side] = at
        if sale.free:
            self.queues[move.is_jacket].append(sale)

    def _undo(self, move: Move) -> None:
        left = move.units
        reach = move.instant - self.returns
        for sale in self._unpaired_newest_first(move.product_id, reach):
            units = min(left, sale.free)
            sale.free -= units
            left -= units
        if left:
            for pair in self._paired_newest_first(move.product_id, reach):
                units = min(left, pair.standing)
                pair.standing -= units
                left -= units

    def _unpaired_newest_first(self, product_id: str, reach: int) -> list[Sale]:
        found = []
        for queue in self.queues:
            for sale in reversed(queue):
                if sale.instant < reach:
                    break
                if sale.product_id == product_id:
                    found.append(sale)
        return sorted(found, key=Sale.order, reverse=True)

    def _paired_newest_first(self, product_id: str, reach: int) -> list[Pair]:
        """Newest unit first; the sort is stable,
        so that of one sale's pairs the first made comes first.
        """
        hits = []
        for pair in reversed(self.pairs):
            if pair.paired_at < reach:
                break
            hits += [
                (unit.order(), pair)
                for unit in (pair.jacket, pair.pants)
                if unit.product_id == product_id and unit.instant >= reach
            ]
        hits.reverse()
        hits.sort(key=lambda hit: hit[0], reverse=True)
        return [pair for _, pair in hits]

    def keeps_all(self, frontier: int) -> bool:
        """Say whether nothing is out of reach of an event at or after the frontier."""
        reach = frontier - max(self.window, self.returns)
        return all(not queue or queue[0].instant >= reach for queue in self.queues) and (
            not self.pairs or self.pairs[0].paired_at >= frontier - self.returns
        )

    def forget(self, frontier: int) -> list[Pair]:
        """Drop what no event at or after the frontier can reach.

        Return the pairs that were dropped.
        """
        reach = frontier - max(self.window, self.returns)
        for queue in self.queues:
            count = _count_while(sale.instant < reach for sale in queue)
            for sale in queue[:count]:
                sale.free = 0  # a pair that is kept may hold on to the sale itself
            del queue[:count]
        reach = frontier - self.returns
        gone = self.pairs[: _count_while(pair.paired_at < reach for pair in self.pairs)]
        del self.pairs[: len(gone)]
        return gone

    def close_oldest(self) -> Pair | None:
        """Drop the oldest entry, by (instant, transaction); return it if it was a pair."""
        sales = [queue[0] for queue in self.queues if queue]
        sale = min(sales, key=Sale.order, default=None)
        pair = min(self.pairs, key=Pair.order, default=None)
        if pair is None or (sale is not None and sale.order() <= pair.order()[:2]):
            if sale is not None:
                self.queues[sale.is_jacket].remove(sale)
                sale.free = 0
            return None
        self.pairs.remove(pair)
        return pair


def _count_while(conditions: Iterable[bool]) -> int:
    count = 0
    for holds in conditions:
        if not holds:
            break
        count += 1
    return count
