"""The contract of `ports.claims`, kept alike by DynamoDB and by the one in memory."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from pipeline.adapters.dynamodb.reads import scan
from pipeline.bootstrap import AwsPorts, Ports
from pipeline.core.changes import from_wire
from pipeline.core.claims import Claim, Holder
from pipeline.core.errors import SystemFault, TransientFault
from pipeline.core.events import PosEvent
from pipeline.core.fingerprint import fingerprint
from pipeline.core.positions import Position
from pipeline.core.step import row_of
from tests.faults import Answer, answer_changed, answer_lost, refused
from tests.stacks import fresh, table, write_call
from tests.unit.traffic import ARRIVAL, jacket

SEQUENCE_129_DIGITS = 10**129 - 1
AWKWARD = [
    "O'Neill",
    'say "hi"',
    "back\\slash",
    "100 % %s {0}",
    "a#b/c%23",
    "🧥👖",
    "null",
    "e\u0301",
    "\u00e9",
    "\U0010ffff",
    "é" * 128,
    "x" * 256,
]


def claim(claim_id: str, sequence: int = 7, event: PosEvent | None = None, sub: int = 0) -> Claim:
    body = event or jacket(0, "t1")
    place = Position("s-pos-events", "shardId-000000000001", sequence, sub)
    return Claim(claim_id, body, fingerprint(body), place, ARRIVAL)


def held_by(holding: Claim, *, fresh: bool) -> Holder:
    return Holder(holding.fingerprint, holding.position, fresh)


def test_the_first_claim_holds_and_is_fresh(ports: Ports) -> None:
    first = claim(fresh("t"))
    assert ports.claims.claim([first]) == {first.claim_id: held_by(first, fresh=True)}


def test_a_later_claim_is_told_who_holds(ports: Ports) -> None:
    first = claim(fresh("t"), 7)
    ports.claims.claim([first])
    later = claim(first.claim_id, 8, jacket(60, "t1", units=3))
    assert ports.claims.claim([later]) == {first.claim_id: held_by(first, fresh=False)}


def test_the_holder_never_changes(ports: Ports) -> None:
    first = claim(fresh("t"), 7)
    for sequence in (7, 8, 6):
        ports.claims.claim([claim(first.claim_id, sequence)])
    assert ports.claims.claim([claim(first.claim_id, 9)])[first.claim_id].position == first.position


def test_the_same_claim_again_holds_but_is_not_fresh(ports: Ports) -> None:
    first = claim(fresh("t"))
    ports.claims.claim([first])
    assert ports.claims.claim([first]) == {first.claim_id: held_by(first, fresh=False)}


def test_a_position_of_129_digits_comes_back(ports: Ports) -> None:
    first = claim(fresh("t"), SEQUENCE_129_DIGITS, sub=12)
    ports.claims.claim([first])
    held = ports.claims.claim([claim(first.claim_id)])[first.claim_id]
    assert held.position.order == (SEQUENCE_129_DIGITS, 12)


def test_no_claims_have_no_holders(ports: Ports) -> None:
    assert ports.claims.claim([]) == {}


def test_many_claims_are_answered_one_by_one(ports: Ports) -> None:
    old = [claim(fresh("t"), number) for number in range(130)]
    new = [claim(fresh("t"), number) for number in range(130)]
    ports.claims.claim(old)
    mixed = [c._replace(position=c.position._replace(sequence=999)) for c in old] + new
    assert ports.claims.claim(mixed) == {
        **{c.claim_id: held_by(c, fresh=False) for c in old},
        **{c.claim_id: held_by(c, fresh=True) for c in new},
    }


@pytest.mark.parametrize("awkward", AWKWARD)
def test_an_awkward_id_holds_for_itself_alone(ports: Ports, awkward: str) -> None:
    first, other = claim(awkward, 1), claim(awkward + "'", 2)
    ports.claims.claim([first, other])
    assert ports.claims.claim([claim(awkward, 3)]) == {awkward: held_by(first, fresh=False)}


def test_ids_differ_by_code_point_alone(ports: Ports) -> None:
    stem = fresh("t")
    names = [stem + tail for tail in ("e\u0301", "\u00e9", "E", "e", "ｅ")]
    held = ports.claims.claim([claim(name) for name in names])
    assert [held[name].fresh for name in names] == [True] * 5


def test_threads_that_race_for_ids_win_each_id_once(ports: Ports) -> None:
    ids, start = [fresh("t") for _ in range(60)], Barrier(2)

    def race(sequence: int) -> Mapping[str, Holder]:
        start.wait()
        offered = ids if sequence % 2 else ids[::-1]
        return ports.claims.claim([claim(name, sequence) for name in offered])

    with ThreadPoolExecutor(2) as racers:
        one, two = racers.map(race, (1, 2))
    assert all(one[name].fresh != two[name].fresh for name in ids)


def test_threads_that_race_for_ids_agree_who_holds(ports: Ports) -> None:
    ids, start = [fresh("t") for _ in range(60)], Barrier(2)

    def race(sequence: int) -> Mapping[str, Holder]:
        start.wait()
        offered = ids if sequence % 2 else ids[::-1]
        return ports.claims.claim([claim(name, sequence) for name in offered])

    with ThreadPoolExecutor(2) as racers:
        one, two = racers.map(race, (1, 2))
    assert [one[name].position for name in ids] == [two[name].position for name in ids]


# ------------------------------------------------------------------- what only a service can do
def test_a_claim_whose_answer_was_lost_is_left_out(aws_ports: AwsPorts) -> None:
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "PutItem")):
        assert aws_ports.claims.claim([claim(fresh("t"))]) == {}


def test_a_claim_whose_answer_was_lost_finds_its_own_position(aws_ports: AwsPorts) -> None:
    first = claim(fresh("t"))
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "PutItem")):
        aws_ports.claims.claim([first])
    assert aws_ports.claims.claim([first]) == {first.claim_id: held_by(first, fresh=False)}


@pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException"])
def test_throttled_claims_are_left_out_and_the_others_are_not(
    aws_ports: AwsPorts, code: str
) -> None:
    claims = [claim(fresh("t")) for _ in range(60)]
    with refused(aws_ports.aws.dynamodb, write_call(aws_ports, "PutItem"), code):
        held = aws_ports.claims.claim(claims)
    left = [claim for claim in claims if claim.claim_id not in held]
    assert held == {c.claim_id: held_by(c, fresh=True) for c in claims if c not in left}
    assert 1 <= len(left) <= 25


def test_a_throttled_claim_was_not_made(aws_ports: AwsPorts) -> None:
    first = claim(fresh("t"))
    with refused(aws_ports.aws.dynamodb, write_call(aws_ports, "PutItem"), "ThrottlingException"):
        aws_ports.claims.claim([first])
    assert aws_ports.claims.claim([first])[first.claim_id].fresh


def test_a_holder_that_could_not_be_read_is_left_out(aws_ports: AwsPorts) -> None:
    names = [fresh("t") for _ in range(5)]
    aws_ports.claims.claim([claim(name) for name in names])

    def withhold(answer: Answer) -> None:
        (table,) = answer["Responses"]
        late = answer["Responses"][table].pop()["transaction_id"]
        answer["UnprocessedKeys"] = {table: {"Keys": [{"transaction_id": late}]}}

    with answer_changed(aws_ports.aws.dynamodb, "BatchGetItem", withhold):
        held = aws_ports.claims.claim([claim(name, 8) for name in names])
    assert len(held) == 4


def test_a_refusal_that_no_waiting_mends_is_raised(aws_ports: AwsPorts) -> None:
    denied = refused(
        aws_ports.aws.dynamodb, write_call(aws_ports, "PutItem"), "AccessDeniedException", times=99
    )
    with denied, pytest.raises(SystemFault, match="AccessDeniedException") as caught:
        aws_ports.claims.claim([claim(fresh("t")), claim(fresh("t"))])
    assert not isinstance(caught.value, TransientFault)


def test_a_claim_holds_the_whole_event(aws_ports: AwsPorts) -> None:
    first = claim(fresh("t"), event=jacket(0, "t1", units=3))
    aws_ports.claims.claim([first])
    (item,) = (
        item
        for item in scan(aws_ports.aws, table(aws_ports, "processed_transactions"))
        if item["transaction_id"]["S"] == first.claim_id
    )
    assert from_wire(item["event"]["S"].encode()) == row_of(first)
