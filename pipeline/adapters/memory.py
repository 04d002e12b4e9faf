"""Every port in memory: for tests, simulations and `run-local --stack memory`.

A shipped part, not a test double: the contract suites hold it and the real adapters to the same
behaviour. One lock makes each call atomic, as a single item write is in the real stores.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    newer,
)
from pipeline.core.claims import Claim, Holder
from pipeline.core.errors import LeaseLost, SystemFault
from pipeline.core.keyed_state import KeyedState, StateKey
from pipeline.core.positions import Position
from pipeline.core.records import HASH_KEY_MAX, HashRange, Record, hash_key
from pipeline.core.step import Refusal, holder_of
from pipeline.ports.cache import CachedStock, Stale, StockId
from pipeline.ports.change_log import RowKey
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.scans import WHOLE, Segment
from pipeline.ports.states import Commit, PinnedRules
from pipeline.ports.streams import Cursor, Message, Page, Shard, Start


class MemoryClaims:
    """`ports.claims.ClaimStore`."""

    def __init__(self) -> None:
        self.items: dict[str, Claim] = {}
        self._lock = Lock()

    def claim(self, claims: Sequence[Claim]) -> Mapping[str, Holder]:
        """Insert what is absent and return who holds."""
        answers = {}
        with self._lock:
            for claim in claims:
                fresh = claim.claim_id not in self.items
                held = self.items.setdefault(claim.claim_id, claim)
                answers[claim.claim_id] = Holder(held.fingerprint, held.position, fresh)
        return answers

    def scan(self) -> Iterator[Claim]:
        """Read every claim."""
        return iter(list(self.items.values()))


class MemoryChangeLog:
    """`ports.change_log.ChangeLog`; `stream` completes the positions of its rows."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self.rows: dict[RowKey, ChangeRecorded] = {}
        self.annotations: dict[RowKey, ChangeAnnotated] = {}
        self._lock = Lock()

    def record(self, rows: Sequence[ChangeRecorded]) -> Mapping[RowKey, Holder]:
        """Insert rows where absent."""
        answers = {}
        with self._lock:
            for row in rows:
                key = row.location, row.transaction_id
                fresh = key not in self.rows
                held = self.rows.setdefault(key, row)
                answers[key] = holder_of(held, self._stream, fresh=fresh)
        return answers

    def annotate(self, annotations: Sequence[ChangeAnnotated]) -> Sequence[ChangeAnnotated]:
        """Replace annotations of lower revision."""
        with self._lock:
            for note in annotations:
                key = note.location, note.transaction_id
                if key not in self.rows:
                    raise SystemFault(f"no change-log row to annotate: {key}")
                self.annotations[key] = newer(self.annotations.get(key), note)
        return ()

    def scan(
        self, segment: Segment = WHOLE
    ) -> Iterator[tuple[ChangeRecorded, ChangeAnnotated | None]]:
        """Read every row with its annotation."""
        found = [(key, row) for key, row in self.rows.items() if segment.holds(*key)]
        return iter([(row, self.annotations.get(key)) for key, row in found])


class MemoryCombos:
    """`ports.combos.ComboTable`."""

    def __init__(self) -> None:
        self.items: dict[str, ComboChanged] = {}
        self._lock = Lock()

    def upsert(self, combos: Sequence[ComboChanged]) -> Sequence[ComboChanged]:
        """Write combos of higher revision."""
        with self._lock:
            for combo in combos:
                self.items[combo.combo_id] = newer(self.items.get(combo.combo_id), combo)
        return ()

    def scan(self, segment: Segment = WHOLE) -> Iterator[ComboChanged]:
        """Read every combo."""
        return iter([combo for key, combo in self.items.items() if segment.holds(key)])


class MemoryStates:
    """`ports.states.StateStore`."""

    def __init__(self) -> None:
        self.items: dict[StateKey, KeyedState] = {}
        self.pinned: PinnedRules | None = None
        self._lock = Lock()

    def load(self, keys: Sequence[StateKey]) -> Mapping[StateKey, KeyedState]:
        """Read states."""
        with self._lock:
            return {key: self.items.get(key) or KeyedState(key) for key in keys}

    def commit(self, commits: Sequence[Commit]) -> Mapping[StateKey, bool]:
        """Compare and set."""
        answers = {}
        with self._lock:
            for state, expected in commits:
                stored = self.items.get(state.key)
                answers[state.key] = won = (stored.version if stored else 0) == expected
                if won:
                    self.items[state.key] = state
        return answers

    def pin(self, rules: PinnedRules) -> PinnedRules:
        """Store the rules if none are."""
        with self._lock:
            self.pinned = self.pinned or rules
            return self.pinned

    def scan(self, fold: str, segment: Segment = WHOLE) -> Iterator[KeyedState]:
        """Read every state of a fold."""
        found = [(key, state) for key, state in self.items.items() if key.fold == fold]
        return iter([state for key, state in found if segment.holds(*key.parts)])


