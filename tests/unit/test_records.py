"""Records: aggregates are opened exactly as the client library opens them, or refused whole."""

from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.positions import Position, parse_position
from pipeline.core.records import (
    HASH_KEY_MAX,
    KPL_MAGIC,
    BadAggregate,
    HashRange,
    Record,
    UserRecord,
    deaggregate,
    hash_key,
    read_aggregate,
    write_aggregate,
)
from tests import reference_events as reference

PLACE = Position("pos-events", "shardId-000000000000", 7)
EVERY = HashRange()
BAD_BODIES = {
    "not a message": b"\xff\xff\xff",
    "cut off in a varint": b"\x08\x80",
    "length beyond the end": b"\x1a\x7f\x08\x00",
    "field number 0": b"\x02\x00",
    "index out of range": b"\x0a\x01a\x1a\x05\x08\x01\x1a\x01x",
    "index of 2^40": b"\x0a\x01a\x1a\x0a\x08\x80\x80\x80\x80\x80\x20\x1a\x01x",
    "index of 2^63": b"\x0a\x01a\x1a\x0e\x08" + b"\x80" * 9 + b"\x01\x1a\x01x",
    "index of 2^64 - 1": b"\x0a\x01a\x1a\x0e\x08" + b"\xff" * 9 + b"\x01\x1a\x01x",
    "no partition keys": b"\x1a\x05\x08\x00\x1a\x01x",
    "hash key index out of range": b"\x0a\x01a\x1a\x07\x08\x00\x10\x00\x1a\x01x",
    "hash key that is no number": b"\x0a\x01a\x12\x02-1\x1a\x07\x08\x00\x10\x00\x1a\x01x",
    "empty hash key": b"\x0a\x01a\x12\x00\x1a\x07\x08\x00\x10\x00\x1a\x01x",
    "hash key of 5,000 digits": b"\x0a\x01a\x12\x88\x27"
    + b"9" * 5_000
    + b"\x1a\x07\x08\0\x10\0\x1a\x01x",
    "member without data": b"\x0a\x01a\x1a\x02\x08\x00",
    "member without a partition key": b"\x0a\x01a\x1a\x03\x1a\x01x",
    "good member before a bad one": b"\x0a\x01a\x1a\x05\x08\0\x1a\x01x\x1a\x05\x08\x01\x1a\x01x",
}


def sealed(body: bytes) -> bytes:
    """Put the magic before a body and the right checksum behind it."""
    return KPL_MAGIC + body + md5(body, usedforsecurity=False).digest()


def opened(data: bytes, owned: HashRange = EVERY) -> list[bytes] | None:
    """De-aggregate and keep the bytes."""
    records = deaggregate(Record(data, PLACE, 5), owned)
    return None if records is None else [record.data for record in records]


members = st.lists(
    st.builds(
        UserRecord,
        st.text(max_size=4),
        st.binary(max_size=8),
        st.none() | st.integers(0, HASH_KEY_MAX),
    ),
    max_size=6,
)


@given(members)
def test_aggregate_gives_back_what_was_put_in(written: list[UserRecord]) -> None:
    assert read_aggregate(write_aggregate(written)) == written


@given(members, st.integers(0, HASH_KEY_MAX), st.integers(0, HASH_KEY_MAX))
def test_opening_agrees_with_a_decoder_written_by_hand(
    written: list[UserRecord], one: int, other: int
) -> None:
    data, owned = write_aggregate(written), HashRange(min(one, other), max(one, other))
    assert opened(data, owned) == reference.open_aggregate(data, owned)


@given(st.binary(max_size=60))
def test_no_sealed_bytes_raise_anything_but_bad_aggregate(body: bytes) -> None:
    try:
        opened(sealed(body))
    except BadAggregate:
        return


@given(st.binary(max_size=60).filter(lambda data: not data.startswith(KPL_MAGIC)))
def test_record_without_the_magic_is_left_alone(data: bytes) -> None:
    record = Record(data, PLACE, 5)
    assert deaggregate(record, EVERY) == [record]


def test_members_keep_the_sequence_number_and_count_below_it() -> None:
    data = write_aggregate([UserRecord("a", b"1"), UserRecord("b", b"2")])
    found = deaggregate(Record(data, PLACE, 5), EVERY) or []
    assert [record.position.order for record in found] == [(7, 0), (7, 1)]


def test_members_keep_the_arrival_of_the_whole() -> None:
    found = deaggregate(Record(write_aggregate([UserRecord("a", b"1")]), PLACE, 5), EVERY) or []
    assert [record.arrival for record in found] == [5]


