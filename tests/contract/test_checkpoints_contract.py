"""The contract of `ports.checkpoints`, kept alike by DynamoDB and by the one in memory."""

import pytest

from pipeline.bootstrap import AwsPorts, Ports
from pipeline.core.errors import LeaseLost, TransientFault
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, Start
from tests.faults import answer_lost, asked_with, refused
from tests.stacks import fresh

SAME_IN_EVERY_WRITE_MODE = True

SHARD = "shardId-000000000001"
SEQUENCE_129_DIGITS = 10**129 - 1


def behind(sequence: int, *, finished: bool = False) -> Checkpoint:
    return Checkpoint(Start("AFTER_SEQUENCE_NUMBER", sequence), finished)


@pytest.fixture
def consumer(ports: Ports) -> str:
    """Name a consumer whose shard `one` has taken."""
    name = fresh("consumer")
    ports.checkpoints.take(name, SHARD, "one", TRIM_HORIZON)
    return name


def stands(ports: Ports, consumer: str) -> Checkpoint:
    return ports.checkpoints.all(consumer)[SHARD]


@pytest.mark.parametrize("start", [TRIM_HORIZON, Start("AT_TIMESTAMP", 1_300_000_000_123_456)])
def test_a_shard_never_seen_starts_where_asked(ports: Ports, start: Start) -> None:
    assert ports.checkpoints.take(fresh("c"), SHARD, "one", start) == Checkpoint(start)


def test_the_first_start_is_stored_before_a_record_is_read(ports: Ports, consumer: str) -> None:
    assert stands(ports, consumer) == Checkpoint(TRIM_HORIZON)


def test_the_first_start_is_kept(ports: Ports, consumer: str) -> None:
    taken = ports.checkpoints.take(consumer, SHARD, "two", Start("AT_TIMESTAMP", 5))
    assert taken == Checkpoint(TRIM_HORIZON)


@pytest.mark.parametrize("to", [behind(7), behind(SEQUENCE_129_DIGITS), behind(7, finished=True)])
def test_the_next_owner_goes_on_where_the_last_one_was(
    ports: Ports, consumer: str, to: Checkpoint
) -> None:
    ports.checkpoints.advance(consumer, SHARD, "one", to)
    assert ports.checkpoints.take(consumer, SHARD, "two", TRIM_HORIZON) == to


def test_an_owner_that_takes_its_shard_again_goes_on(ports: Ports, consumer: str) -> None:
    ports.checkpoints.advance(consumer, SHARD, "one", behind(7))
    assert ports.checkpoints.take(consumer, SHARD, "one", TRIM_HORIZON) == behind(7)


def test_an_owner_that_lost_its_shard_is_told(ports: Ports, consumer: str) -> None:
    ports.checkpoints.take(consumer, SHARD, "two", TRIM_HORIZON)
    with pytest.raises(LeaseLost):
        ports.checkpoints.advance(consumer, SHARD, "one", behind(7))


def test_an_owner_that_lost_its_shard_moves_nothing(ports: Ports, consumer: str) -> None:
    ports.checkpoints.take(consumer, SHARD, "two", TRIM_HORIZON)
    with pytest.raises(LeaseLost):
        ports.checkpoints.advance(consumer, SHARD, "one", behind(7))
    assert stands(ports, consumer) == Checkpoint(TRIM_HORIZON)


def test_an_owner_that_lost_its_shard_is_told_on_a_step_back_too(
    ports: Ports, consumer: str
) -> None:
    ports.checkpoints.advance(consumer, SHARD, "one", behind(7))
    ports.checkpoints.take(consumer, SHARD, "two", TRIM_HORIZON)
    with pytest.raises(LeaseLost):
        ports.checkpoints.advance(consumer, SHARD, "one", behind(5))


def test_an_owner_that_took_its_shard_back_may_move_it(ports: Ports, consumer: str) -> None:
    ports.checkpoints.take(consumer, SHARD, "two", TRIM_HORIZON)
    ports.checkpoints.take(consumer, SHARD, "one", TRIM_HORIZON)
    ports.checkpoints.advance(consumer, SHARD, "one", behind(7))
    assert stands(ports, consumer) == behind(7)


def test_a_shard_that_nobody_took_cannot_be_moved(ports: Ports) -> None:
    with pytest.raises(LeaseLost):
        ports.checkpoints.advance(fresh("c"), SHARD, "one", behind(7))


def test_a_checkpoint_moves_on_as_numbers_do(ports: Ports, consumer: str) -> None:
    for sequence in (9, 10, 100):
        ports.checkpoints.advance(consumer, SHARD, "one", behind(sequence))
    assert stands(ports, consumer) == behind(100)


