"""What audits and repairs ask of the tables: whole claims, segments, rows by key."""

from typing import Any

import pytest

from pipeline.bootstrap import Ports
from pipeline.core.changes import ChangeAnnotated, ChangeRecorded, ComboChanged, ComboStatus
from pipeline.core.instants import parse_instant
from pipeline.core.keyed_state import KeyedState, StateKey
from pipeline.core.rules import Rules
from pipeline.core.step import claim_from_row, event_of, row_of
from pipeline.ports.scans import WHOLE, Segment
from pipeline.ports.states import Commit
from tests.stacks import fresh

NOON = parse_instant("2011-10-03T12:00:00.000001Z")
SEGMENTS = [Segment(number, 5) for number in range(5)]


def row(name: str, **fields: Any) -> ChangeRecorded:
    plain = ChangeRecorded(
        "GB-1", name, "J1", "1", "jacket", -1, NOON, "POS", "shard-7", 12, 0, NOON + 5
    )
    return plain._replace(**fields)


def combo(name: str) -> ComboChanged:
    status = ComboStatus.ACTIVE
    return ComboChanged(name, "GB-1", "1", "t1", "t2", NOON, 1, 0, status, 3)


# ------------------------------------------------------------------------------------- the claims
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sequence": 10**129 - 1, "sub": 41, "change": 100_000},
        {"location": "🧥#%", "product_id": "e\u0301", "source": "batch"},
    ],
)
def test_claim_comes_back_whole(ports: Ports, fields: dict[str, Any]) -> None:
    claim = claim_from_row(row(fresh("t"), **fields), "a-stream", Rules())
    ports.claims.claim([claim])
    (found,) = (each for each in ports.claims.scan() if each.claim_id == claim.claim_id)
    assert found._replace(event=claim.event) == claim
    assert row_of(found) == row_of(claim)


def test_event_of_a_row_makes_the_same_row() -> None:
    there = row("t")
    assert event_of(there).instant == there.instant
    assert row_of(claim_from_row(there, "s", Rules())) == there


# ----------------------------------------------------------------------------------- the segments
def test_segments_together_hold_every_row_once(ports: Ports) -> None:
    ports.change_log.record([row(fresh("t"), location=fresh("l")) for _ in range(40)])
    parts = [list(ports.change_log.scan(segment)) for segment in SEGMENTS]
    whole = sorted(recorded for recorded, _ in ports.change_log.scan())
    assert sorted(recorded for part in parts for recorded, _ in part) == whole
    assert all(len(part) < len(whole) for part in parts)


def test_segments_together_hold_every_combo_once(ports: Ports) -> None:
    ports.combos.upsert([combo(fresh("c")) for _ in range(40)])
    parts = [list(ports.combos.scan(segment)) for segment in SEGMENTS]
    assert sorted(each for part in parts for each in part) == sorted(ports.combos.scan(WHOLE))


def test_segments_together_hold_every_level_once(ports: Ports) -> None:
    keys = [StateKey("stock", ("GB-1", fresh("p"))) for _ in range(40)]
    ports.states.commit([Commit(KeyedState(key, 1, b"5"), 0) for key in keys])
    parts = [list(ports.states.scan("stock", segment)) for segment in SEGMENTS]
    found = sorted(state.key for part in parts for state in part)
    assert found == sorted(state.key for state in ports.states.scan("stock"))


# ---------------------------------------------------------------------------------------- by key
def test_rows_are_read_by_key_with_their_annotations(ports: Ports) -> None:
    one, other, none = fresh("t"), fresh("t"), fresh("t")
    ports.change_log.record([row(one), row(other)])
    note = ChangeAnnotated("GB-1", one, ("c1",), 1, False, 4)
    ports.change_log.annotate([note])
    keys = [("GB-1", name) for name in (one, other, none)]
    assert ports.table_repair.rows(keys) == {
        ("GB-1", one): (row(one), note),
        ("GB-1", other): (row(other), None),
        ("GB-1", none): None,
    }


def test_combos_are_read_by_id(ports: Ports) -> None:
    there, absent = fresh("c"), fresh("c")
    ports.combos.upsert([combo(there)])
    found = ports.table_repair.combos([there, absent])
    assert found == {there: combo(there), absent: None}


def test_nothing_asked_is_nothing_answered(ports: Ports) -> None:
    assert (ports.table_repair.rows([]), ports.table_repair.combos([])) == ({}, {})


def test_row_is_restored_and_keeps_its_annotation(ports: Ports) -> None:
    name = fresh("t")
    ports.change_log.record([row(name, change=-77, sub=9)])
    note = ChangeAnnotated("GB-1", name, ("c1", "c2"), 2, True, 4)
    ports.change_log.annotate([note])
    assert not ports.table_repair.restore([row(name)])
    assert ports.table_repair.rows([("GB-1", name)]) == {("GB-1", name): (row(name), note)}


def test_row_that_is_not_there_is_not_restored(ports: Ports) -> None:
    name = fresh("t")
    assert not ports.table_repair.restore([row(name)])
    assert ports.table_repair.rows([("GB-1", name)]) == {("GB-1", name): None}
