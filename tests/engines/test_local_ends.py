"""How the local engine ends: stops, lost leases, and streams that are drained."""

import threading
from collections.abc import Iterator

import pytest

from consumers.consume import is_drained
from consumers.engines.local import LocalEngine
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import memory_ports
from pipeline.core.errors import (
    LeaseLost,
    TransientFault,
)
from pipeline.core.records import HASH_KEY_MAX, Batch
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import (
    TRIM_HORIZON,
    Message,
)
from pipeline.runtime.backoff import Backoff
from pipeline.settings import Settings
from tests.engines.rig import HIGH, LOW, NOW, Recorder, Rig, behind

WAIT_S = 10.0


# ------------------------------------------------------------------------------------------ stops
class Running:
    """An engine on a thread of its own, without an end but the stop."""

    def __init__(self, engine: LocalEngine) -> None:
        self.raised: BaseException | None = None
        self._engine = engine
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._engine.run()
        except BaseException as fault:  # noqa: BLE001 - kept for the test to look at
            self.raised = fault

    def join(self) -> BaseException | None:
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        return self.raised


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a handler waits for; opened at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def test_a_stop_lets_the_batch_be_finished(gate: threading.Event) -> None:
    begun = threading.Event()

    def hold(_: Batch) -> None:
        begun.set()
        gate.wait(WAIT_S)

    rig = Rig(Recorder(hold))
    rig.put(b"a", b"b", b"c")
    running = Running(rig.engine())
    assert begun.wait(WAIT_S)
    rig.halt.set()
    gate.set()
    assert (running.join(), rig.handler.data, rig.reached()) == (None, [b"a", b"b"], behind(2))


def test_a_stop_ends_an_idle_engine() -> None:
    rig = Rig(Recorder())
    running = Running(rig.engine())
    rig.halt.set()
    assert running.join() is None


def test_a_batch_that_the_stop_interrupted_is_not_checkpointed() -> None:
    def stop_and_wait(_: Batch) -> None:
        rig.halt.set()
        SystemClock(rig.halt).wait(WAIT_S)

    rig = Rig(Recorder(stop_and_wait))
    rig.put(b"a")
    rig.engine().run()
    assert rig.reached() == Checkpoint(TRIM_HORIZON)


def test_no_thread_is_left_behind() -> None:
    rig = Rig(Recorder(), 8)
    rig.put(b"a")
    rig.drain()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shard")]


# ----------------------------------------------------------------------------------------- leases
def test_an_engine_whose_shards_were_all_taken_says_so() -> None:
    rig = Rig(Recorder(lambda batch: take_over(rig, batch.shard_id)), 2)
    rig.put(b"a")
    rig.put(b"b", hash_at=HASH_KEY_MAX)
    with pytest.raises(LeaseLost, match=r"another recorder consumer has taken .*0.*1"):
        rig.engine().run()


def take_over(rig: Rig, shard_id: str) -> None:
    rig.checkpoints.take("recorder", shard_id, "another", TRIM_HORIZON)


def test_a_reader_whose_shard_was_taken_moves_no_checkpoint() -> None:
    rig = Rig(Recorder(lambda batch: take_over(rig, batch.shard_id)))
    rig.put(b"a", b"b", b"c")
    with pytest.raises(LeaseLost):
        rig.engine().run()
    assert (rig.reached(), rig.handler.data) == (Checkpoint(TRIM_HORIZON), [b"a", b"b"])


def test_a_reader_that_failed_does_not_take_its_shard_back() -> None:
    def lose_and_fail(batch: Batch) -> None:
        if len(rig.handler.batches) == 1:
            take_over(rig, batch.shard_id)
            raise TransientFault("throttled")

    rig = Rig(Recorder(lose_and_fail))
    rig.put(b"a")
    with pytest.raises(LeaseLost):
        rig.engine().run()
    assert rig.checkpoints.items["recorder", LOW][0] == "another"


def test_the_shards_that_are_left_are_read_on() -> None:
    def lose_low(batch: Batch) -> None:
        if batch.shard_id == LOW:
            take_over(rig, LOW)

    rig = Rig(Recorder(lose_low), 2)
    rig.put(b"a")
    rig.put(b"b", b"c", b"d", hash_at=HASH_KEY_MAX)
    rig.drain()
    assert rig.reached(HIGH) == behind(3)


# ---------------------------------------------------------------------------------- until drained
def test_an_engine_does_not_end_before_its_upstream() -> None:
    rig, asked = Rig(Recorder()), []

    def upstream_drained() -> bool:
        asked.append(len(rig.handler.data))
        if len(asked) < 5:
            rig.put(b"%d" % len(asked))
        return len(asked) >= 5

    rig.engine().run(upstream_drained)
    assert rig.handler.data == [b"1", b"2", b"3", b"4"]


def test_what_the_upstream_put_before_it_was_drained_is_read() -> None:
    rig = Rig(Recorder(), 4)

    def upstream_drained() -> bool:
        rig.put(b"the last", hash_at=HASH_KEY_MAX)
        return True

    rig.engine().run(upstream_drained)
    assert rig.handler.data == [b"the last"]


def test_an_empty_stream_is_drained() -> None:
    rig = Rig(Recorder(), 3)
    rig.drain()
    assert rig.handler.data == []


def test_the_upstream_is_drained_once_every_record_is_checkpointed() -> None:
    clock = SystemClock()
    ports = memory_ports(Settings(), 1, lambda: NOW)
    ports.events.publish([Message(b"x", "k")])
    ports.checkpoints.take("inventory", LOW, "one", TRIM_HORIZON)
    before = is_drained(ports, Backoff(clock))
    ports.checkpoints.advance("inventory", LOW, "one", behind(1))
    assert (before, is_drained(ports, Backoff(clock))) == (False, True)


def test_the_upstream_is_not_drained_while_a_child_was_not_read() -> None:
    ports = memory_ports(Settings(), 1, lambda: NOW)
    ports.events.split(LOW)
    ports.events.publish([Message(b"x", "k")])
    ports.checkpoints.take("inventory", LOW, "one", TRIM_HORIZON)
    ports.checkpoints.advance("inventory", LOW, "one", Checkpoint(TRIM_HORIZON, finished=True))
    assert not is_drained(ports, Backoff(SystemClock()))