@pytest.mark.parametrize(
    ("far", "back"),
    [
        (behind(10), behind(9)),
        (behind(10), Checkpoint(TRIM_HORIZON)),
        (behind(10, finished=True), behind(10)),
        (behind(10, finished=True), behind(11)),
    ],
)
def test_a_checkpoint_never_moves_back(
    ports: Ports, consumer: str, far: Checkpoint, back: Checkpoint
) -> None:
    ports.checkpoints.advance(consumer, SHARD, "one", far)
    ports.checkpoints.advance(consumer, SHARD, "one", back)
    assert stands(ports, consumer) == far


def test_the_next_owner_does_not_move_a_checkpoint_back_either(ports: Ports, consumer: str) -> None:
    ports.checkpoints.advance(consumer, SHARD, "one", behind(10))
    ports.checkpoints.take(consumer, SHARD, "two", TRIM_HORIZON)
    ports.checkpoints.advance(consumer, SHARD, "two", behind(9))
    assert stands(ports, consumer) == behind(10)


def test_a_shard_that_held_nothing_can_be_finished(ports: Ports, consumer: str) -> None:
    ports.checkpoints.advance(consumer, SHARD, "one", Checkpoint(TRIM_HORIZON, finished=True))
    assert stands(ports, consumer) == Checkpoint(TRIM_HORIZON, finished=True)


def test_every_shard_of_a_consumer_is_listed(ports: Ports) -> None:
    name, shards = fresh("c"), [f"shardId-{n:012d}" for n in range(30)]
    for sequence, shard in enumerate(shards):
        ports.checkpoints.take(name, shard, "one", TRIM_HORIZON)
        ports.checkpoints.advance(name, shard, "one", behind(sequence))
    assert ports.checkpoints.all(name) == {shard: behind(n) for n, shard in enumerate(shards)}


def test_a_consumer_never_run_has_no_checkpoints(ports: Ports) -> None:
    assert ports.checkpoints.all(fresh("c")) == {}


def test_consumers_keep_apart(ports: Ports, consumer: str) -> None:
    ports.checkpoints.advance(consumer, SHARD, "one", behind(7))
    taken = ports.checkpoints.take(fresh("another"), SHARD, "one", TRIM_HORIZON)
    assert taken == Checkpoint(TRIM_HORIZON)


# ------------------------------------------------------------------- what only a service can do
def test_an_advance_whose_answer_was_lost_may_be_made_again(aws_ports: AwsPorts) -> None:
    name, store = fresh("c"), aws_ports.checkpoints
    store.take(name, SHARD, "one", TRIM_HORIZON)
    with answer_lost(aws_ports.aws.dynamodb, "UpdateItem"), pytest.raises(TransientFault):
        store.advance(name, SHARD, "one", behind(7))
    store.advance(name, SHARD, "one", behind(7))
    assert stands(aws_ports, name) == behind(7)


def test_a_take_whose_answer_was_lost_keeps_the_start(aws_ports: AwsPorts) -> None:
    name, store = fresh("c"), aws_ports.checkpoints
    with answer_lost(aws_ports.aws.dynamodb, "UpdateItem"), pytest.raises(TransientFault):
        store.take(name, SHARD, "one", TRIM_HORIZON)
    assert store.take(name, SHARD, "one", Start("AT_TIMESTAMP", 5)) == Checkpoint(TRIM_HORIZON)


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError"])
def test_a_throttled_advance_is_a_transient_fault(aws_ports: AwsPorts, code: str) -> None:
    name, store = fresh("c"), aws_ports.checkpoints
    store.take(name, SHARD, "one", TRIM_HORIZON)
    with refused(aws_ports.aws.dynamodb, "UpdateItem", code), pytest.raises(TransientFault):
        store.advance(name, SHARD, "one", behind(7))


def test_a_throttled_advance_moves_nothing(aws_ports: AwsPorts) -> None:
    name, store = fresh("c"), aws_ports.checkpoints
    store.take(name, SHARD, "one", TRIM_HORIZON)
    throttled = refused(aws_ports.aws.dynamodb, "UpdateItem", "ThrottlingException")
    with throttled, pytest.raises(TransientFault):
        store.advance(name, SHARD, "one", behind(7))
    assert stands(aws_ports, name) == Checkpoint(TRIM_HORIZON)


def test_a_listing_reads_every_page(aws_ports: AwsPorts) -> None:
    name, shards = fresh("c"), {f"shardId-{n:012d}" for n in range(7)}
    for shard in shards:
        aws_ports.checkpoints.take(name, shard, "one", TRIM_HORIZON)
    with asked_with(aws_ports.aws.dynamodb, "Query", Limit=3):
        assert aws_ports.checkpoints.all(name).keys() == shards
