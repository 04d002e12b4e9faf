"""The contracts of `ports.streams`, kept alike by Kinesis and by the one in memory.

No shard ever ends here: the emulator does not reshard. What a reader owes to splits and merges is
tested with the stream in memory, in `tests/engines`.
"""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, Ports, Stream
from pipeline.core.errors import SystemFault, TransientFault
from pipeline.core.positions import Position
from pipeline.core.records import HASH_KEY_MAX, Record, hash_key
from pipeline.ports.streams import TRIM_HORIZON, IteratorExpired, Message, Start
from tests.faults import Answer, answer_changed, answer_lost, asked, refused
from tests.stacks import SHARDS, fresh

SAME_IN_EVERY_WRITE_MODE = True

PAGE = 10_000
INSTANT_S = 1.05
"""Between records that a start must tell apart: LocalStack's Kinesis drops a second's fraction."""


@pytest.fixture
def stream(empty_ports: Ports) -> Stream:
    return empty_ports.events


def message(data: bytes, hash_at: int | None = 0) -> Message:
    return Message(data, "key", hash_at)


def placed(stream: Stream, *messages: Message) -> list[Position]:
    positions = [p for p in stream.publish(messages) if p is not None]
    assert len(positions) == len(messages)
    return positions


def read_all(
    stream: Stream, shard_id: str, start: Start = TRIM_HORIZON, limit: int = PAGE
) -> list[Record]:
    records: list[Record] = []
    cursor = stream.open(shard_id, start)
    while True:
        page = stream.read(shard_id, cursor, limit)
        records += page.records
        if not page.records and not page.behind_ms:
            return records
        assert page.cursor is not None and len(page.records) <= limit
        cursor = page.cursor


def everything(stream: Stream) -> dict[Position, bytes]:
    shards = [shard.shard_id for shard in stream.shards()]
    return {r.position: r.data for shard in shards for r in read_all(stream, shard)}


# ------------------------------------------------------------------------------------- shards
def test_the_shards_own_every_hash_key_between_them(stream: Stream) -> None:
    ranges = sorted(shard.hash_range for shard in stream.shards())
    edges = [(after.start, before.end + 1) for before, after in pairwise(ranges)]
    assert (len(ranges), ranges[0].start, ranges[-1].end) == (SHARDS, 0, HASH_KEY_MAX)
    assert all(start == wanted for start, wanted in edges)


def test_shards_of_a_new_stream_have_no_parents(stream: Stream) -> None:
    assert [shard.parents for shard in stream.shards()] == [()] * SHARDS


# -------------------------------------------------------------------------------------- publish
def test_positions_are_in_the_order_of_the_messages(stream: Stream) -> None:
    messages = [Message(b"%d" % n, f"key-{n}") for n in range(1_201)]
    positions = placed(stream, *messages)
    found = everything(stream)
    assert [found[position] for position in positions] == [m.data for m in messages]


def test_more_bytes_than_one_call_takes_are_published(stream: Stream) -> None:
    messages = [message(bytes([n]) * 900_000) for n in range(7)]
    positions = placed(stream, *messages)
    found = everything(stream)
    assert [found[position] for position in positions] == [m.data for m in messages]


def test_positions_name_the_stream(stream: Stream) -> None:
    (position,) = placed(stream, message(b"x"))
    (record,) = read_all(stream, position.shard_id)
    assert record.position == position


def test_nothing_is_published_of_nothing(stream: Stream) -> None:
    assert list(stream.publish([])) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\x00\xff\xfe",
        "🧥".encode(),
        b"\xf3\x89\x9a\xc2" + b"\x00" * 20,
        b"x" * (2**20 - 1),
    ],
    ids=["empty", "text", "no text", "emoji", "aggregate", "1 MiB"],
)
def test_the_bytes_come_back(stream: Stream, data: bytes) -> None:
    (position,) = placed(stream, Message(data, "k"))
    assert everything(stream) == {position: data}


@pytest.mark.parametrize("key", ["key", "🧥", "é" * 128, " ", "a/b#c"])
def test_the_partition_key_decides_the_shard(stream: Stream, key: str) -> None:
    (position,) = placed(stream, Message(b"x", key))
    (owner,) = (s for s in stream.shards() if s.hash_range.holds(hash_key(key)))
    assert position.shard_id == owner.shard_id