@pytest.mark.parametrize("size", [4, 5, 19])
def test_magic_without_room_for_a_checksum_is_bad(size: int) -> None:
    with pytest.raises(BadAggregate):
        opened((KPL_MAGIC + b"\0" * 16)[:size])


def test_broken_checksum_is_bad() -> None:
    data = write_aggregate([UserRecord("a", b"1")])
    with pytest.raises(BadAggregate):
        opened(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("fault", BAD_BODIES)
def test_broken_body_under_a_right_checksum_is_bad(fault: str) -> None:
    with pytest.raises(BadAggregate):
        opened(sealed(BAD_BODIES[fault]))


def test_three_bytes_of_the_magic_are_no_aggregate() -> None:
    assert opened(KPL_MAGIC[:3]) == [KPL_MAGIC[:3]]


def test_empty_aggregate_holds_no_records() -> None:
    assert opened(write_aggregate([])) == []


def test_leading_zeros_of_a_hash_key_count_for_nothing_however_many() -> None:
    keys = b"\x0a\x01a\x12\x89\x27" + b"0" * 5_000 + b"7"
    data = sealed(keys + b"\x1a\x07\x08\x00\x10\x00\x1a\x01x")
    assert opened(data, HashRange(7, 7)) == [b"x"]


def test_aggregate_inside_an_aggregate_stays_closed() -> None:
    inner = write_aggregate([UserRecord("a", b"1")])
    assert opened(write_aggregate([UserRecord("a", inner)])) == [inner]


def test_member_that_somebody_else_has_opened_is_not_opened_again() -> None:
    member = Record(write_aggregate([UserRecord("a", b"1")]), PLACE._replace(sub=1), 5)
    assert deaggregate(member, EVERY) == [member]


def test_unknown_fields_of_an_aggregate_are_skipped() -> None:
    assert opened(sealed(b"\x0a\x01a\x20\x01\x1a\x08\x08\x00\x1a\x01x\x22\x01t")) == [b"x"]


def test_last_of_a_repeated_member_field_counts() -> None:
    assert opened(sealed(b"\x0a\x01a\x1a\x08\x08\x00\x1a\x01x\x1a\x01y")) == [b"y"]


# ------------------------------------------------------------------------------- hash ranges
def test_hash_key_is_the_md5_of_the_partition_key() -> None:
    assert hash_key("a") == 0x0CC175B9C0F1B6A831C399E269772661


def test_explicit_hash_key_goes_before_the_partition_key() -> None:
    assert UserRecord("a", b"", 0).hash_key == 0


@pytest.mark.parametrize(("low", "high"), [(5, 5), (0, 5), (5, HASH_KEY_MAX)])
def test_both_ends_of_a_range_belong_to_it(low: int, high: int) -> None:
    assert opened(write_aggregate([UserRecord("a", b"1", 5)]), HashRange(low, high)) == [b"1"]


@pytest.mark.parametrize(("low", "high"), [(0, 4), (6, HASH_KEY_MAX)])
def test_hash_key_beside_the_range_is_outside(low: int, high: int) -> None:
    assert opened(write_aggregate([UserRecord("a", b"1", 5)]), HashRange(low, high)) is None


@pytest.mark.parametrize("outside", [0, 1, 2])
def test_one_member_outside_the_range_drops_the_whole_aggregate(outside: int) -> None:
    written = [UserRecord("a", b"1", 9 if n == outside else 5) for n in range(3)]
    assert opened(write_aggregate(written), HashRange(0, 8)) is None


def test_plain_record_is_never_dropped_for_its_range() -> None:
    assert opened(b"{}", HashRange(1, 1)) == [b"{}"]


# ------------------------------------------------------------------------------- positions
@given(
    st.text("abc.-_", min_size=1),
    st.text("sh-0", min_size=1),
    st.integers(0, 10**129),
    st.integers(0),
)
def test_position_is_read_back_from_its_text(
    stream: str, shard_id: str, sequence: int, sub: int
) -> None:
    position = Position(stream, shard_id, sequence, sub)
    assert parse_position(position.text()) == position


def test_order_is_that_of_integers_not_of_text() -> None:
    assert Position("s", "0", 9, 0).order < Position("s", "0", 10, 0).order


def test_sub_sequence_orders_members_of_one_aggregate() -> None:
    assert Position("s", "0", 9, 9).order < Position("s", "0", 9, 10).order < (10, 0)