class MemoryQuarantine:
    """`ports.quarantine.Quarantine`."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, Position], Refusal] = {}
        self._lock = Lock()

    def put(self, refusals: Sequence[Refusal]) -> Sequence[Refusal]:
        """Keep refused records."""
        with self._lock:
            for refusal in refusals:
                self.items[refusal.kind, refusal.record.position] = refusal
        return ()

    def scan(self) -> Iterator[Refusal]:
        """Read every entry."""
        return iter(list(self.items.values()))


class MemoryStream:
    """`ports.streams.RecordStream` and `Publisher` over the same shards,
    split evenly by hash key.
    """

    def __init__(self, name: str, shard_count: int, now: Callable[[], int]) -> None:
        self.name, self._now, self._lock = name, now, Lock()
        width = (HASH_KEY_MAX + 1) // shard_count
        ends = [width * (n + 1) - 1 for n in range(shard_count - 1)] + [HASH_KEY_MAX]
        self._shards = [
            Shard(f"shardId-{n:012d}", HashRange(width * n, end)) for n, end in enumerate(ends)
        ]
        self.records: dict[str, list[Record]] = {shard.shard_id: [] for shard in self._shards}
        self._closed: set[str] = set()

    def split(self, shard_id: str) -> tuple[Shard, Shard]:
        """Close a shard; two new ones share its hash keys."""
        with self._lock:
            start, end = self._shard(shard_id).hash_range
            middle = (start + end) // 2
            self._closed.add(shard_id)
            low = self._add(HashRange(start, middle), shard_id)
            return low, self._add(HashRange(middle + 1, end), shard_id)

    def merge(self, shard_id: str, above: str) -> Shard:
        """Close two neighbours; a new one owns the hash keys of both."""
        with self._lock:
            low, high = self._shard(shard_id).hash_range, self._shard(above).hash_range
            self._closed |= {shard_id, above}
            return self._add(HashRange(low.start, high.end), shard_id, above)

    def _shard(self, shard_id: str) -> Shard:
        return next(shard for shard in self._shards if shard.shard_id == shard_id)

    def _add(self, hash_range: HashRange, *parents: str) -> Shard:
        shard = Shard(f"shardId-{len(self._shards):012d}", hash_range, parents)
        self.records[shard.shard_id] = []
        self._shards.append(shard)
        return shard

    def publish(self, messages: Sequence[Message]) -> Sequence[Position | None]:
        """Append each message to the shard of its hash key."""
        with self._lock:
            return [self._append(message) for message in messages]

    def _append(self, message: Message) -> Position:
        explicit = message.explicit_hash_key
        wanted = hash_key(message.partition_key) if explicit is None else explicit
        shard_id = next(
            shard.shard_id
            for shard in self._shards
            if shard.shard_id not in self._closed and shard.hash_range.holds(wanted)
        )
        log = self.records[shard_id]
        position = Position(self.name, shard_id, len(log) + 1)
        log.append(Record(message.data, position, self._now()))
        return position

    def shards(self) -> Sequence[Shard]:
        """List the shards."""
        return list(self._shards)

    def open(self, shard_id: str, start: Start) -> Cursor:
        """Return the index of the next record as a cursor."""
        log = self.records[shard_id]
        if start.kind == "AFTER_SEQUENCE_NUMBER":
            return str(bisect_right(log, start.at, key=lambda record: record.position.sequence))
        if start.kind == "AT_TIMESTAMP":
            return str(sum(record.arrival < start.at for record in log))
        return "0"

    def read(self, shard_id: str, cursor: Cursor, limit: int) -> Page:
        """Read on from a cursor."""
        at = int(cursor)
        with self._lock:
            records = self.records[shard_id][at : at + limit]
            behind = len(self.records[shard_id]) - at - len(records)
            ended = shard_id in self._closed and not behind
        return Page(records, None if ended else str(at + len(records)), behind)


class MemoryCheckpoints:
    """`ports.checkpoints.CheckpointStore`."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], tuple[str, Checkpoint]] = {}
        self._lock = Lock()

    def take(self, consumer: str, shard_id: str, owner: str, start: Start) -> Checkpoint:
        """Become the owner."""
        with self._lock:
            _, checkpoint = self.items.get((consumer, shard_id), ("", Checkpoint(start)))
            self.items[consumer, shard_id] = owner, checkpoint
            return checkpoint

    def advance(self, consumer: str, shard_id: str, owner: str, to: Checkpoint) -> None:
        """Move on, if still the owner, and never back."""
        with self._lock:
            holder, held = self.items.get((consumer, shard_id), (None, to))
            if holder != owner:
                raise LeaseLost(f"another {consumer} has taken {shard_id}")
            if to.order() >= held.order():
                self.items[consumer, shard_id] = owner, to

    def all(self, consumer: str) -> Mapping[str, Checkpoint]:
        """Read every checkpoint."""
        return {s: held for (name, s), (_, held) in self.items.items() if name == consumer}


class MemoryCache:
    """`ports.cache.StockCache`; `told` are the messages that subscribers would have had."""

    def __init__(self) -> None:
        self.items: dict[StockId, CachedStock] = {}
        self.told: list[Stale] = []
        self._lock = Lock()

    def invalidate(self, stale: Sequence[Stale]) -> Sequence[Stale]:
        """Mark entries stale."""
        for item in stale:
            self.fill(item.entry, CachedStock(None, item.revision))
            self.told.append(item)
        return ()

    def get(self, entry: StockId) -> CachedStock | None:
        """Return what is cached."""
        return self.items.get(entry)

    def fill(self, entry: StockId, level: CachedStock) -> None:
        """Keep a value unless a newer one is there."""
        with self._lock:
            held = self.items.get(entry)
            if held is None or level.revision >= held.revision:
                self.items[entry] = level