@pytest.mark.parametrize("wanted", [0, 2**126, 2**127, 2**127 + 5])
def test_an_explicit_hash_key_decides_instead(stream: Stream, wanted: int) -> None:
    (position,) = placed(stream, message(b"x", wanted))
    (owner,) = (s for s in stream.shards() if s.hash_range.holds(wanted))
    assert position.shard_id == owner.shard_id


def test_a_message_published_twice_is_there_twice(stream: Stream) -> None:
    one, two = placed(stream, message(b"x"), message(b"x"))
    assert everything(stream) == {one: b"x", two: b"x"}


# ----------------------------------------------------------------------------------------- read
def published(stream: Stream, count: int) -> Sequence[Record]:
    """Put records into one shard and read them back."""
    (first, *_) = (placed(stream, message(b"%d" % n))[0] for n in range(count))
    return read_all(stream, first.shard_id)


def test_positions_grow_within_a_shard(stream: Stream) -> None:
    orders = [record.position.order for record in published(stream, 12)]
    assert orders == sorted(set(orders))


def test_an_empty_shard_is_at_its_tip(stream: Stream) -> None:
    shard = stream.shards()[0].shard_id
    page = stream.read(shard, stream.open(shard, TRIM_HORIZON), 10)
    assert (list(page.records), page.behind_ms, page.cursor is None) == ([], 0, False)


@pytest.mark.parametrize("limit", [1, 3, 12, 100])
def test_cursors_go_on_where_the_page_ended(stream: Stream, limit: int) -> None:
    records = published(stream, 12)
    shard = records[0].position.shard_id
    assert read_all(stream, shard, limit=limit) == records


def test_a_cursor_may_be_read_twice(stream: Stream) -> None:
    records = published(stream, 5)
    shard = records[0].position.shard_id
    cursor = stream.open(shard, TRIM_HORIZON)
    pages = [list(stream.read(shard, cursor, 3).records) for _ in range(2)]
    assert pages == [records[:3], records[:3]]


def test_a_cursor_at_the_tip_sees_what_comes_later(stream: Stream) -> None:
    shard = published(stream, 2)[0].position.shard_id
    cursor = stream.read(shard, stream.open(shard, TRIM_HORIZON), 10).cursor
    (late,) = placed(stream, message(b"late"))
    assert cursor is not None
    assert [r.position for r in stream.read(shard, cursor, 10).records] == [late]


@pytest.mark.parametrize("index", [0, 8, 9, 11])
def test_reading_starts_behind_a_sequence_number(stream: Stream, index: int) -> None:
    records = published(stream, 12)
    place = records[index].position
    start = Start("AFTER_SEQUENCE_NUMBER", place.sequence)
    assert read_all(stream, place.shard_id, start) == records[index + 1 :]


def test_reading_starts_at_an_instant(stream: Stream) -> None:
    early = published(stream, 3)
    SystemClock().wait(INSTANT_S)
    (late,) = placed(stream, message(b"late"))
    arrival = read_all(stream, late.shard_id)[-1].arrival
    found = read_all(stream, late.shard_id, Start("AT_TIMESTAMP", arrival))
    assert (len(early), [record.position for record in found]) == (3, [late])


def test_records_know_when_they_arrived(stream: Stream) -> None:
    before = SystemClock().now()
    (record,) = published(stream, 1)
    assert before - 1_000 <= record.arrival <= SystemClock().now()  # a service counts milliseconds


# ------------------------------------------------------------------- what only a service can do
def test_an_instant_is_asked_for_to_the_millisecond(aws_ports: AwsPorts) -> None:
    shard_id = aws_ports.events.shards()[0].shard_id
    with asked(aws_ports.aws.kinesis, "GetShardIterator") as requests:
        aws_ports.events.open(shard_id, Start("AT_TIMESTAMP", 1_300_000_000_123_000))
    assert [request["Timestamp"] for request in requests] == [1_300_000_000.123]


