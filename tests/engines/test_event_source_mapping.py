"""The emulator of the event source mapping: each rule that a function depends on."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.adapters.memory import MemoryStream
from pipeline.core.records import HASH_KEY_MAX
from pipeline.ports.streams import Message
from tests.clocks import VirtualClock
from tests.event_source_mapping import (
    Blocked,
    EventSourceMapping,
    MappingOptions,
    Outside,
    first_failure,
)
from tests.memory_kinesis import MemoryKinesis

LOW, HIGH = "shardId-000000000000", "shardId-000000000001"
SUCCESS: dict[str, Any] = {"batchItemFailures": []}


class Bucket:
    """An S3 client that keeps what is put."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:
        self.objects[f"{Bucket}/{Key}"] = json.loads(Body)


def data_of(event: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(record["kinesis"]["data"]) for record in event["Records"]]


def failing_at(number: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": str(number)}]}


class Fed:
    """A mapping from a stream in memory to a function that answers as it is told."""

    def __init__(
        self, answer: Callable[[dict[str, Any]], Any] | None = None, shards: int = 1, **options: Any
    ) -> None:
        self.clock, self.bucket = VirtualClock(), Bucket()
        self.stream = MemoryStream("s", shards, self.clock.now)
        self.answer = answer or (lambda _: SUCCESS)
        self.mapping = EventSourceMapping(
            MemoryKinesis(self.stream),
            "s",
            lambda event, _: self.answer(event),
            MappingOptions(**options),
            Outside(self.clock, self.bucket),
        )

    def put(self, *data: bytes, hash_at: int = 0) -> None:
        self.stream.publish([Message(one, "k", hash_at) for one in data])

    @property
    def batches(self) -> list[list[bytes]]:
        return [data_of(event) for event in self.mapping.events]


def once(answer: Any) -> Callable[[dict[str, Any]], Any]:
    """Give this answer to the first event, or raise it; success to all others."""
    answers = [answer]

    def reply(_: dict[str, Any]) -> Any:
        if not answers:
            return SUCCESS
        if isinstance(first := answers.pop(), Exception):
            raise first
        return first

    return reply


# ---------------------------------------------------------------------------------- the event
def test_an_event_looks_like_the_real_one() -> None:
    fed = Fed()
    fed.clock.seconds = 1_545_084_650.987
    fed.put(b"Hello, this is a test.")
    fed.mapping.drain()
    assert fed.mapping.events[0]["Records"] == [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "key",
                "sequenceNumber": "1",
                "data": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
                "approximateArrivalTimestamp": 1545084650.987,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{LOW}:1",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/function",
            "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
        }
    ]


# ------------------------------------------------------------------------------ order and size
def test_batches_are_cut_by_count() -> None:
    fed = Fed(batch_size=2)
    fed.put(b"1", b"2", b"3", b"4", b"5")
    fed.mapping.drain()
    assert fed.batches == [[b"1", b"2"], [b"3", b"4"], [b"5"]]


def test_batches_are_cut_before_their_payload_is_too_large() -> None:
    fed = Fed(payload_bytes_max=3_000)
    fed.put(*(bytes(900) for _ in range(5)))
    fed.mapping.drain()
    sizes = [len(json.dumps(event)) for event in fed.mapping.events]
    assert ([len(b) for b in fed.batches], max(sizes) <= 3_000) == ([1] * 5, True)
    assert sizes[0] * 2 > 3_000 > 2 * 900  # base64 is what makes the difference


def test_a_record_that_is_too_large_alone_is_offered_alone() -> None:
    fed = Fed(payload_bytes_max=100)
    fed.put(b"x" * 200, b"y")
    fed.mapping.drain()
    assert fed.batches == [[b"x" * 200], [b"y"]]


def test_a_batch_is_one_shards() -> None:
    fed = Fed(shards=2)
    fed.put(b"low")
    fed.put(b"high", hash_at=HASH_KEY_MAX)
    fed.mapping.drain()
    assert fed.batches == [[b"low"], [b"high"]]


def test_children_begin_once_all_their_parents_are_read_to_the_end() -> None:
    fed = Fed(shards=2, batch_size=1)
    fed.put(b"1", b"2", b"3")
    fed.put(b"4", hash_at=HASH_KEY_MAX)
    fed.stream.merge(LOW, HIGH)
    fed.put(b"child")
    fed.mapping.drain()
    assert [one for batch in fed.batches for one in batch] == [b"1", b"4", b"2", b"3", b"child"]


def test_what_came_before_a_shard_closed_is_read_before_its_children() -> None:
    fed = Fed()
    fed.put(b"1")
    fed.mapping.drain()
    fed.put(b"2")
    fed.stream.split(LOW)
    fed.put(b"child")
    fed.mapping.drain()
    assert fed.batches == [[b"1"], [b"2"], [b"child"]]


def test_a_failing_shard_does_not_hold_up_another() -> None:
    def refuse_low(event: dict[str, Any]) -> Any:
        return failing_at(1) if event["Records"][0]["eventID"].startswith(LOW) else SUCCESS

    fed = Fed(refuse_low, shards=2, batch_size=1)
    fed.put(b"stuck")
    fed.put(b"a", b"b", hash_at=HASH_KEY_MAX)
    with pytest.raises(Blocked):
        fed.mapping.drain(polls_max=5)
    assert [batch for batch in fed.batches if batch != [b"stuck"]] == [[b"a"], [b"b"]]


