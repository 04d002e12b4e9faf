"""Put lines on the stream, and remember where each one went."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from consumers.sources import (
    RECORD_BYTES_MAX,
    Line,
    Outgoing,
    Partitioner,
    aggregate_members,
)
from pipeline.core.events import Rejected, parse
from pipeline.core.positions import Position
from pipeline.core.reasons import Reason
from pipeline.core.records import KPL_MAGIC, Record
from pipeline.core.rules import Rules
from pipeline.core.step import Refusal
from pipeline.ports.streams import Message, Publisher
from pipeline.runtime.backoff import Backoff

LINES_PER_PUT = 500
"""The most that one PutRecords call takes. Source: Kinesis quotas."""


UNPUBLISHED = "unpublished"
"""The shard id of a line that no Kinesis record can hold.

Its sequence number is its line number.
"""


class Placement(NamedTuple):
    """Where a line went; no position if no Kinesis record can hold it."""

    line: Line
    position: Position | None


def chunked(lines: Iterable[Line], size: int = LINES_PER_PUT) -> Iterator[Sequence[Line]]:
    """Cut lines that are all there into puts."""
    remaining = iter(lines)
    return iter(lambda: list(islice(remaining, size)), [])


def arriving(lines: Iterable[Line], size: int = LINES_PER_PUT) -> Iterator[Sequence[Line]]:
    """Cut lines that a slow producer writes: whatever has come so far makes a put."""
    waiting: SimpleQueue[Line | None] = SimpleQueue()

    def read() -> None:
        for line in lines:
            waiting.put(line)
        waiting.put(None)

    Thread(target=read, daemon=True).start()
    ended = False
    while not ended:
        chunk: list[Line] = []
        while not chunk or (len(chunk) < size and not waiting.empty()):
            line = waiting.get()
            if line is None:
                ended = True
                break
            chunk.append(line)
        if chunk:
            yield chunk


def send(
    chunks: Iterable[Sequence[Line]],
    publisher: Publisher,
    partitioner: Partitioner,
    backoff: Backoff,
) -> Iterator[Placement]:
    """Publish lines in order, a chunk a call; yield each as soon as it is durable.

    At least once: a put whose answer was lost is repeated, and both copies stay on the stream.
    Lines over the size of a record come back without a position and are the caller's to report.
    """
    for chunk in chunks:
        yield from (Placement(line, None) for line in chunk if len(line.data) > RECORD_BYTES_MAX)
        fitting = {line.number: line for line in chunk if len(line.data) <= RECORD_BYTES_MAX}
        outgoing = [out for line in fitting.values() for out in partitioner.messages(line)]
        for out, position in _put(outgoing, publisher, backoff):
            yield Placement(fitting[out.line], position)


def _put(
    outgoing: Sequence[Outgoing], publisher: Publisher, backoff: Backoff
) -> Iterator[tuple[Outgoing, Position]]:
    def attempt(left: Sequence[int]) -> dict[int, Position]:
        messages: list[Message] = [outgoing[at].message for at in left]
        placed = zip(left, publisher.publish(messages), strict=True)
        return {at: position for at, position in placed if position is not None}

    positions = backoff.gather("publish", attempt, {at: at for at in range(len(outgoing))})
    for at, out in enumerate(outgoing):
        yield out, positions[at]


def unpublishable(line: Line, stream: str, now: int, rules: Rules) -> Refusal:
    """Write the quarantine entry of a line over the size of a record.

    Nothing is lost at the door.
    """
    verdict = parse(line.data, now, rules)
    reason = verdict.reason if isinstance(verdict, Rejected) else Reason.TOO_LARGE
    if line.data.startswith(KPL_MAGIC) and aggregate_members(line.data) is None:
        reason = Reason.BAD_AGGREGATE
    place = Position(stream, UNPUBLISHED, line.number)
    return Refusal("rejected", reason, "", Record(line.data, place, now))
