"""What only batches can meet: answers lost inside an answer, repeats, and the size of a request."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from consumers.embedded import Endpoints
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.dynamodb.items import text
from pipeline.bootstrap import AwsPorts
from pipeline.core.changes import ComboChanged, ComboStatus
from pipeline.core.keyed_state import KeyedState, StateKey
from pipeline.ports.states import Commit
from tests.faults import Answer, answer_changed, answer_lost
from tests.stacks import deployed, fresh, table

BATCH = "BatchExecuteStatement"


@pytest.fixture(scope="module")
def ports(localstack: Endpoints) -> AwsPorts:
    """One installation that writes in batches."""
    return deployed(fresh("batches"), localstack, SystemClock(), "batch")


def state(size: int = 10) -> KeyedState:
    return KeyedState(StateKey("combos", ("GB-1", fresh("key"))), 1, b"\xff" * size)


def combo(combo_id: str, revision: int) -> ComboChanged:
    return ComboChanged(combo_id, "GB-1", "1", "t1", "t2", 0, 2, 1, ComboStatus.ACTIVE, revision)


def stored(ports: AwsPorts, like: ComboChanged) -> list[ComboChanged]:
    return [found for found in ports.combos.scan() if found.combo_id == like.combo_id]


def test_a_statement_that_acted_and_failed_is_left_out_and_finds_itself(ports: AwsPorts) -> None:
    states = [state() for _ in range(5)]

    def spoil(answer: Answer) -> None:
        answer["Responses"][3] = {"Error": {"Code": "InternalServerError"}}

    with answer_changed(ports.aws.dynamodb, BATCH, spoil):
        won = ports.states.commit([Commit(one, 0) for one in states])
    assert won == {one.key: True for one in states if one != states[3]}
    assert ports.states.commit([Commit(states[3], 0)]) == {states[3].key: False}
    assert ports.states.load([states[3].key]) == {states[3].key: states[3]}


def test_a_call_that_was_lost_leaves_its_own_items_out(ports: AwsPorts) -> None:
    states = [state() for _ in range(60)]
    with answer_lost(ports.aws.dynamodb, BATCH):
        won = ports.states.commit([Commit(one, 0) for one in states])
    left = [one for one in states if one.key not in won]
    assert len(left) in (10, 25)
    assert ports.states.load([one.key for one in left]) == {one.key: one for one in left}


def test_an_upsert_whose_insert_was_lost_is_done_when_offered_again(ports: AwsPorts) -> None:
    name = fresh("c")
    new = combo(name, 2)
    ports.combos.upsert([combo(name, 1)])
    with answer_lost(ports.aws.dynamodb, BATCH):
        left = ports.combos.upsert([new])
    assert (left, ports.combos.upsert(left), stored(ports, new)) == ([new], [], [new])


def test_an_upsert_whose_update_was_lost_is_done_when_offered_again(ports: AwsPorts) -> None:
    name = fresh("c")
    new = combo(name, 2)
    ports.combos.upsert([combo(name, 1)])

    def lose_the_update(answer: Answer) -> None:
        if "Error" not in answer["Responses"][0]:
            answer["Responses"][0] = {"Error": {"Code": "InternalServerError"}}

    with answer_changed(ports.aws.dynamodb, BATCH, lose_the_update, times=2):
        left = ports.combos.upsert([new])
    assert (left, ports.combos.upsert(left), stored(ports, new)) == ([new], [], [new])


def test_the_service_refuses_a_request_with_an_item_twice(ports: AwsPorts) -> None:
    """The premise of the turns."""
    name = table(ports, "processed_transactions")
    statement = f"INSERT INTO \"{name}\" VALUE {{'transaction_id': ?}}"
    twice: Any = {"Statement": statement, "Parameters": [text(fresh("t"))]}
    with pytest.raises(ClientError, match="contains duplicates"):
        ports.aws.dynamodb.batch_execute_statement(Statements=[twice, twice])


def test_the_largest_states_fit_into_one_request(ports: AwsPorts) -> None:
    """The premise of counting statements alone: an item is at most 350 KB by design."""
    states = [state(350_000) for _ in range(25)]
    won = ports.states.commit([Commit(one, 0) for one in states])
    assert won == {one.key: True for one in states}
