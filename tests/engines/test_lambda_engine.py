"""The Lambda engine over ports in memory: batches, what is answered, faults, time and metrics."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from pipeline.core.errors import (
    BudgetExhausted,
    FellBehind,
    LeaseLost,
    RefusedToStart,
    Stopping,
    SystemFault,
    TillstreamError,
    TransientFault,
)
from pipeline.core.positions import Position
from pipeline.core.records import Batch
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport
from tests.engines.lambda_rig import DONE, LambdaRig, event, from_record, record
from tests.engines.rig import HIGH, LOW, NOW, Faulty, Recorder

MENDED_BY_WAITING = [
    TransientFault("throttled"),
    BudgetExhausted("failed for 60 s"),
    Stopping("no time"),
    FellBehind("restored"),
]
NOT_MENDED = [
    SystemFault("no such table"),
    RefusedToStart("other rules"),
    LeaseLost("taken"),
    ValueError("a bug"),
]


def failing(on: bytes, *faults: Exception) -> Callable[[Batch], None]:
    """Raise these, one at a time, for a batch that holds this record."""
    left = list(faults)

    def fail(batch: Batch) -> None:
        if left and on in [one.data for one in batch.records]:
            raise left.pop(0)

    return fail


def data_of(rig: LambdaRig) -> list[list[bytes]]:
    return [data for _, data in rig.handler.batches]


# ------------------------------------------------------------------------------------- batches
def test_an_event_is_handled_in_order_in_batches_of_the_size_that_is_set() -> None:
    rig = LambdaRig(Recorder(), batch_records_max=2)
    assert rig.invoke(1, 2, 3, 4, 5) == DONE
    assert rig.handler.batches == [(LOW, [b"1", b"2"]), (LOW, [b"3", b"4"]), (LOW, [b"5"])]


def test_a_record_arrives_as_it_stood_in_the_stream() -> None:
    seen: list[Batch] = []
    LambdaRig(Recorder(seen.append)).invoke(7)
    (batch,) = seen
    assert batch.records[0] == (b"7", Position("s", LOW, 7), NOW)


def test_a_batch_knows_the_hash_keys_of_its_shard() -> None:
    seen: list[Batch] = []
    rig = LambdaRig(Recorder(seen.append), shard_count=2)
    rig.invoke(1, shard_id=HIGH)
    assert seen[0].hash_range == rig.stream.shards()[1].hash_range


def test_an_event_without_records_is_done() -> None:
    rig = LambdaRig(Recorder())
    assert (rig.call({"Records": []}), rig.starts) == (DONE, 0)


# --------------------------------------------------------------------------- events not taken
def test_an_event_that_is_not_a_streams_is_refused() -> None:
    with pytest.raises(RefusedToStart, match="not a Kinesis event"):
        LambdaRig(Recorder()).call({"detail-type": "Scheduled Event"})


def test_an_event_of_two_shards_is_refused() -> None:
    rig = LambdaRig(Recorder(), shard_count=2)
    with pytest.raises(RefusedToStart, match=rf"records of one shard of s.*{LOW}, {HIGH} \(P1\)"):
        rig.call({"Records": [record(1), record(2, HIGH)]})
    assert rig.handler.batches == []


def test_an_event_of_another_stream_is_refused() -> None:
    rig = LambdaRig(Recorder())
    with pytest.raises(RefusedToStart, match=r"one shard of s, this one is of t: "):
        rig.call(event(1, stream="t"))


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1), (9, 10, 8)])
def test_an_event_out_of_order_is_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(RefusedToStart, match="out of order"):
        LambdaRig(Recorder()).invoke(*numbers)


@pytest.mark.parametrize("event_id", [f"{LOW}:2", "1", f"{LOW}:", ""])
def test_an_event_id_that_says_something_else_is_refused(event_id: str) -> None:
    with pytest.raises(RefusedToStart):
        LambdaRig(Recorder()).call({"Records": [{**record(1), "eventID": event_id}]})


def test_an_event_of_a_consumer_with_fan_out_is_taken() -> None:
    arn = record(1)["eventSourceARN"] + "/consumer/inventory:1"
    rig = LambdaRig(Recorder())
    assert rig.call({"Records": [{**record(1), "eventSourceARN": arn}]}) == DONE


# -------------------------------------------------------------------------------------- shards
class CountedStream:
    """Count the calls of one method of a stream."""

    def __init__(self, stream: Any, method: str) -> None:
        self._stream, self._method, self.calls = stream, method, 0

    def __getattr__(self, name: str) -> Any:
        self.calls += name == self._method
        return getattr(self._stream, name)


def test_shards_are_listed_once_an_environment_and_again_for_a_new_one() -> None:
    rig = LambdaRig(Recorder())
    memory = rig.stream
    rig.stream = CountedStream(memory, "shards")
    rig.invoke(1)
    rig.invoke(2)
    before = rig.stream.calls
    memory.split(LOW)
    rig.invoke(1, shard_id=HIGH)
    assert (before, rig.stream.calls) == (1, 2)


def test_a_shard_that_the_stream_does_not_know_is_a_fault() -> None:
    with pytest.raises(SystemFault, match=f"s has no shard {HIGH}"):
        LambdaRig(Recorder()).invoke(1, shard_id=HIGH)


# -------------------------------------------------------------------------------------- faults
@pytest.mark.parametrize("fault", MENDED_BY_WAITING, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(("on", "first"), [(b"1", 1), (b"2", 1), (b"3", 3), (b"5", 5)])
def test_a_fault_that_waiting_mends_names_the_first_record_unfinished(
    fault: Exception, on: bytes, first: int
) -> None:
    rig = LambdaRig(Recorder(failing(on, fault)), batch_records_max=2)
    assert rig.invoke(1, 2, 3, 4, 5) == from_record(first)


@pytest.mark.parametrize("fault", NOT_MENDED, ids=lambda fault: type(fault).__name__)
def test_a_fault_that_no_waiting_mends_is_raised(fault: Exception) -> None:
    rig = LambdaRig(Recorder(failing(b"3", fault)))
    with pytest.raises(type(fault), match=str(fault)):
        rig.invoke(1, 2, 3, 4)


def test_nothing_is_handled_behind_a_batch_that_failed() -> None:
    rig = LambdaRig(Recorder(failing(b"1", TransientFault("throttled"))), batch_records_max=1)
    rig.invoke(1, 2, 3)
    assert data_of(rig) == [[b"1"]]


def test_batches_that_were_finished_are_not_offered_again() -> None:
    rig = LambdaRig(Recorder(failing(b"4", TransientFault("throttled"))), batch_records_max=2)
    rig.put(6)
    rig.mapping().drain()
    assert data_of(rig) == [[b"1", b"2"], [b"3", b"4"], [b"3", b"4"], [b"5", b"6"]]


# -------------------------------------------------------------------------------------- starts
def raising(*faults: TillstreamError) -> Callable[[], None]:
    left = list(faults)

    def start() -> None:
        if left:
            raise left.pop(0)

    return start


def test_an_environment_starts_at_its_first_event_and_once() -> None:
    rig = LambdaRig(Recorder())
    before = rig.starts
    rig.invoke(1)
    rig.invoke(2)
    assert (before, rig.starts) == (0, 1)


def test_a_start_that_is_refused_is_raised_and_handles_nothing() -> None:
    rig = LambdaRig(Recorder())
    rig.on_start = raising(RefusedToStart("other rules (P2)"), RefusedToStart("other rules (P2)"))
    for _ in range(2):
        with pytest.raises(RefusedToStart, match="P2"):
            rig.invoke(1)
    assert (rig.starts, rig.handler.batches) == (2, [])


def test_a_start_that_is_throttled_is_tried_again_with_the_batch() -> None:
    rig = LambdaRig(Recorder())
    rig.on_start = raising(BudgetExhausted("rules failed for 60 s"))
    assert [rig.invoke(1), rig.invoke(1)] == [from_record(1), DONE]


# ---------------------------------------------------------------------------------------- time
class Slow(Recorder):
    """A handler that takes its time, seconds a batch."""

    def __init__(self, rig_clock: Callable[[], Any], *seconds: float) -> None:
        super().__init__(self._take)
        self._clock, self._seconds = rig_clock, list(seconds)

    def _take(self, _: Batch) -> None:
        self._clock().seconds += self._seconds.pop(0)


def slow_rig(*seconds: float, **options: Any) -> LambdaRig:
    rigs: list[LambdaRig] = []
    rigs.append(LambdaRig(Slow(lambda: rigs[0].clock, *seconds), **options))
    return rigs[0]


def test_no_batch_begins_that_would_outlast_the_invocation() -> None:
    rig = slow_rig(20, 20, 20, batch_records_max=1)
    assert rig.invoke(1, 2, 3, ms=60_000) == from_record(3)  # 11 s are reserved: 49 for batches
    assert data_of(rig) == [[b"1"], [b"2"]]


def test_batches_that_fit_are_all_handled() -> None:
    rig = slow_rig(20, 20, 20, batch_records_max=1)
    assert rig.invoke(1, 2, 3, ms=72_000) == DONE


def test_the_next_invocation_has_its_own_time() -> None:
    rig = slow_rig(40, 40, batch_records_max=1)
    assert [rig.invoke(1, 2), rig.invoke(2)] == [from_record(2), DONE]


def test_a_time_out_that_leaves_nothing_to_work_with_is_refused() -> None:
    rig = LambdaRig(Recorder(), reserve_s=11.0)
    with pytest.raises(RefusedToStart, match=r"leaves 11 s, and 11 s are kept .* raise the time"):
        rig.invoke(1, ms=11_000)
    assert rig.invoke(1, ms=11_001) == DONE


def test_a_pause_that_would_outlast_the_invocation_ends_it() -> None:
    class Throttled(Recorder):
        backoff: Backoff

        def handle(self, batch: Batch) -> BatchReport:
            self.backoff.call("write", Faulty(None, "go", *[TransientFault("slow")] * 99).go)
            raise AssertionError("the budget had no end")

    rig = LambdaRig(Throttled())
    rig.handler.backoff = Backoff(rig.engine._clock, 1.0, 1.0, budget_s=300.0)
    assert rig.invoke(1, ms=31_000) == from_record(1)
    assert rig.clock.seconds == pytest.approx(20, abs=1)  # 31 s less the 11 that are reserved


# ------------------------------------------------------------------------------------- metrics
class Counting(Recorder):
    """A handler that reports what it read, and one name that stays at zero."""

    def handle(self, batch: Batch) -> BatchReport:
        super().handle(batch)
        return BatchReport(Counter(read=len(batch.records), conflict=0))


def emitted(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (line,) = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_counts_are_metrics_with_the_consumer_as_dimension(
    capsys: pytest.CaptureFixture[str],
) -> None:
    LambdaRig(Counting(), batch_records_max=2).invoke(1, 2, 3)
    said = emitted(capsys)
    (metrics,) = said["_aws"]["CloudWatchMetrics"]
    assert (metrics["Namespace"], metrics["Dimensions"]) == ("spaces", [["consumer"]])
    assert {m["Name"]: m["Unit"] for m in metrics["Metrics"]} == dict.fromkeys(
        ("read", "conflict", "unfinished"), "Count"
    )
    found = {name: said[name] for name in ("consumer", "read", "conflict", "unfinished")}
    assert found == {"consumer": "inventory", "read": [3.0], "conflict": [0.0], "unfinished": [0.0]}


@pytest.mark.parametrize("fault", [TransientFault("throttled"), SystemFault("no such table")])
def test_metrics_tell_what_was_done_and_what_comes_again(
    capsys: pytest.CaptureFixture[str], fault: Exception
) -> None:
    rig = LambdaRig(Counting(failing(b"3", fault)), batch_records_max=2)
    with suppress(SystemFault):
        rig.invoke(1, 2, 3, 4, 5)
    said = emitted(capsys)
    assert (said["read"], said["unfinished"]) == ([2.0], [3.0])


def test_each_invocation_counts_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    rig = LambdaRig(Counting())
    rig.invoke(1, 2)
    rig.invoke(3)
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["read"] for line in lines] == [[2.0], [1.0]]


def test_a_batch_that_comes_again_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    LambdaRig(Recorder(failing(b"3", TransientFault("throttled")))).invoke(1, 2, 3, 4)
    assert "inventory: throttled; 2 of 4 records come again" in caplog.messages
