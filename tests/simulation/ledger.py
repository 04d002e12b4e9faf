"""The ledger: every user record that consumers could read, and what must have become of it.

Written from the oracle's reading of the stream and from who holds the claims, never from what a
handler says of itself. One claim holds per transaction; which delivery got it is chance, and the
only thing that is taken from the tables.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.adapters.memory import MemoryClaims, MemoryStream
from pipeline.core.claims import composite
from pipeline.core.positions import Position
from pipeline.core.records import Record
from pipeline.core.rules import Rules
from tests.reference_events import Fact, Refused, open_aggregate, read

Key = tuple[str, tuple[str, str]]
"""Fold and key."""


class Violation(AssertionError):
    """Something that must be true is not."""


class Entry(NamedTuple):
    """One user record: the fact that it states, or the reason why it states none."""

    position: Position
    order: tuple[int, int]
    data: bytes
    arrival: int
    meaning: Fact | str


def keys_of(fact: Fact, rules: Rules) -> Iterator[Key]:
    """Name the states that an event belongs to."""
    if fact.category in ("jacket", "pants") and fact.source in rules.combo_sources:
        yield "combos", (fact.location, fact.base_product_id)
    yield "stock", (fact.location, fact.product_id)


def same_body(one: Fact, other: Fact) -> bool:
    """Say whether two deliveries state the same; the batch may resend what a till sent."""
    return one._replace(source="") == other._replace(source="")


class Ledger:
    """Entries by shard in order, read from the stream as it grows."""

    def __init__(self, stream: MemoryStream, claims: MemoryClaims, rules: Rules) -> None:
        self._stream, self._claims, self._rules = stream, claims, rules
        self._entries: dict[str, list[list[Entry]]] = {}
        self._deliveries: dict[str, list[Entry]] = {}

    def shard(self, shard_id: str) -> list[list[Entry]]:
        """Return the entries of a shard, by Kinesis record; none for an aggregate that it drops."""
        known = self._entries.setdefault(shard_id, [])
        for record in self._stream.records[shard_id][len(known) :]:
            known.append(self._read(shard_id, record))
        return known

    def everything(self) -> list[Entry]:
        """List all entries of all shards."""
        shards = list(self._stream.records)
        return [entry for s in shards for record in self.shard(s) for entry in record]

    def _read(self, shard_id: str, record: Record) -> list[Entry]:
        shard = next(s for s in self._stream.shards() if s.shard_id == shard_id)
        at, where = record.arrival, record.position
        order = (where.sequence, 0)
        try:
            owned = (shard.hash_range.start, shard.hash_range.end)
            members = open_aggregate(record.data, owned)
        except Refused as refused:
            return [Entry(where, order, record.data, at, str(refused))]
        found = []
        for sub, data in enumerate(members or ()):
            place = Position(where.stream, shard_id, where.sequence, sub)
            meaning = read(data, at, self._rules)
            found.append(Entry(place, (where.sequence, sub), data, at, meaning))
            if isinstance(meaning, Fact):
                self._deliveries.setdefault(self._claim_id(meaning), []).append(found[-1])
        return found

    def _claim_id(self, fact: Fact) -> str:
        scoped = self._rules.dedupe_scope == "location"
        return composite(fact.location, fact.transaction_id) if scoped else fact.transaction_id

    def holder(self, fact: Fact) -> Entry:
        """Return the delivery that holds the claim on an event's transaction."""
        claim_id = self._claim_id(fact)
        claim = self._claims.items.get(claim_id)
        position = claim.position if claim else None
        if position:
            self.shard(position.shard_id)  # another shard's delivery may hold it
        for entry in self._deliveries[claim_id]:
            if entry.position == position:
                return entry
        raise Violation(f"no delivery of {claim_id} holds its claim ({position})")

    def verdict(self, entry: Entry) -> str:
        """Say what must have become of a record."""
        if isinstance(entry.meaning, str):
            return "rejected"
        holder = self.holder(entry.meaning)
        if holder.position == entry.position:
            return "accepted"
        assert isinstance(holder.meaning, Fact)
        return "duplicate" if same_body(entry.meaning, holder.meaning) else "conflict"

    def kept(self) -> dict[str, Entry]:
        """Return the delivery that holds each claim."""
        self.everything()
        facts = {claim_id: entries[0].meaning for claim_id, entries in self._deliveries.items()}
        return {c: self.holder(fact) for c, fact in facts.items() if isinstance(fact, Fact)}


def flat(records: Sequence[Sequence[Entry]]) -> list[Entry]:
    """Join the entries of several Kinesis records."""
    return [entry for record in records for entry in record]
