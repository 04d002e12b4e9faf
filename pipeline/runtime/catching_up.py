"""Catching up: what a sink lacks of the records that its consumer will not be offered again.

A sink can be set back (a warehouse restored from yesterday's backup) while whoever keeps the place
in the stream believes that all of it was loaded. An engine that opens shards itself goes back with
them; one that is handed its records cannot, so it asks the handler where to go on, and reads what
lies between there and its own place from the stream: in the shard, and first in the closed shards
that it came from, whose ends nobody will offer again either.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.core.records import Batch, Record
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, RecordStream, Shard
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import Handler

EMPTY_PAGE_PAUSE_S = 0.25
"""Kinesis allows five reads a second and shard, and other readers take theirs."""

_log = logging.getLogger("tillstream.catching_up")


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Hand a handler what it says it lacks; nothing, for a handler that lacks nothing."""

    handler: Handler
    stream: RecordStream
    backoff: Backoff
    batch_records_max: int

    def run(self, shards: Mapping[str, Shard], shard_id: str, place: Checkpoint) -> int:
        """Bring the handler up to a place in a shard; return how many records it lacked.

        Everything up to the place must have been handled once, or be held by the shard's ancestors.
        Raises what the handler raises; running it again goes on where it broke off.
        """
        finished = Checkpoint(TRIM_HORIZON, finished=True)
        lacked = sum(self._replay(parent, finished) for parent in lineage(shards, shard_id))
        return lacked + (self._replay(shards[shard_id], place) if shard_id in shards else 0)

    def _replay(self, shard: Shard, place: Checkpoint) -> int:
        """Read a shard from where the handler is, up to the place or to the shard's end."""
        resumed = self.handler.resume(shard.shard_id, place)
        if resumed == place:
            return 0
        lacked = 0
        for records in self._pages(shard.shard_id, resumed):
            missed = [r for r in records if place.finished or r.position.sequence <= place.start.at]
            if missed:
                self.handler.handle(Batch(shard.shard_id, missed, shard.hash_range))
                lacked += len(missed)
                _log.warning("%s: the sink lacked %d records", shard.shard_id, len(missed))
            if len(missed) < len(records):
                break
        return lacked

    def _pages(self, shard_id: str, resumed: Checkpoint) -> Iterator[Sequence[Record]]:
        """Read to the tip or the end of a shard; an empty page need not be the last."""
        stream, backoff = self.stream, self.backoff
        cursor = backoff.call("open shard", lambda: stream.open(shard_id, resumed.start))
        while True:
            read = partial(stream.read, shard_id, cursor, self.batch_records_max)
            page = backoff.call("read", read)
            yield page.records
            if page.cursor is None or not (page.records or page.behind_ms):
                return
            cursor = page.cursor
            if not page.records:
                backoff.clock.wait(EMPTY_PAGE_PAUSE_S)


def lineage(shards: Mapping[str, Shard], shard_id: str) -> list[Shard]:
    """List the shards that a shard came from and the stream still knows, parents before children.

    Kinesis numbers shards as it makes them, so that their names sort by age.
    """
    found: set[str] = set()
    waiting = list(shards[shard_id].parents) if shard_id in shards else []
    while waiting:
        parent = waiting.pop()
        if parent in shards and parent not in found:
            found.add(parent)
            waiting += shards[parent].parents
    return [shards[parent] for parent in sorted(found)]