@pytest.fixture
def quiet(aws_ports: AwsPorts) -> str:
    """Name the shard that `message` goes to."""
    return placed(aws_ports.events, message(b"first"))[0].shard_id


def test_the_messages_that_were_refused_alone_are_not_yet(aws_ports: AwsPorts) -> None:
    def refuse(answer: Answer) -> None:
        for place in (1, 4):
            code = "ProvisionedThroughputExceededException"
            answer["Records"][place] = {"ErrorCode": code, "ErrorMessage": "injected"}

    messages = [message(b"%d" % n) for n in range(6)]
    with answer_changed(aws_ports.aws.kinesis, "PutRecords", refuse):
        positions = aws_ports.events.publish(messages)
    assert [n for n, position in enumerate(positions) if position is None] == [1, 4]


def test_the_messages_that_were_taken_have_their_own_positions(aws_ports: AwsPorts) -> None:
    def refuse(answer: Answer) -> None:
        answer["Records"][0] = {"ErrorCode": "InternalFailure", "ErrorMessage": "injected"}

    data = [fresh("m").encode() for _ in range(4)]
    with answer_changed(aws_ports.aws.kinesis, "PutRecords", refuse):
        positions = aws_ports.events.publish([message(one) for one in data])
    found = everything(aws_ports.events)
    assert [found[p] for p in positions if p is not None] == data[1:]


def test_a_call_that_was_throttled_leaves_its_messages_alone_undone(aws_ports: AwsPorts) -> None:
    messages = [message(b"x") for _ in range(600)]
    with refused(aws_ports.aws.kinesis, "PutRecords", "ThrottlingException"):
        positions = list(aws_ports.events.publish(messages))
    assert positions.count(None) in (100, 500)


def test_messages_whose_answer_was_lost_are_not_yet(aws_ports: AwsPorts) -> None:
    with answer_lost(aws_ports.aws.kinesis, "PutRecords"):
        assert list(aws_ports.events.publish([message(b"x"), message(b"y")])) == [None, None]


def test_an_iterator_that_grew_too_old_says_so(aws_ports: AwsPorts, quiet: str) -> None:
    cursor = aws_ports.events.open(quiet, TRIM_HORIZON)
    expired = refused(aws_ports.aws.kinesis, "GetRecords", "ExpiredIteratorException")
    with expired, pytest.raises(IteratorExpired):
        aws_ports.events.read(quiet, cursor, 10)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ProvisionedThroughputExceededException", 400),
        ("KMSThrottlingException", 400),
        ("LimitExceededException", 400),
        ("InternalFailure", 500),
        ("AnythingAtAll", 503),
    ],
)
def test_a_throttled_read_is_a_transient_fault(
    aws_ports: AwsPorts, quiet: str, code: str, status: int
) -> None:
    cursor = aws_ports.events.open(quiet, TRIM_HORIZON)
    throttled = refused(aws_ports.aws.kinesis, "GetRecords", code, status)
    with throttled, pytest.raises(TransientFault) as caught:
        aws_ports.events.read(quiet, cursor, 10)
    assert not isinstance(caught.value, IteratorExpired)


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException"])
def test_a_read_that_no_waiting_mends_is_a_lasting_fault(
    aws_ports: AwsPorts, quiet: str, code: str
) -> None:
    cursor = aws_ports.events.open(quiet, TRIM_HORIZON)
    with refused(aws_ports.aws.kinesis, "GetRecords", code), pytest.raises(SystemFault) as caught:
        aws_ports.events.read(quiet, cursor, 10)
    assert not isinstance(caught.value, TransientFault)


def test_a_shard_that_is_not_there_is_a_lasting_fault(aws_ports: AwsPorts) -> None:
    with pytest.raises(SystemFault) as caught:
        aws_ports.events.open("shardId-000000000099", TRIM_HORIZON)
    assert not isinstance(caught.value, TransientFault)


def test_a_throttled_listing_is_a_transient_fault(aws_ports: AwsPorts) -> None:
    throttled = refused(aws_ports.aws.kinesis, "ListShards", "LimitExceededException")
    with throttled, pytest.raises(TransientFault):
        aws_ports.events.shards()
