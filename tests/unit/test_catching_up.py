"""Catching up: what a sink lacks is read from the stream, and nothing behind the place."""

from collections.abc import Callable, Sequence

import pytest

from pipeline.adapters.memory import MemoryStream
from pipeline.core.errors import SystemFault
from pipeline.core.records import Batch
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, Cursor, Message, Page, Start
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.catching_up import CatchUp, lineage
from pipeline.runtime.handler import BatchReport
from tests.clocks import VirtualClock

FIRST = "shardId-000000000000"
END = Checkpoint(TRIM_HORIZON, finished=True)
NOTHING = Checkpoint(TRIM_HORIZON)


def behind(sequence: int) -> Checkpoint:
    return Checkpoint(Start("AFTER_SEQUENCE_NUMBER", sequence))


class Sink:
    """A handler whose sink stands at these places; elsewhere it has everything."""

    name = "sink"

    def __init__(self, **places: Checkpoint) -> None:
        self.places = {name.replace("_", "-"): place for name, place in places.items()}
        self.handled: list[tuple[str, list[bytes]]] = []
        self.on_batch: Callable[[Batch], None] = lambda _: None

    def handle(self, batch: Batch) -> BatchReport:
        self.on_batch(batch)
        self.handled.append((batch.shard_id, [record.data for record in batch.records]))
        return BatchReport()

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        return self.places.get(shard_id, checkpoint)


class Rig:
    """A stream in memory with six records in its first shard."""

    def __init__(self, sink: Sink, at: Checkpoint | None = None) -> None:
        self.sink, self.clock = sink, VirtualClock()
        if at is not None:
            sink.places[FIRST] = at
        self.stream = MemoryStream("s", 1, lambda: 0)
        self.put(b"1", b"2", b"3", b"4", b"5", b"6")

    def put(self, *data: bytes) -> None:
        self.stream.publish([Message(one, "k", 0) for one in data])

    def run(self, place: Checkpoint, shard_id: str = FIRST) -> int:
        shards = {shard.shard_id: shard for shard in self.stream.shards()}
        catch_up = CatchUp(self.sink, self.stream, Backoff(self.clock), 2)
        return catch_up.run(shards, shard_id, place)

    @property
    def data(self) -> list[bytes]:
        return [one for _, data in self.sink.handled for one in data]


@pytest.mark.parametrize("place", [NOTHING, behind(3), END])
def test_sink_that_lacks_nothing_is_left_alone(place: Checkpoint) -> None:
    rig = Rig(Sink())
    assert (rig.run(place), rig.data) == (0, [])


@pytest.mark.parametrize(
    ("at", "place", "lacked"),
    [
        (NOTHING, behind(3), [b"1", b"2", b"3"]),
        (behind(1), behind(3), [b"2", b"3"]),
        (behind(2), behind(3), [b"3"]),
        (behind(4), END, [b"5", b"6"]),
        (NOTHING, END, [b"1", b"2", b"3", b"4", b"5", b"6"]),
    ],
)
def test_sink_is_handed_what_lies_between(
    at: Checkpoint, place: Checkpoint, lacked: Sequence[bytes]
) -> None:
    rig = Rig(Sink(), at)
    assert (rig.run(place), rig.data) == (len(lacked), lacked)


def test_batches_are_as_large_as_asked_for() -> None:
    rig = Rig(Sink(), NOTHING)
    rig.run(behind(5))
    assert [len(data) for _, data in rig.sink.handled] == [2, 2, 1]


def test_batch_knows_the_hash_keys_of_its_shard() -> None:
    rig = Rig(Sink(), NOTHING)
    ranges = []
    rig.sink.on_batch = lambda batch: ranges.append(batch.hash_range)
    rig.run(behind(1))
    assert ranges == [rig.stream.shards()[0].hash_range]


def test_fault_of_the_handler_gets_out_and_the_next_run_goes_on_there() -> None:
    rig = Rig(Sink(), NOTHING)

    def fail(batch: Batch) -> None:
        if batch.records[0].data == b"3":
            raise SystemFault("gone")
        rig.sink.places[FIRST] = behind(batch.records[-1].position.sequence)

    rig.sink.on_batch = fail
    with pytest.raises(SystemFault):
        rig.run(END)
    rig.sink.on_batch = lambda _: None
    rig.run(END)
    assert rig.data == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_empty_page_before_the_tip_is_not_the_end() -> None:
    rig = Rig(Sink(), NOTHING)
    read, empty = rig.stream.read, iter([True, True])

    def sparse(shard_id: str, cursor: Cursor, limit: int) -> Page:
        return Page([], cursor, 5) if next(empty, False) else read(shard_id, cursor, limit)

    rig.stream.read = sparse  # type: ignore[method-assign]
    rig.run(behind(2))
    assert (rig.data, rig.clock.pauses) == ([b"1", b"2"], [0.25, 0.25])


# ------------------------------------------------------------------------------------ reshards
def test_closed_ancestors_come_first_and_to_their_ends() -> None:
    rig = Rig(Sink(), behind(5))
    child, _ = rig.stream.split(FIRST)
    rig.put(b"7", b"8")
    grandchild, _ = rig.stream.split(child.shard_id)
    rig.sink.places[child.shard_id] = NOTHING
    assert rig.run(NOTHING, grandchild.shard_id) == 3
    assert rig.sink.handled == [(FIRST, [b"6"]), (child.shard_id, [b"7", b"8"])]


def test_both_parents_of_a_merge_are_ancestors() -> None:
    stream = MemoryStream("s", 2, lambda: 0)
    low, high = stream.shards()
    merged = stream.merge(low.shard_id, high.shard_id)
    shards = {shard.shard_id: shard for shard in stream.shards()}
    assert lineage(shards, merged.shard_id) == [low, high]


def test_parent_that_the_stream_forgot_is_no_ancestor() -> None:
    stream = MemoryStream("s", 1, lambda: 0)
    child, _ = stream.split(FIRST)
    assert lineage({child.shard_id: child}, child.shard_id) == []


def test_shard_that_the_stream_forgot_has_nothing_to_catch_up_with() -> None:
    rig = Rig(Sink(), NOTHING)
    assert rig.run(behind(3), "shardId-000000000077") == 0


def test_nothing_is_read_behind_the_place() -> None:
    rig = Rig(Sink(), NOTHING)
    cursors: list[Cursor] = []
    read = rig.stream.read

    def noting(shard_id: str, cursor: Cursor, limit: int) -> Page:
        cursors.append(cursor)
        return read(shard_id, cursor, limit)

    rig.stream.read = noting  # type: ignore[method-assign]
    rig.run(behind(1))
    assert len(cursors) == 1
