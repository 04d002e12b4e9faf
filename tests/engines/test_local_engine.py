"""The local engine over ports in memory: batches, checkpoints and faults."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pipeline.adapters.memory import MemoryStream
from pipeline.core.errors import (
    BudgetExhausted,
    SystemFault,
    TransientFault,
)
from pipeline.core.records import HASH_KEY_MAX, Batch
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import (
    TRIM_HORIZON,
    Cursor,
    IteratorExpired,
    Page,
    Shard,
    Start,
)
from tests.engines.rig import HIGH, LOW, NOW, Faulty, Recorder, Rig, behind


# --------------------------------------------------------------------------- batches, checkpoints
def test_every_record_is_handled_once_and_in_order() -> None:
    rig = Rig(Recorder())
    rig.put(*(b"%d" % n for n in range(9)))
    rig.drain()
    assert rig.handler.data == [b"%d" % n for n in range(9)]


def test_batches_are_as_large_as_asked_for() -> None:
    rig = Rig(Recorder())
    rig.put(*(b"%d" % n for n in range(5)))
    rig.drain()
    assert [len(data) for _, data in rig.handler.batches] == [2, 2, 1]


def test_a_batch_knows_the_hash_keys_of_its_shard() -> None:
    ranges = []
    rig = Rig(Recorder(lambda batch: ranges.append(batch.hash_range)), 2)
    rig.put(b"x", hash_at=HASH_KEY_MAX)
    rig.drain()
    assert ranges == [rig.stream.shards()[1].hash_range]


def test_an_engine_goes_on_where_the_last_one_was() -> None:
    rig = Rig(Recorder())
    rig.put(b"a", b"b", b"c")
    rig.drain(owner="one")
    rig.put(b"d")
    rig.drain(owner="two")
    assert rig.handler.data == [b"a", b"b", b"c", b"d"]


def test_the_checkpoint_moves_only_once_the_handler_has_returned() -> None:
    seen: list[Checkpoint] = []
    rig = Rig(Recorder(lambda _: seen.append(rig.reached())))
    rig.put(b"a", b"b", b"c")
    rig.drain()
    assert [*seen, rig.reached()] == [Checkpoint(TRIM_HORIZON), behind(2), behind(3)]


@pytest.mark.parametrize("start", [TRIM_HORIZON, Start("AT_TIMESTAMP", NOW - 1)])
def test_the_start_is_stored_before_the_first_read(start: Start) -> None:
    stored = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            if name == "open":
                stored.append(rig.reached())
            return getattr(rig.stream, name)

    rig = Rig(Recorder(), start=start)
    rig.put(b"a")
    rig.drain(stream=Watched())
    assert stored == [Checkpoint(start)]


def test_reading_starts_at_the_instant_asked_for() -> None:
    rig = Rig(Recorder(), start=Start("AT_TIMESTAMP", NOW + 1))
    rig.put(b"too early")
    rig.drain()
    assert rig.handler.data == []


def test_a_handler_may_go_back_behind_the_checkpoint() -> None:
    class Behind(Recorder):
        def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
            return behind(1)

    rig = Rig(Behind())
    rig.put(b"a", b"b", b"c")
    rig.checkpoints.take("recorder", LOW, "before", TRIM_HORIZON)
    rig.checkpoints.advance("recorder", LOW, "before", behind(3))
    rig.drain()
    assert (rig.handler.data, rig.reached()) == ([b"b", b"c"], behind(3))


# ------------------------------------------------------------------------------------------ faults
def failing_once(fault: Exception, on: bytes) -> Callable[[Batch], None]:
    faults = [fault]

    def fail(batch: Batch) -> None:
        if faults and on in [record.data for record in batch.records]:
            raise faults.pop()

    return fail


@pytest.mark.parametrize("fault", [TransientFault("throttled"), BudgetExhausted("for 60 s")])
def test_a_batch_whose_handler_failed_comes_again(fault: Exception) -> None:
    rig = Rig(Recorder(failing_once(fault, on=b"c")))
    rig.put(b"a", b"b", b"c", b"d")
    rig.drain()
    assert [data for _, data in rig.handler.batches] == [[b"a", b"b"], [b"c", b"d"], [b"c", b"d"]]


def test_a_handler_that_failed_leaves_the_checkpoint() -> None:
    rig = Rig(Recorder(failing_once(SystemFault("denied"), on=b"c")))
    rig.put(b"a", b"b", b"c", b"d")
    with pytest.raises(SystemFault):
        rig.drain()
    assert rig.reached() == behind(2)


@pytest.mark.parametrize("fault", [SystemFault("denied"), ZeroDivisionError("a bug")])
def test_a_fault_that_no_waiting_mends_stops_the_engine(fault: Exception) -> None:
    rig = Rig(Recorder(failing_once(fault, on=b"a")), 2)
    rig.put(b"a")
    with pytest.raises(type(fault), match=str(fault)):
        rig.drain()
    assert (len(rig.handler.batches), rig.halt.is_set()) == (1, True)


def test_a_shard_that_fails_does_not_stop_another() -> None:
    healthy = threading.Event()

    def fail_until_the_other_is_done(batch: Batch) -> None:
        if batch.shard_id == LOW and not healthy.is_set():
            raise TransientFault("throttled")
        if batch.records[-1].data == b"last":
            healthy.set()

    rig = Rig(Recorder(fail_until_the_other_is_done), 2)
    rig.put(b"a")
    rig.put(b"x", b"y", b"z", b"last", hash_at=HASH_KEY_MAX)
    rig.drain()
    assert (rig.reached(LOW), rig.reached(HIGH)) == (behind(1), behind(4))


@pytest.mark.parametrize("method", ["open", "read", "shards"])
def test_a_stream_that_failed_is_read_on(method: str) -> None:
    rig = Rig(Recorder())
    rig.put(b"a", b"b", b"c")
    rig.drain(stream=Faulty(rig.stream, method, TransientFault("lost"), TransientFault("lost")))
    assert rig.handler.data == [b"a", b"b", b"c"]


@pytest.mark.parametrize("method", ["take", "advance"])
def test_a_checkpoint_that_failed_is_made_again(method: str) -> None:
    rig = Rig(Recorder())
    rig.put(b"a", b"b", b"c")
    rig.drain(checkpoints=Faulty(rig.checkpoints, method, TransientFault("lost")))
    assert (rig.handler.data, rig.reached()) == ([b"a", b"b", b"c"], behind(3))


def test_shards_that_cannot_be_listed_do_not_stop_those_at_work() -> None:
    """The outage outlives the budget; the shard that is known goes on meanwhile."""

    class Unlistable:
        looks = 0

        def shards(self) -> Sequence[Shard]:
            self.looks += 1
            if 1 < self.looks < 40:
                raise TransientFault("no answer")
            return rig.stream.shards()

        def __getattr__(self, name: str) -> Any:
            return getattr(rig.stream, name)

    stream = Unlistable()
    rig = Rig(Recorder())
    rig.put(b"a")
    rig.budget_s = 0.01
    rig.engine(stream=stream).run(lambda: stream.looks > 40)
    assert rig.handler.data == [b"a"]


def test_a_stream_that_cannot_be_listed_at_the_start_is_given_up() -> None:
    rig = Rig(Recorder())
    rig.budget_s = 0.01
    outage = [TransientFault("no answer") for _ in range(1_000)]
    with pytest.raises(BudgetExhausted, match="shards"):
        rig.drain(stream=Faulty(rig.stream, "shards", *outage))


class Expiring:
    """A stream whose cursors expire after one read each, once they have been at it."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream, self.opened = stream, list[Start]()
        self._worn: set[Cursor] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def open(self, shard_id: str, start: Start) -> Cursor:
        self.opened.append(start)
        self._worn.clear()
        return self._stream.open(shard_id, start)

    def read(self, shard_id: str, cursor: Cursor, limit: int) -> Page:
        if self._worn:
            raise IteratorExpired("older than five minutes")
        self._worn.add(cursor)
        return self._stream.read(shard_id, cursor, limit)


def test_an_expired_iterator_is_opened_again_behind_the_last_record() -> None:
    rig = Rig(Recorder())
    stream = Expiring(rig.stream)
    rig.put(b"a", b"b", b"c", b"d")
    rig.drain(stream=stream)
    assert stream.opened[:3] == [TRIM_HORIZON, behind(2).start, behind(4).start]


def test_an_expired_iterator_loses_and_repeats_nothing() -> None:
    rig = Rig(Recorder())
    rig.put(*(b"%d" % n for n in range(9)))
    rig.drain(stream=Expiring(rig.stream))
    assert rig.handler.data == [b"%d" % n for n in range(9)]
