"""The body of the combo fold: what is kept of one key, how it is encoded, and how it is bounded.

The caps act after each event, so that they do not depend on how batches are cut. Over a cap, the
frontier moves to the oldest suffix instant plus one microsecond, until the suffix is empty; then
the oldest unpaired units and pairs close. So a flood closes windows early, oldest first, and
nothing else. What one event can change is bounded by what the state held before it.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from uuid import NAMESPACE_DNS, UUID, uuid5

import orjson

from pipeline.core.changes import COMBO_IDS_MAX
from pipeline.core.fingerprint import SEPARATOR
from pipeline.core.instants import MICROSECOND
from pipeline.core.pairing import Move, Pair, Pairing, Sale
from pipeline.core.rules import Rules

BODY_FORMAT = 1
"""First number of an encoded body; a body of another format must be rebuilt, not guessed at."""
_ENTRY_GROWTH_BYTES = 300
"""What an entry can still grow by without a new event.

A pair's row, and its id in two settled lists.
"""
_MOVE_BYTES = 60
"""Digits, quotes and brackets of an encoded move, beside its two identifiers."""


NAMESPACE: UUID = uuid5(NAMESPACE_DNS, "combos.tillstream")


def naming_location(rules: Rules, location: str) -> str | None:
    """Return the location where it is part of a combo's name.

    Where ids are unique only within one.
    """
    return location if rules.dedupe_scope == "location" else None


@lru_cache(16_384)  # a straggler in a hot key pairs the same transactions anew, again and again
def combo_id(ids: tuple[str, str], location: str | None) -> str:
    """Name a combo by its jacket and pants transactions.

    The same on every worker and in every replay.
    """
    parts = ids if location is None else (location, *ids)
    return str(uuid5(NAMESPACE, SEPARATOR.join(parts)))


class Settled(NamedTuple):
    """Combos of one transaction that left the accumulator standing.

    How many, and the earliest ids.
    """

    total: int
    combo_ids: tuple[str, ...]


class ComboState:
    """Accumulator, suffix, settled lists and frontier of one key.

    `share` lends the present content to a reader, who may keep it: whatever changes later is
    replaced, not altered.
    """

    def __init__(self, rules: Rules, location: str, body: bytes) -> None:
        self._rules, self._location = rules, naming_location(rules, location)
        self.frontier = 0
        self.pairing = Pairing(rules.combo_window_us, rules.return_window_us)
        self.suffix: list[Move] = []
        self.settled: dict[str, Settled] = {}
        self._lent = False
        self._bytes_bound = 2 * len(
            body
        )  # an identifier may come again as the key of a settled list
        if body:
            self._decode(body)

    def share(self) -> tuple[Pairing, list[Move], dict[str, Settled]]:
        """Lend accumulator, suffix and settled lists as they are now."""
        self._lent = True
        return self.pairing, list(self.suffix), self.settled

    def insert(self, move: Move) -> bool:
        """Take an event into the suffix and move the frontier.

        False if it comes before the frontier.
        """
        if move.instant < self.frontier:
            return False
        insort(self.suffix, move)
        self.frontier = max(self.frontier, move.instant - self._rules.allowed_lateness_us)
        characters = 2 * len(move.transaction_id) + len(move.product_id)
        self._bytes_bound += 4 * characters + _MOVE_BYTES  # UTF-8 needs at most four bytes each
        return True

    def entries(self) -> int:
        """Count suffix, unpaired sales and pairs. Settling never makes it more."""
        return len(self.suffix) + self.pairing.entries()

    def exceeds(self) -> bool:
        """Say whether the body, settled up to the frontier, is over a cap.

        Cheap while it cannot be.
        """
        entries, rules = self.entries(), self._rules
        bound = self._bytes_bound + _ENTRY_GROWTH_BYTES * entries
        if entries <= rules.state_entries_max and bound <= rules.state_bytes_max:
            return False
        self.settle()
        return self._over()

    def _over(self) -> bool:
        if self.entries() > self._rules.state_entries_max:
            return True
        size = len(self.encode())
        self._bytes_bound = 2 * size
        return size > self._rules.state_bytes_max

    def shrink(self) -> None:
        """Close windows early, oldest first, until the body is within its caps."""
        while self.entries() and self._over():
            if self.suffix:
                self.frontier = self.suffix[0].instant + MICROSECOND
                self.settle()
            else:
                self._own()
                closed = self.pairing.close_oldest()
                self._remember([closed] if closed else [])

    def settle(self) -> None:
        """Fold the suffix up to the frontier into the accumulator and drop what is out of reach."""
        cut = bisect_left(self.suffix, (self.frontier,))
        if not cut and self.pairing.keeps_all(self.frontier):
            return
        self._own()
        ready, self.suffix = self.suffix[:cut], self.suffix[cut:]
        self.pairing.fold(ready)
        self._remember(self.pairing.forget(self.frontier))

    def _own(self) -> None:
        if self._lent:
            self.pairing, self._lent = self.pairing.copy(), False

    def _remember(self, gone: Sequence[Pair]) -> None:
        """List dropped combos with those of their transactions that can still be reached."""
        if not gone and not self.settled:
            return
        settled = dict(self.settled)
        for pair in sorted(gone, key=Pair.order):
            if pair.standing:
                identifier = combo_id(pair.ids, self._location)
                for sale in (pair.jacket, pair.pants):
                    count, ids = settled.get(sale.transaction_id, Settled(0, ()))
                    room = (identifier,) if len(ids) < COMBO_IDS_MAX else ()
                    settled[sale.transaction_id] = Settled(count + 1, ids + room)
        if settled:
            alive = {sale.transaction_id for sale in self.pairing.sales()}
            self.settled = {tx: kept for tx, kept in settled.items() if tx in alive}

    # ------------------------------------------------------------------------- the encoded form
    def encode(self) -> bytes:
        """Write the body: every sale once, pairs by the numbers of their sales."""
        sales = sorted(self.pairing.sales(), key=Sale.order)
        number = {id(sale): n for n, sale in enumerate(sales)}
        pairs = [
            [number[id(p.jacket)], number[id(p.pants)], p.made, p.standing]
            for p in self.pairing.pairs
        ]
        rows = [
            [s.instant, s.transaction_id, s.product_id, int(s.is_jacket), s.free] for s in sales
        ]
        suffix = [
            [m.instant, int(m.is_return), m.transaction_id, m.product_id, int(m.is_jacket), m.units]
            for m in self.suffix
        ]
        settled = {tx: tuple(kept) for tx, kept in self.settled.items()}
        return orjson.dumps([BODY_FORMAT, self.frontier, rows, pairs, suffix, settled])

    def _decode(self, body: bytes) -> None:
        kind, self.frontier, rows, pairs, suffix, settled = orjson.loads(body)
        if kind != BODY_FORMAT:
            raise ValueError(f"combo state of format {kind}; this version reads {BODY_FORMAT}")
        sales = [
            Sale(Move(instant, False, tx, product, bool(jacket), free), free)
            for instant, tx, product, jacket, free in rows
        ]
        for sale in sales:
            if sale.free:
                self.pairing.queues[sale.is_jacket].append(sale)
        self.pairing.pairs = [
            Pair(sales[jacket], sales[pants], made, standing)
            for jacket, pants, made, standing in pairs
        ]
        self.suffix = [
            Move(instant, bool(back), tx, product, bool(jacket), units)
            for instant, back, tx, product, jacket, units in suffix
        ]
        self.settled = {tx: Settled(n, tuple(ids)) for tx, (n, ids) in settled.items()}
