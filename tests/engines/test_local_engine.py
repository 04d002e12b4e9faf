"""The local engine over ports in memory: what it owes to handlers, shards, owners and stops."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from consumers.consume import Consumer, build_handler, is_drained
from consumers.engines import local
from consumers.engines.local import LocalEngine, LocalOptions, LocalPorts
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory import MemoryCheckpoints, MemoryStream
from pipeline.bootstrap import memory_ports
from pipeline.core.errors import (
    BudgetExhausted,
    LeaseLost,
    RefusedToStart,
    SystemFault,
    TransientFault,
)
from pipeline.core.records import HASH_KEY_MAX, Batch
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import (
    TRIM_HORIZON,
    Cursor,
    IteratorExpired,
    Message,
    Page,
    Shard,
    Start,
)
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport
from pipeline.settings import Settings

LOW, HIGH = "shardId-000000000000", "shardId-000000000001"
NOW = 1_300_000_000_000_000
WAIT_S = 10.0


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"POLL_S": 0.002, "SHARD_PAUSE_S": 0.005, "SHARD_SYNC_S": 0.02}.items():
        monkeypatch.setattr(local, name, seconds)


class Recorder:
    """A handler that notes what it is given; `on_batch` may look on, fail or wait."""

    name = "recorder"

    def __init__(self, on_batch: Callable[[Batch], None] | None = None) -> None:
        self.on_batch = on_batch
        self.batches: list[tuple[str, list[bytes]]] = []

    def handle(self, batch: Batch) -> BatchReport:
        self.batches.append((batch.shard_id, [record.data for record in batch.records]))
        if self.on_batch is not None:
            self.on_batch(batch)
        return BatchReport()

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint

    @property
    def data(self) -> list[bytes]:
        return [one for _, data in self.batches for one in data]


class Rig:
    """One engine on a stream in memory."""

    def __init__(self, handler: Any, shard_count: int = 1, start: Start = TRIM_HORIZON) -> None:
        self.handler, self.start = handler, start
        self.stream = MemoryStream("s", shard_count, lambda: NOW)
        self.checkpoints = MemoryCheckpoints()
        self.halt = threading.Event()
        self.batch_records_max = 2

    def put(self, *data: bytes, hash_at: int = 0) -> None:
        self.stream.publish([Message(one, "k", hash_at) for one in data])

    def engine(
        self, owner: str = "one", stream: Any = None, checkpoints: Any = None
    ) -> LocalEngine:
        clock = SystemClock(self.halt)
        ports = LocalPorts(
            stream or self.stream,
            checkpoints or self.checkpoints,
            clock,
            Backoff(clock, 0.001, 0.002, budget_s=0.02),
            self.halt,
        )
        options = LocalOptions(owner, self.batch_records_max, 0.001, self.start)
        return LocalEngine(self.handler, ports, options, lambda *_: None)

    def drain(self, **changes: Any) -> None:
        self.halt.clear()
        self.engine(**changes).run(lambda: True)

    def reached(self, shard_id: str = LOW) -> Checkpoint:
        return self.checkpoints.all("recorder")[shard_id]


def behind(sequence: int) -> Checkpoint:
    return Checkpoint(Start("AFTER_SEQUENCE_NUMBER", sequence))


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


class Faulty:
    """A port whose named method raises so many times before it works."""

    def __init__(self, port: Any, method: str, *faults: Exception) -> None:
        self._port, self._method, self._faults = port, method, list(faults)

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._faults:
            return self._fail
        return getattr(self._port, name)

    def _fail(self, *_: Any) -> None:
        raise self._faults.pop(0)


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
    rig.halt.clear()
    rig.engine(stream=stream).run(lambda: stream.looks > 40)
    assert rig.handler.data == [b"a"]


def test_a_stream_that_cannot_be_listed_at_the_start_is_given_up() -> None:
    rig = Rig(Recorder())
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


# ---------------------------------------------------------------------------------------- reshards
def test_a_parent_is_read_to_its_end_before_its_children() -> None:
    rig = Rig(Recorder())
    rig.put(*(b"parent" for _ in range(7)))
    rig.stream.split(LOW)
    rig.put(b"child", b"child")
    rig.put(b"child", hash_at=HASH_KEY_MAX)
    rig.drain()
    assert rig.handler.data == [b"parent"] * 7 + [b"child"] * 3


def test_both_parents_are_read_to_their_ends_before_their_child() -> None:
    def dawdle(batch: Batch) -> None:
        if batch.shard_id == LOW:
            threading.Event().wait(0.02)

    rig = Rig(Recorder(dawdle), 2)
    rig.put(*(b"parent" for _ in range(7)))
    rig.put(b"parent", hash_at=HASH_KEY_MAX)
    rig.stream.merge(LOW, HIGH)
    rig.put(b"child", b"child")
    rig.drain()
    assert rig.handler.data == [b"parent"] * 8 + [b"child"] * 2


def test_a_split_is_followed_while_the_engine_runs() -> None:
    def split(batch: Batch) -> None:
        if batch.records[-1].data == b"b":
            rig.stream.split(LOW)
            rig.put(b"c", b"d")

    rig = Rig(Recorder(split))
    rig.put(b"a", b"b")
    rig.drain()
    assert rig.handler.data == [b"a", b"b", b"c", b"d"]


def test_a_split_of_a_split_is_followed() -> None:
    rig = Rig(Recorder())
    rig.put(b"a")
    low, _ = rig.stream.split(LOW)
    rig.put(b"b")
    rig.stream.split(low.shard_id)
    rig.put(b"c")
    rig.drain()
    assert rig.handler.data == [b"a", b"b", b"c"]


def test_a_shard_that_ended_is_checkpointed_as_finished() -> None:
    rig = Rig(Recorder())
    rig.put(b"a")
    rig.stream.split(LOW)
    rig.drain()
    assert rig.reached() == behind(1)._replace(finished=True)


def test_a_shard_that_ended_is_not_read_by_the_next_engine() -> None:
    rig = Rig(Recorder())
    rig.put(b"a")
    rig.stream.split(LOW)
    rig.put(b"b")
    rig.drain(owner="one")
    rig.put(b"c")
    rig.drain(owner="two")
    assert rig.handler.data == [b"a", b"b", b"c"]


def test_a_child_whose_parent_the_stream_has_forgotten_is_read() -> None:
    class Forgetful:
        def shards(self) -> Sequence[Shard]:
            return [shard for shard in rig.stream.shards() if shard.shard_id != LOW]

        def __getattr__(self, name: str) -> Any:
            return getattr(rig.stream, name)

    rig = Rig(Recorder())
    rig.stream.split(LOW)
    rig.put(b"child")
    rig.drain(stream=Forgetful())
    assert rig.handler.data == [b"child"]


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


# ---------------------------------------------------------------------------------- preconditions
LATEST = Start("AT_TIMESTAMP", NOW)


class Site:
    """Tables that consumers with these or those settings start on, one after the other."""

    def __init__(self) -> None:
        self.ports = memory_ports(Settings(), 1, lambda: NOW)

    def start(
        self, consumer: Consumer = Consumer.INVENTORY, start: Start = TRIM_HORIZON, **settings: Any
    ) -> Any:
        return build_handler(consumer, Settings(**settings), self.ports, SystemClock(), start)


def test_the_cache_may_start_at_the_latest_record() -> None:
    assert Site().start(Consumer.CACHE, LATEST).name == "cache"


@pytest.mark.parametrize("consumer", [Consumer.INVENTORY, Consumer.ETL])
def test_no_other_consumer_may_start_at_the_latest_record(consumer: Consumer) -> None:
    with pytest.raises(RefusedToStart, match=f"{consumer} must start at TRIM_HORIZON"):
        Site().start(consumer, LATEST)


@pytest.mark.parametrize("consumer", list(Consumer))
def test_every_consumer_starts_at_the_oldest_record(consumer: Consumer) -> None:
    assert Site().start(consumer).name == str(consumer)


def test_a_start_that_was_refused_pins_nothing() -> None:
    site = Site()
    with pytest.raises(RefusedToStart):
        site.start(start=LATEST)
    assert site.ports.states.pinned is None


@pytest.mark.parametrize(
    "changed",
    [
        {"combo_window": timedelta(minutes=11)},
        {"return_window": timedelta(minutes=11)},
        {"allowed_lateness": timedelta(hours=2)},
        {"categories": frozenset({"pants", "jacket"})},
        {"sources": frozenset({"POS"})},
        {"combo_sources": frozenset({"POS", "batch"})},
        {"dedupe_scope": "location"},
        {"state_entries_max": 999},
        {"state_bytes_max": 5_000},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_other_rules_are_refused_and_replay_is_named(changed: dict[str, Any]) -> None:
    site = Site()
    site.start()
    with pytest.raises(RefusedToStart, match=r"other rules.*tillstream replay.*\(P2\)"):
        site.start(**changed)


def test_settings_that_are_no_rules_may_change() -> None:
    site = Site()
    site.start()
    assert site.start(outbox_effects_max=7, batch_records_max=9).name == "inventory"


def test_the_same_rules_said_in_other_words_are_the_same() -> None:
    site = Site()
    site.start()
    assert site.start(return_window=timedelta(minutes=10)).name == "inventory"


@pytest.mark.parametrize("changed", [{"prefix": "another"}, {"region": "eu-west-1"}])
def test_tables_of_another_application_are_refused(changed: dict[str, Any]) -> None:
    site = Site()
    site.start()
    with pytest.raises(RefusedToStart, match=r"belong to 'tillstream-pos-events.*\(P3\)"):
        site.start(**changed)


@pytest.mark.parametrize("days", [1, 37])
def test_claims_that_do_not_outlive_resends_are_refused(days: int) -> None:
    with pytest.raises(RefusedToStart, match=r"claims_ttl is .*37 days.*\(P4\)"):
        Site().start(claims_ttl=timedelta(days=days), resend_horizon=timedelta(days=30))


@pytest.mark.parametrize("ttl", [None, timedelta(days=37, seconds=1)])
def test_claims_that_outlive_resends_are_accepted(ttl: timedelta | None) -> None:
    assert Site().start(claims_ttl=ttl, resend_horizon=timedelta(days=30)).name == "inventory"
