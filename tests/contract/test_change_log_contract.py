"""The contract of `ports.change_log`, kept alike by DynamoDB and by the one in memory."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.bootstrap import AwsPorts, Ports
from pipeline.core.changes import ChangeAnnotated, ChangeRecorded
from pipeline.core.errors import SystemFault, TransientFault
from pipeline.core.fingerprint import fingerprint
from pipeline.core.instants import EARLIEST, LATEST, parse_instant
from tests.faults import answer_lost, refused
from tests.stacks import fresh, write_call

NOON = parse_instant("2011-10-03T12:00:00.000001Z")
SEQUENCE_129_DIGITS = 10**129 - 1
AWKWARD = ["O'Neill", "100 % %s {0}", "a#b/c%23", "🧥👖", "e\u0301", "\U0010ffff", "é" * 128]


def row(name: str, **fields: Any) -> ChangeRecorded:
    plain = ChangeRecorded(
        "GB-1", name, "J1", "1", "jacket", -1, NOON, "POS", "shard-7", 12, 0, NOON + 5
    )
    return plain._replace(**fields)


def note(name: str, revision: int, *combo_ids: str, late: bool = False) -> ChangeAnnotated:
    return ChangeAnnotated("GB-1", name, combo_ids, len(combo_ids), late, revision)


def read_back(
    ports: Ports, name: str, location: str = "GB-1"
) -> tuple[ChangeRecorded, ChangeAnnotated | None]:
    (found,) = (
        (recorded, annotation)
        for recorded, annotation in ports.change_log.scan()
        if (recorded.location, recorded.transaction_id) == (location, name)
    )
    return found


def test_a_row_is_inserted_where_none_is(ports: Ports) -> None:
    name = fresh("t")
    assert ports.change_log.record([row(name)])["GB-1", name].fresh


def test_a_row_that_was_inserted_is_read_back(ports: Ports) -> None:
    name = fresh("t")
    ports.change_log.record([row(name)])
    assert read_back(ports, name) == (row(name), None)


def test_a_row_is_never_replaced(ports: Ports) -> None:
    name = fresh("t")
    ports.change_log.record([row(name)])
    ports.change_log.record([row(name, change=-9, sequence=13)])
    assert read_back(ports, name) == (row(name), None)


def test_a_later_row_is_told_the_position_that_holds(ports: Ports) -> None:
    name = fresh("t")
    ports.change_log.record([row(name, sequence=12, sub=3)])
    held = ports.change_log.record([row(name, sequence=13)])["GB-1", name]
    assert (held.position.shard_id, *held.position.order) == ("shard-7", 12, 3)


def test_a_later_row_is_told_the_stream_that_positions_belong_to(ports: Ports) -> None:
    name = fresh("t")
    new = ports.change_log.record([row(name)])["GB-1", name].position
    assert ports.change_log.record([row(name)])["GB-1", name].position == new


def test_a_later_row_is_told_the_fingerprint_that_holds(ports: Ports) -> None:
    name = fresh("t")
    ports.change_log.record([row(name)])
    held = ports.change_log.record([row(name, change=-9)])["GB-1", name]
    assert (held.fingerprint, held.fresh) == (fingerprint(row(name)), False)


def test_the_same_row_again_is_not_fresh(ports: Ports) -> None:
    once = row(fresh("t"))
    ports.change_log.record([once])
    assert not ports.change_log.record([once])["GB-1", once.transaction_id].fresh


def test_a_transaction_has_a_row_at_each_location(ports: Ports) -> None:
    name = fresh("t")
    ports.change_log.record([row(name), row(name, location="GB-2")])
    assert read_back(ports, name, "GB-2") == (row(name, location="GB-2"), None)


def test_no_rows_have_no_holders(ports: Ports) -> None:
    assert ports.change_log.record([]) == {}


def test_many_rows_are_answered_one_by_one(ports: Ports) -> None:
    names = [fresh("t") for _ in range(210)]
    ports.change_log.record([row(name) for name in names[::2]])
    held = ports.change_log.record([row(name, sequence=13) for name in names])
    assert [held["GB-1", name].fresh for name in names] == [False, True] * 105


@pytest.mark.parametrize("awkward", AWKWARD)
def test_awkward_identifiers_come_back(ports: Ports, awkward: str) -> None:
    odd = row(awkward, location=awkward, product_id=awkward, base_product_id=awkward)
    ports.change_log.record([odd])
    assert read_back(ports, awkward, awkward) == (odd, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence": SEQUENCE_129_DIGITS},
        {"sub": 41},
        {"change": 100_000},
        {"instant": EARLIEST, "ingested_at": LATEST},
        {"source": "batch", "category": "tie"},
    ],
)
def test_every_attribute_comes_back(ports: Ports, fields: dict[str, Any]) -> None:
    name = fresh("t")
    ports.change_log.record([row(name, **fields)])
    assert read_back(ports, name) == (row(name, **fields), None)


# ---------------------------------------------------------------------------------- annotations
@pytest.fixture
def name(ports: Ports) -> str:
    """Name a transaction whose row is there."""
    found = fresh("t")
    ports.change_log.record([row(found)])
    return found


@pytest.mark.parametrize(
    "annotation",
    [
        note("", 1, "c1"),
        note("", 1, "c1", "c2", "c3"),
        note("", 1, "👖"),
        note("", 1, late=True),
        note("", 1, "c1", late=True),
        note("", 1),
        note("", 5 * 2**40 + 7, "c1"),
        ChangeAnnotated("GB-1", "", tuple(f"c{n}" for n in range(100)), 100, False, 1),
        ChangeAnnotated("GB-1", "", tuple(f"c{n}" for n in range(100)), 4_321, False, 1),
    ],
)
def test_an_annotation_comes_back(ports: Ports, name: str, annotation: ChangeAnnotated) -> None:
    told = annotation._replace(transaction_id=name)
    ports.change_log.annotate([told])
    assert read_back(ports, name) == (row(name), told)


def test_a_higher_revision_replaces_a_lower_one(ports: Ports, name: str) -> None:
    ports.change_log.annotate([note(name, 1, "c1")])
    ports.change_log.annotate([note(name, 2, "c2", "c3", late=True)])
    assert read_back(ports, name)[1] == note(name, 2, "c2", "c3", late=True)


@pytest.mark.parametrize("revision", [1, 2])
def test_a_revision_that_is_not_higher_changes_nothing(
    ports: Ports, name: str, revision: int
) -> None:
    ports.change_log.annotate([note(name, 2, "c2")])
    ports.change_log.annotate([note(name, revision, "c1", "c9")])
    assert read_back(ports, name)[1] == note(name, 2, "c2")


def test_a_revision_that_is_not_higher_is_done(ports: Ports, name: str) -> None:
    ports.change_log.annotate([note(name, 2, "c2")])
    assert not ports.change_log.annotate([note(name, 1, "c1")])


@pytest.mark.parametrize("before", [("c1",), ("c1", "c2"), tuple(f"c{n}" for n in range(100))])
def test_an_annotation_without_combos_empties_the_list(
    ports: Ports, name: str, before: tuple[str, ...]
) -> None:
    ports.change_log.annotate([ChangeAnnotated("GB-1", name, before, 200, False, 1)])
    ports.change_log.annotate([note(name, 2)])
    assert read_back(ports, name)[1] == note(name, 2)


def test_a_list_that_shrinks_to_one_forgets_the_others(ports: Ports, name: str) -> None:
    ports.change_log.annotate([note(name, 1, "c1", "c2", "c3")])
    ports.change_log.annotate([note(name, 2, "c3")])
    assert read_back(ports, name)[1] == note(name, 2, "c3")


def test_a_row_recorded_again_keeps_its_annotation(ports: Ports, name: str) -> None:
    ports.change_log.annotate([note(name, 1, "c1")])
    ports.change_log.record([row(name)])
    assert read_back(ports, name) == (row(name), note(name, 1, "c1"))


def test_an_annotation_of_a_row_that_is_not_there_is_refused(ports: Ports) -> None:
    with pytest.raises(SystemFault, match="no change-log row") as caught:
        ports.change_log.annotate([note(fresh("t"), 1, "c1")])
    assert not isinstance(caught.value, TransientFault)


def test_an_annotation_that_was_refused_makes_no_row(ports: Ports) -> None:
    missing = fresh("t")
    with pytest.raises(SystemFault):
        ports.change_log.annotate([note(missing, 1, "c1")])
    assert ports.change_log.record([row(missing)])["GB-1", missing].fresh


def test_many_annotations_are_written(ports: Ports) -> None:
    names = [fresh("t") for _ in range(60)]
    ports.change_log.record([row(name) for name in names])
    ports.change_log.annotate([note(name, 1, name) for name in names])
    found = {r.transaction_id: told for r, told in ports.change_log.scan()}
    assert [found[name] for name in names] == [note(name, 1, name) for name in names]


def test_the_highest_revision_holds_whoever_comes_last(ports: Ports, name: str) -> None:
    revisions = [*range(1, 20), *range(19, 0, -1)]
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda r: ports.change_log.annotate([note(name, r, f"c{r}")]), revisions))
    assert read_back(ports, name)[1] == note(name, 19, "c19")


def test_a_scan_of_nothing_is_empty(empty_ports: Ports) -> None:
    assert not list(empty_ports.change_log.scan())


def test_a_scan_reads_every_row_once(empty_ports: Ports) -> None:
    names = {fresh("t") for _ in range(30)}
    empty_ports.change_log.record([row(name) for name in names])
    found = [recorded.transaction_id for recorded, _ in empty_ports.change_log.scan()]
    assert sorted(found) == sorted(names)


# ------------------------------------------------------------------- what only a service can do
def test_a_row_whose_answer_was_lost_finds_itself(aws_ports: AwsPorts) -> None:
    name = fresh("t")
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "PutItem")):
        first = aws_ports.change_log.record([row(name)])
    again = aws_ports.change_log.record([row(name)])["GB-1", name]
    assert (first, again.position.order, again.fresh) == ({}, (12, 0), False)


def test_an_annotation_whose_answer_was_lost_comes_back(aws_ports: AwsPorts) -> None:
    name = fresh("t")
    aws_ports.change_log.record([row(name)])
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "UpdateItem")):
        left = aws_ports.change_log.annotate([note(name, 1, "c1")])
    assert left == [note(name, 1, "c1")]


def test_an_annotation_whose_answer_was_lost_is_done_when_offered_again(
    aws_ports: AwsPorts,
) -> None:
    name = fresh("t")
    aws_ports.change_log.record([row(name)])
    with answer_lost(aws_ports.aws.dynamodb, write_call(aws_ports, "UpdateItem")):
        left = aws_ports.change_log.annotate([note(name, 1, "c1")])
    assert (aws_ports.change_log.annotate(left), read_back(aws_ports, name)[1]) == (
        [],
        note(name, 1, "c1"),
    )


def test_throttled_annotations_alone_come_back(aws_ports: AwsPorts) -> None:
    names = [fresh("t") for _ in range(60)]
    aws_ports.change_log.record([row(name) for name in names])
    update = write_call(aws_ports, "UpdateItem")
    with refused(aws_ports.aws.dynamodb, update, "ThrottlingException"):
        left = aws_ports.change_log.annotate([note(name, 1, "c1") for name in names])
    found = {r.transaction_id: told for r, told in aws_ports.change_log.scan()}
    assert {n.transaction_id for n in left} == {name for name in names if not found[name]}
    assert 1 <= len(left) <= 25
