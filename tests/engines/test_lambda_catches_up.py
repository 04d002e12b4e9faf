"""The Lambda engine where a sink was set back: what it lacks is read from the stream."""

from typing import Any

import pytest

from pipeline.core.errors import FellBehind, Stopping, TransientFault
from pipeline.core.records import HASH_KEY_MAX, Batch
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, Page, Start
from pipeline.runtime.handler import BatchReport
from tests.engines.lambda_rig import DONE, LambdaRig, from_record
from tests.engines.rig import HIGH, LOW, Recorder, behind

CHILD = "shardId-000000000002"


class Sink(Recorder):
    """A handler that knows how far it is in each shard, as the warehouse does."""

    def __init__(self) -> None:
        super().__init__()
        self.reached: dict[str, int] = {}
        self.asked: list[str] = []
        self.refuse: Exception | None = None

    def handle(self, batch: Batch) -> BatchReport:
        if self.refuse is not None:
            fault, self.refuse = self.refuse, None
            raise fault
        self.reached[batch.shard_id] = batch.records[-1].position.sequence
        return super().handle(batch)

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        self.asked.append(shard_id)
        reached = self.reached.get(shard_id)
        if reached is None:
            return Checkpoint(TRIM_HORIZON)
        if checkpoint.start.kind != "TRIM_HORIZON" and reached >= checkpoint.start.at:
            return checkpoint
        return behind(reached)


def rig_of(records: int, **options: Any) -> LambdaRig:
    rig = LambdaRig(Sink(), **options)
    rig.put(records)
    return rig


def test_a_shard_begins_with_what_the_sink_lacks() -> None:
    rig = rig_of(6)
    rig.handler.reached[LOW] = 2
    assert rig.invoke(5, 6) == DONE
    assert rig.handler.batches == [(LOW, [b"3", b"4"]), (LOW, [b"5", b"6"])]


def test_an_empty_sink_is_filled_from_the_oldest_record() -> None:
    rig = rig_of(4, batch_records_max=10)
    rig.invoke(4)
    assert rig.handler.data == [b"1", b"2", b"3", b"4"]


def test_what_is_missing_is_read_page_by_page() -> None:
    rig = rig_of(6, batch_records_max=2)
    rig.invoke(6)
    pages = [[b"1", b"2"], [b"3", b"4"], [b"5"], [b"6"]]
    assert [data for _, data in rig.handler.batches] == pages


def test_a_sink_that_lacks_nothing_gets_the_batch_alone() -> None:
    rig = rig_of(3)
    rig.handler.reached[LOW] = 2
    rig.invoke(3)
    assert rig.handler.data == [b"3"]


def test_a_batch_that_comes_again_behind_the_sink_is_handled_alone() -> None:
    rig = rig_of(3)
    rig.handler.reached[LOW] = 3
    rig.invoke(2, 3)
    assert rig.handler.data == [b"2", b"3"]


def test_a_handler_that_keeps_no_place_is_never_read_for() -> None:
    rig = LambdaRig(Recorder())
    rig.put(3)
    rig.invoke(3)
    assert rig.handler.data == [b"3"]


def test_the_sink_is_asked_once_an_environment_and_shard() -> None:
    rig = rig_of(4)
    rig.invoke(1)
    rig.invoke(2)
    assert rig.handler.asked == [LOW]


@pytest.mark.parametrize("fault", [TransientFault("lost"), FellBehind("restored")])
def test_the_sink_is_asked_again_after_a_failure(fault: Exception) -> None:
    rig = rig_of(4)
    rig.invoke(1, 2, 3)
    rig.handler.refuse, rig.handler.reached[LOW] = fault, 1  # restored: 2 and 3 are gone
    assert rig.invoke(4) == from_record(4)
    assert rig.invoke(4) == DONE
    assert rig.handler.data[3:] == [b"2", b"3", b"4"]


def test_closed_shards_that_a_shard_came_from_are_caught_up_on_first() -> None:
    rig = LambdaRig(Sink(), shard_count=2)
    rig.put(3)
    rig.put(1, hash_at=HASH_KEY_MAX)
    rig.stream.merge(LOW, HIGH)
    rig.put(2)
    rig.handler.reached[LOW] = 1
    rig.invoke(2, shard_id=CHILD)
    assert rig.handler.batches == [
        (LOW, [b"2", b"3"]),
        (HIGH, [b"1"]),
        (CHILD, [b"1"]),
        (CHILD, [b"2"]),
    ]


def test_shards_that_were_not_its_own_are_left_alone() -> None:
    rig = rig_of(2, shard_count=2)
    rig.put(1, hash_at=HASH_KEY_MAX)
    rig.invoke(1, shard_id=HIGH)
    assert rig.handler.asked == [HIGH]


def test_catching_up_ends_with_the_invocation_and_goes_on_in_the_next() -> None:
    rig = rig_of(6, batch_records_max=1)

    def slowly(_: Batch) -> None:
        rig.clock.seconds += 20

    rig.handler.on_batch = slowly
    assert [rig.invoke(6), rig.invoke(6), rig.invoke(6)] == [from_record(6), from_record(6), DONE]
    assert rig.handler.data == [b"1", b"2", b"3", b"4", b"5", b"6"]


class Hollow:
    """A stream whose first pages are empty although more follows."""

    def __init__(self, stream: Any, empty: int) -> None:
        self._stream, self._empty = stream, empty

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, shard_id: str, cursor: str, limit: int) -> Page:
        self._empty -= 1
        if self._empty >= 0:
            return Page([], cursor, 1_000)
        page: Page = self._stream.read(shard_id, cursor, limit)
        return page


def test_an_empty_page_is_not_the_end() -> None:
    rig = rig_of(3)
    rig.stream = Hollow(rig.stream, 3)
    rig.invoke(3)
    assert rig.handler.data == [b"1", b"2", b"3"]


def test_pages_that_stay_empty_end_with_the_invocation() -> None:
    rig = rig_of(3)
    rig.stream = Hollow(rig.stream, 10_000)
    assert rig.invoke(3) == from_record(3)


def test_a_stop_while_catching_up_names_the_first_record() -> None:
    rig = rig_of(3)
    rig.handler.refuse = Stopping("no time")
    assert rig.invoke(2, 3) == from_record(2)


def test_reading_begins_behind_the_sinks_place() -> None:
    opened: list[Start] = []
    rig = rig_of(5)

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return self._open if name == "open" else getattr(stream, name)

        def _open(self, shard_id: str, start: Start) -> Any:
            opened.append(start)
            return stream.open(shard_id, start)

    stream, rig.stream = rig.stream, Watched()
    rig.handler.reached[LOW] = 3
    rig.invoke(5)
    assert opened == [Start("AFTER_SEQUENCE_NUMBER", 3)]
