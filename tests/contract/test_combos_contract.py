"""The contract of `ports.combos`, kept alike by DynamoDB and by the one in memory."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.bootstrap import AwsPorts, Ports
from pipeline.core.changes import ComboChanged, ComboStatus
from pipeline.core.instants import EARLIEST, LATEST, parse_instant
from tests.faults import answer_lost, asked_with, refused
from tests.stacks import fresh, write_call

NOON = parse_instant("2011-10-03T12:00:00.000001Z")


def combo(combo_id: str, revision: int, **fields: Any) -> ComboChanged:
    status = ComboStatus.ACTIVE
    plain = ComboChanged(combo_id, "GB-1", "1", "t1", "t2", NOON, 2, 1, status, revision)
    return plain._replace(**fields)


def read_back(ports: Ports, combo_id: str) -> list[ComboChanged]:
    return [found for found in ports.combos.scan() if found.combo_id == combo_id]


def test_a_combo_comes_back(ports: Ports) -> None:
    made = combo(fresh("c"), 1)
    ports.combos.upsert([made])
    assert read_back(ports, made.combo_id) == [made]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": ComboStatus.CANCELLED, "quantity": 0, "voided": 3},
        {"status": ComboStatus.RETRACTED, "quantity": 0, "voided": 0},
        {"paired_at": EARLIEST},
        {"paired_at": LATEST},
        {"location": "🧥", "base_product_id": "é" * 128, "jacket_transaction_id": "O'Neill #%"},
        {"revision": 7 * 2**40 + 3},
    ],
)
def test_every_attribute_comes_back(ports: Ports, fields: dict[str, Any]) -> None:
    made = combo(fresh("c"), 1)._replace(**fields)
    ports.combos.upsert([made])
    assert read_back(ports, made.combo_id) == [made]


def test_a_higher_revision_replaces_a_lower_one(ports: Ports) -> None:
    name = fresh("c")
    ports.combos.upsert([combo(name, 1)])
    ports.combos.upsert([combo(name, 2, quantity=9)])
    assert read_back(ports, name) == [combo(name, 2, quantity=9)]


@pytest.mark.parametrize("revision", [1, 2])
def test_a_revision_that_is_not_higher_changes_nothing(ports: Ports, revision: int) -> None:
    name = fresh("c")
    ports.combos.upsert([combo(name, 2)])
    ports.combos.upsert([combo(name, revision, quantity=9)])
    assert read_back(ports, name) == [combo(name, 2)]


def test_a_revision_that_is_not_higher_is_done(ports: Ports) -> None:
    name = fresh("c")
    ports.combos.upsert([combo(name, 2)])
    assert not ports.combos.upsert([combo(name, 1)])


def test_revisions_are_compared_as_numbers(ports: Ports) -> None:
    name = fresh("c")
    ports.combos.upsert([combo(name, 10)])
    ports.combos.upsert([combo(name, 9)])
    assert read_back(ports, name) == [combo(name, 10)]


def test_no_combos_are_done(ports: Ports) -> None:
    assert not ports.combos.upsert([])


def test_many_combos_are_written(ports: Ports) -> None:
    made = {combo(fresh("c"), 1) for _ in range(60)}
    ports.combos.upsert(list(made))
    assert made <= set(ports.combos.scan())


def test_the_highest_revision_holds_whoever_comes_last(ports: Ports) -> None:
    name, revisions = fresh("c"), [*range(1, 20), *range(19, 0, -1)]
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda revision: ports.combos.upsert([combo(name, revision)]), revisions))
    assert read_back(ports, name) == [combo(name, 19)]


def test_a_scan_of_nothing_is_empty(empty_ports: Ports) -> None:
    assert not list(empty_ports.combos.scan())


# ------------------------------------------------------------------- what only a service can do
def test_a_combo_whose_answer_was_lost_comes_back(aws_ports: AwsPorts) -> None:
    made = combo(fresh("c"), 1)
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "UpdateItem")):
        assert aws_ports.combos.upsert([made]) == [made]


def test_a_combo_whose_answer_was_lost_is_done_when_offered_again(aws_ports: AwsPorts) -> None:
    made = combo(fresh("c"), 1)
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "UpdateItem")):
        left = aws_ports.combos.upsert([made])
    assert (aws_ports.combos.upsert(left), read_back(aws_ports, made.combo_id)) == ([], [made])


def test_throttled_combos_alone_come_back(aws_ports: AwsPorts) -> None:
    made = [combo(fresh("c"), 1) for _ in range(60)]
    update = write_call(aws_ports, "UpdateItem")
    with refused(aws_ports.aws.dynamodb, update, "ThrottlingException"):
        left = aws_ports.combos.upsert(made)
    written = set(aws_ports.combos.scan())
    assert [c for c in made if c not in written] == left
    assert 1 <= len(left) <= 25


def test_a_scan_reads_every_page(aws_ports: AwsPorts) -> None:
    made = {combo(fresh("c"), 1) for _ in range(7)}
    aws_ports.combos.upsert(list(made))
    with asked_with(aws_ports.aws.dynamodb, "Scan", Limit=3):
        assert made <= set(aws_ports.combos.scan())