# ------------------------------------------------------------------------------------ answers
@pytest.mark.parametrize("answer", [SUCCESS, None, {}, {"batchItemFailures": None}])
def test_an_answer_without_failures_is_success(answer: Any) -> None:
    fed = Fed(lambda _: answer)
    fed.put(b"1", b"2")
    fed.mapping.drain()
    assert fed.batches == [[b"1", b"2"]]


def test_the_next_batch_begins_at_the_lowest_number_named() -> None:
    named = [{"itemIdentifier": str(n)} for n in (12, 9, 10)]
    fed = Fed(once({"batchItemFailures": named}))
    fed.put(*(b"%d" % n for n in range(1, 13)))
    fed.mapping.drain()
    assert fed.batches[1] == [b"9", b"10", b"11", b"12"]


@pytest.mark.parametrize(
    "answer",
    [
        failing_at(99),
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"id": "2"}]},
        {"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": "99"}]},
        {"failures": []},
        "fine",
        ValueError("the function failed"),
        {"not": {"json"}},
    ],
    ids=str,
)
def test_a_broken_answer_or_a_raise_fails_the_whole_batch(answer: Any) -> None:
    fed = Fed(once(answer))
    fed.put(b"1", b"2")
    fed.mapping.drain()
    assert fed.batches == [[b"1", b"2"], [b"1", b"2"]]


def test_without_partial_responses_only_a_raise_fails() -> None:
    fed = Fed(once(failing_at(2)), report_batch_item_failures=False)
    fed.put(b"1", b"2")
    fed.mapping.drain()
    assert fed.batches == [[b"1", b"2"]]


def test_identifiers_are_text_and_the_lowest_is_by_place() -> None:
    answer = {"batchItemFailures": [{"itemIdentifier": n} for n in ("10", "9")]}
    assert first_failure(answer, ["8", "9", "10"]) == 1


# ------------------------------------------------------------------------------------ failures
def refuse(poison: bytes) -> Callable[[dict[str, Any]], Any]:
    def reply(event: dict[str, Any]) -> Any:
        if poison in data_of(event):
            raise ValueError("poison")
        return SUCCESS

    return reply


def test_retries_are_without_limit_by_default() -> None:
    fed = Fed(refuse(b"1"))
    fed.put(b"1")
    with pytest.raises(Blocked):
        fed.mapping.drain(polls_max=500)
    assert len(fed.batches) == 500


def test_a_batch_is_given_up_after_its_retries() -> None:
    fed = Fed(refuse(b"2"), batch_size=2, maximum_retry_attempts=2)
    fed.put(b"1", b"2", b"3")
    fed.mapping.drain()
    assert fed.batches == [[b"1", b"2"]] * 3 + [[b"3"]]


def test_halving_finds_the_bad_record_and_uses_up_no_retry() -> None:
    fed = Fed(refuse(b"3"), bisect_batch_on_function_error=True, maximum_retry_attempts=1)
    fed.put(b"1", b"2", b"3", b"4")
    fed.mapping.drain()
    assert fed.batches == [
        [b"1", b"2", b"3", b"4"],
        [b"1", b"2"],
        [b"3", b"4"],
        [b"3"],
        [b"3"],
        [b"4"],
    ]


def test_progress_begins_a_new_count_of_retries() -> None:
    answers = [failing_at(1), failing_at(2), failing_at(2), SUCCESS]
    fed = Fed(lambda _: answers.pop(0), maximum_retry_attempts=1)
    fed.put(b"1", b"2")
    fed.mapping.drain()
    assert fed.batches == [[b"1", b"2"], [b"1", b"2"], [b"2"], [b"2"]]


def test_records_that_are_too_old_are_given_up() -> None:
    fed = Fed(maximum_record_age_s=60)
    fed.put(b"old")
    fed.clock.seconds = 61.0
    fed.put(b"new")
    fed.mapping.drain()
    assert fed.batches == [[b"new"]]


def test_what_is_given_up_goes_to_the_destination_whole() -> None:
    fed = Fed(refuse(b"2"), maximum_retry_attempts=1, on_failure_bucket="failed")
    fed.put(b"1", b"2")
    fed.mapping.drain()
    (written,) = fed.bucket.objects.values()
    said = written["requestContext"]["condition"], written["KinesisBatchInfo"]["batchSize"]
    assert said == ("RetryAttemptsExhausted", 2)
    assert data_of(json.loads(written["payload"])) == [b"1", b"2"]


def test_what_is_too_old_goes_to_the_destination_too() -> None:
    fed = Fed(maximum_record_age_s=60, on_failure_bucket="failed")
    fed.put(b"old")
    fed.clock.seconds = 61.0
    fed.mapping.drain()
    (written,) = fed.bucket.objects.values()
    assert written["requestContext"]["condition"] == "RecordAgeExceeded"


def test_without_a_destination_it_is_gone() -> None:
    fed = Fed(refuse(b"1"), maximum_retry_attempts=0)
    fed.put(b"1")
    fed.mapping.drain()
    assert fed.bucket.objects == {}
