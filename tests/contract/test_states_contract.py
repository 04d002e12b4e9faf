"""The contract of `ports.states`, kept alike by DynamoDB and by the one in memory."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from pipeline.bootstrap import AwsPorts, Ports
from pipeline.core.changes import StockChanged
from pipeline.core.errors import TransientFault
from pipeline.core.keyed_state import KeyedState, ShardMark, StateKey
from pipeline.core.outbox import pack, unpack
from pipeline.ports.states import Commit, PinnedRules
from tests.faults import Answer, answer_changed, answer_lost, refused
from tests.stacks import fresh, write_call

SEQUENCE_129_DIGITS = 10**129 - 1
AWKWARD = ["a#b", "50%", "a/b", "two words", "%23", "🧥", "é" * 128, "O'Neill", "combos#x", "+"]
FOLDS = ("combos", "stock")
BODIES = {"combos": b"\x00\xff\x80body", "stock": b"-12"}
OUTBOX = pack([StockChanged("GB-1", "J1", -3, 7)])
RULES = PinnedRules("pos-events in us-east-1", "0123", '{"combo_window_us":600000000}', 0)


def state(fold: str, version: int = 1, name: str | None = None) -> KeyedState:
    key = StateKey(fold, ("GB-1", name or fresh("key")))
    marks = {"shardId-000000000001": ShardMark((12, 3), OUTBOX)}
    return KeyedState(key, version, BODIES[fold], marks)


def next_of(before: KeyedState, **marks: ShardMark) -> KeyedState:
    return before._replace(version=before.version + 1, marks={**before.marks, **marks})


def load(ports: Ports, key: StateKey) -> KeyedState:
    return ports.states.load([key])[key]


# -------------------------------------------------------------------------------- what is stored
@pytest.mark.parametrize("fold", FOLDS)
def test_a_state_comes_back(ports: Ports, fold: str) -> None:
    made = state(fold)
    ports.states.commit([Commit(made, 0)])
    assert load(ports, made.key) == made


@pytest.mark.parametrize("fold", FOLDS)
def test_an_absent_state_has_version_0(ports: Ports, fold: str) -> None:
    key = StateKey(fold, ("GB-1", fresh("key")))
    assert load(ports, key) == KeyedState(key)


@pytest.mark.parametrize("fold", FOLDS)
def test_several_shards_come_back(ports: Ports, fold: str) -> None:
    marks = {f"shardId-{n:012d}": ShardMark((n, n % 3), bytes([n])) for n in range(40)}
    made = state(fold)._replace(marks=marks)
    ports.states.commit([Commit(made, 0)])
    assert load(ports, made.key) == made


@pytest.mark.parametrize(
    "mark",
    [
        ShardMark((12, 3), b""),
        ShardMark((SEQUENCE_129_DIGITS, 0), OUTBOX),
        ShardMark((0, 0), OUTBOX),
        ShardMark((1, 999), b"\x00" * 100_000),
    ],
    ids=["empty outbox", "129 digits", "nought", "large outbox"],
)
def test_a_mark_comes_back(ports: Ports, mark: ShardMark) -> None:
    made = state("combos")._replace(marks={"shard-1": mark})
    ports.states.commit([Commit(made, 0)])
    assert load(ports, made.key).marks == {"shard-1": mark}


def test_an_outbox_can_be_opened_again(ports: Ports) -> None:
    made = state("stock")
    ports.states.commit([Commit(made, 0)])
    (mark,) = load(ports, made.key).marks.values()
    assert unpack(mark.outbox) == (StockChanged("GB-1", "J1", -3, 7),)


@pytest.mark.parametrize("body", [b"0", b"100000", b"-9007199254740993"])
def test_a_stock_level_comes_back_exactly(ports: Ports, body: bytes) -> None:
    made = state("stock")._replace(body=body)
    ports.states.commit([Commit(made, 0)])
    assert load(ports, made.key).body == body


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("awkward", AWKWARD)
def test_awkward_keys_come_back(ports: Ports, fold: str, awkward: str) -> None:
    made = state(fold)._replace(key=StateKey(fold, (awkward, awkward)))
    ports.states.commit([Commit(made, 0)])
    assert made in set_of(ports, fold)


def set_of(ports: Ports, fold: str) -> list[KeyedState]:
    return list(ports.states.scan(fold))


@pytest.mark.parametrize("fold", FOLDS)
def test_parts_cannot_forge_one_another(ports: Ports, fold: str) -> None:
    one, other = StateKey(fold, ("f", "g#h")), StateKey(fold, ("f#g", "h"))
    ports.states.commit([Commit(state(fold)._replace(key=one), 0)])
    assert load(ports, other).version == 0


def test_folds_keep_apart(ports: Ports) -> None:
    made = state("combos")
    ports.states.commit([Commit(made, 0)])
    assert load(ports, made.key._replace(fold="stock")).version == 0


def test_nothing_is_loaded_for_no_keys(ports: Ports) -> None:
    assert ports.states.load([]) == {}


def test_many_keys_of_both_folds_are_loaded(ports: Ports) -> None:
    made = [state(FOLDS[n % 2]) for n in range(250)]
    absent = [state(FOLDS[n % 2]).key for n in range(50)]
    ports.states.commit([Commit(one, 0) for one in made])
    assert ports.states.load([*(one.key for one in made), *absent]) == {
        **{one.key: one for one in made},
        **{key: KeyedState(key) for key in absent},
    }


# ----------------------------------------------------------------------------- compare and set
@pytest.mark.parametrize("fold", FOLDS)
def test_version_0_inserts(ports: Ports, fold: str) -> None:
    made = state(fold)
    assert ports.states.commit([Commit(made, 0)]) == {made.key: True}


@pytest.mark.parametrize("fold", FOLDS)
def test_version_0_does_not_replace(ports: Ports, fold: str) -> None:
    made = state(fold)
    ports.states.commit([Commit(made, 0)])
    assert ports.states.commit([Commit(next_of(made), 0)]) == {made.key: False}


@pytest.mark.parametrize("fold", FOLDS)
def test_the_expected_version_is_replaced(ports: Ports, fold: str) -> None:
    made = state(fold)
    after = next_of(made, other=ShardMark((1, 0), b""))
    ports.states.commit([Commit(made, 0)])
    won = ports.states.commit([Commit(after, made.version)])
    assert (won, load(ports, made.key)) == ({made.key: True}, after)


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("expected", [0, 1, 2, 4, 2**40])
def test_another_version_is_not_replaced(ports: Ports, fold: str, expected: int) -> None:
    made = state(fold, version=3)
    ports.states.commit([Commit(made, 0)])
    ports.states.commit([Commit(next_of(made), expected)])
    assert load(ports, made.key) == made


@pytest.mark.parametrize("fold", FOLDS)
def test_an_absent_state_has_no_version_to_replace(ports: Ports, fold: str) -> None:
    made = state(fold, version=4)
    lost = ports.states.commit([Commit(made, 3)])
    assert (lost, load(ports, made.key).version) == ({made.key: False}, 0)


def test_a_shard_that_left_is_forgotten(ports: Ports) -> None:
    made = state("combos")
    after = made._replace(version=2, marks={"another": ShardMark((1, 0), b"")})
    ports.states.commit([Commit(made, 0)])
    ports.states.commit([Commit(after, 1)])
    assert load(ports, made.key) == after


def test_of_two_writers_one_wins(ports: Ports) -> None:
    before = [state(FOLDS[n % 2]) for n in range(40)]
    ports.states.commit([Commit(one, 0) for one in before])
    start = Barrier(2)

    def write(shard: str) -> dict[StateKey, bool]:
        start.wait()
        mark = ShardMark((9, 0), shard.encode())
        offered = before if shard == "one" else before[::-1]
        return dict(ports.states.commit([Commit(next_of(s, **{shard: mark}), 1) for s in offered]))

    with ThreadPoolExecutor(2) as writers:
        won = dict(zip(("one", "two"), writers.map(write, ("one", "two")), strict=True))
    held = ports.states.load([one.key for one in before])
    winners = {key: [name for name in won if won[name][key]] for key in held}
    assert winners == {key: [m for m in held[key].marks if m in won] for key in held}


def test_each_commit_is_answered_for_itself(ports: Ports) -> None:
    stale, good = state("combos"), state("stock")
    ports.states.commit([Commit(stale, 0)])
    assert ports.states.commit([Commit(next_of(stale), 7), Commit(good, 0)]) == {
        stale.key: False,
        good.key: True,
    }


# -------------------------------------------------------------------------------- the rules, scan
def test_the_first_rules_hold(empty_ports: Ports) -> None:
    first = empty_ports.states.pin(RULES)
    later = empty_ports.states.pin(RULES._replace(digest="4567", epoch=3))
    assert (first, later) == (RULES, RULES)


def test_of_racing_rules_one_holds(empty_ports: Ports) -> None:
    offers = [RULES._replace(digest=str(n), epoch=n) for n in range(8)]
    with ThreadPoolExecutor(8) as racers:
        assert len(set(racers.map(empty_ports.states.pin, offers))) == 1


def test_a_scan_leaves_the_rules_and_other_folds_out(empty_ports: Ports) -> None:
    empty_ports.states.pin(RULES)
    made = {fold: [state(fold) for _ in range(3)] for fold in FOLDS}
    empty_ports.states.commit([Commit(one, 0) for fold in FOLDS for one in made[fold]])
    found = {fold: sorted(set_of(empty_ports, fold)) for fold in FOLDS}
    assert found == {fold: sorted(made[fold]) for fold in FOLDS}


# ------------------------------------------------------------------- what only a service can do
@pytest.mark.parametrize(("operation", "expected"), [("PutItem", 0), ("UpdateItem", 1)])
def test_a_commit_whose_answer_was_lost_is_left_out(
    aws_ports: AwsPorts, operation: str, expected: int
) -> None:
    made = state("combos")
    if expected:
        aws_ports.states.commit([Commit(made, 0)])
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, operation)):
        assert aws_ports.states.commit([Commit(next_of(made), expected)]) == {}


@pytest.mark.parametrize("fold", FOLDS)
def test_a_commit_whose_answer_was_lost_shows_in_the_positions(
    aws_ports: AwsPorts, fold: str
) -> None:
    made = state(fold)
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "PutItem")):
        aws_ports.states.commit([Commit(made, 0)])
    lost = aws_ports.states.commit([Commit(made, 0)])
    assert (lost, load(aws_ports, made.key)) == ({made.key: False}, made)


def test_keys_that_were_not_processed_are_left_out(aws_ports: AwsPorts) -> None:
    keys = [state("combos").key for _ in range(10)]

    def withhold(answer: Answer) -> None:
        (table,) = answer["Responses"]
        late = {"state_key": {"S": f"combos#GB-1#{keys[4].parts[1]}"}}
        answer["UnprocessedKeys"] = {table: {"Keys": [late], "ConsistentRead": True}}

    with answer_changed(aws_ports.aws.dynamodb, "BatchGetItem", withhold):
        assert keys[4] not in aws_ports.states.load(keys)


def test_keys_that_were_processed_are_answered(aws_ports: AwsPorts) -> None:
    made = [state("stock") for _ in range(10)]
    aws_ports.states.commit([Commit(one, 0) for one in made])

    def withhold(answer: Answer) -> None:
        (table,) = answer["Responses"]
        late = answer["Responses"][table].pop()
        key = {name: late[name] for name in ("location", "product_id")}
        answer["UnprocessedKeys"] = {table: {"Keys": [key], "ConsistentRead": True}}

    with answer_changed(aws_ports.aws.dynamodb, "BatchGetItem", withhold):
        assert len(aws_ports.states.load([one.key for one in made])) == 9


def test_a_throttled_load_leaves_all_its_keys_out(aws_ports: AwsPorts) -> None:
    keys = [state("combos").key for _ in range(130)]
    with refused(aws_ports.aws.dynamodb, "BatchGetItem", "ThrottlingException"):
        assert len(aws_ports.states.load(keys)) in (30, 100)


def test_rules_whose_answer_was_lost_are_read_back(aws_ports: AwsPorts) -> None:
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "PutItem")):
        pinned = aws_ports.states.pin(RULES)
    assert aws_ports.states.pin(RULES._replace(epoch=9)) == pinned


def test_rules_that_cannot_be_read_are_a_transient_fault(aws_ports: AwsPorts) -> None:
    throttled = refused(aws_ports.aws.dynamodb, "BatchGetItem", "ThrottlingException")
    with throttled, pytest.raises(TransientFault):
        aws_ports.states.pin(RULES)
