"""The contract of `ports.quarantine`, kept alike by S3 and by the one in memory."""

import pytest

from pipeline.adapters.s3 import S3Quarantine
from pipeline.bootstrap import AwsPorts, Ports
from pipeline.core.errors import SystemFault, TransientFault
from pipeline.core.instants import parse_instant
from pipeline.core.positions import Position
from pipeline.core.reasons import Reason
from pipeline.core.records import Record
from pipeline.core.step import Refusal
from tests.faults import answer_lost, asked_with, refused
from tests.stacks import fresh

SAME_IN_EVERY_WRITE_MODE = True

NOON = parse_instant("2011-10-03T12:00:00.000001Z")
SEQUENCE_129_DIGITS = 10**129 - 1


def refusal(
    data: bytes = b"{", sequence: int = 12, sub: int = 0, shard_id: str | None = None
) -> Refusal:
    place = Position("s-pos-events", shard_id or fresh("shardId"), sequence, sub)
    return Refusal("rejected", Reason.BAD_TYPE, "location", Record(data, place, NOON))


def read_back(ports: Ports, *shards: str) -> list[Refusal]:
    found = (r for r in ports.quarantine.scan() if r.record.position.shard_id in shards)
    return sorted(found, key=lambda r: (r.record.position, r.kind))


def shard_of(kept: Refusal) -> str:
    return kept.record.position.shard_id


@pytest.mark.parametrize(
    "data",
    [b"", b"{", "🧥".encode(), bytes(range(256)), b"\r\n\r\n", b"\xff" * 2**20],
    ids=["empty", "text", "emoji", "every byte", "line ends", "1 MiB"],
)
def test_the_bytes_come_back(ports: Ports, data: bytes) -> None:
    kept = refusal(data)
    ports.quarantine.put([kept])
    assert read_back(ports, shard_of(kept)) == [kept]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_comes_back(ports: Ports, reason: Reason) -> None:
    kept = refusal()._replace(reason=reason)
    ports.quarantine.put([kept])
    assert read_back(ports, shard_of(kept)) == [kept]


def test_a_refusal_of_no_field_comes_back(ports: Ports) -> None:
    kept = refusal()._replace(field="")
    ports.quarantine.put([kept])
    assert read_back(ports, shard_of(kept)) == [kept]


def test_a_conflict_comes_back(ports: Ports) -> None:
    kept = refusal()._replace(kind="conflict", reason="conflict", field="")
    ports.quarantine.put([kept])
    assert read_back(ports, shard_of(kept)) == [kept]


def test_a_position_of_129_digits_comes_back(ports: Ports) -> None:
    kept = refusal(sequence=SEQUENCE_129_DIGITS, sub=41)
    ports.quarantine.put([kept])
    assert read_back(ports, shard_of(kept)) == [kept]


def test_a_redelivery_is_kept_once(ports: Ports) -> None:
    kept = refusal()
    ports.quarantine.put([kept])
    ports.quarantine.put([kept])
    assert read_back(ports, shard_of(kept)) == [kept]


def test_the_members_of_an_aggregate_are_kept_apart(ports: Ports) -> None:
    shard = fresh("shardId")
    kept = [refusal(b"%d" % sub, sub=sub, shard_id=shard) for sub in range(3)]
    ports.quarantine.put(kept)
    assert read_back(ports, shard) == kept


def test_a_rejection_and_a_conflict_at_one_place_are_kept_apart(ports: Ports) -> None:
    rejected = refusal()
    conflict = rejected._replace(kind="conflict", reason="conflict", field="")
    ports.quarantine.put([rejected, conflict])
    assert read_back(ports, shard_of(rejected)) == [conflict, rejected]


def test_nothing_is_left_to_do_when_all_is_kept(ports: Ports) -> None:
    assert not ports.quarantine.put([refusal() for _ in range(30)])


def test_nothing_is_left_to_do_of_nothing(ports: Ports) -> None:
    assert not ports.quarantine.put([])


def test_a_scan_of_nothing_is_empty(empty_ports: Ports) -> None:
    assert not list(empty_ports.quarantine.scan())


# ------------------------------------------------------------------- what only a service can do
def test_a_scan_reads_every_page(aws_ports: AwsPorts) -> None:
    shard = fresh("shardId")
    kept = [refusal(b"%d" % n, n, shard_id=shard) for n in range(7)]
    aws_ports.quarantine.put(kept)
    with asked_with(aws_ports.aws.s3, "ListObjectsV2", MaxKeys=3):
        assert read_back(aws_ports, shard) == kept


def test_refusals_that_were_slowed_down_come_back(aws_ports: AwsPorts) -> None:
    kept = [refusal() for _ in range(6)]
    with refused(aws_ports.aws.s3, "PutObject", "SlowDown", status=503, times=2):
        left = aws_ports.quarantine.put(kept)
    there = read_back(aws_ports, *map(shard_of, kept))
    assert [r for r in kept if r not in there] == left
    assert len(left) == 2


def test_a_refusal_whose_answer_was_lost_is_kept_once(aws_ports: AwsPorts) -> None:
    kept = refusal()
    with answer_lost(aws_ports.aws.s3, "PutObject"):
        left = aws_ports.quarantine.put([kept])
    aws_ports.quarantine.put(left)
    assert (left, read_back(aws_ports, shard_of(kept))) == ([kept], [kept])


def test_a_bucket_that_is_closed_to_us_is_a_lasting_fault(aws_ports: AwsPorts) -> None:
    closed = refused(aws_ports.aws.s3, "PutObject", "AccessDenied", status=403)
    with closed, pytest.raises(SystemFault, match="AccessDenied") as caught:
        aws_ports.quarantine.put([refusal()])
    assert not isinstance(caught.value, TransientFault)


def test_a_scan_passes_what_others_put_into_the_bucket(aws_ports: AwsPorts) -> None:
    kept, quarantine = refusal(), aws_ports.quarantine
    assert isinstance(quarantine, S3Quarantine)
    aws_ports.aws.s3.put_object(Bucket=quarantine.bucket, Key="aws/lambda/given-up", Body=b"{}")
    quarantine.put([kept])
    assert read_back(aws_ports, shard_of(kept)) == [kept]
