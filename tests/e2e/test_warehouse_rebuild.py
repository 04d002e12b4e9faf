"""The warehouse is rebuilt from the tables: whole, in part, after a kill, beside consumers."""

from collections.abc import Iterator
from threading import Lock
from typing import Any

import pytest

from consumers.demo import demo_lines
from consumers.exports import Json
from consumers.warehouse_rebuild import RebuildOptions, WarehouseRebuilding
from pipeline.core.changes import StockChanged
from pipeline.core.reconciling import EVERYTHING, Part
from tests.audits import Audited, installation
from tests.crashes import Crash
from tests.e2e.runs import QUIET

SEGMENTS = 4


@pytest.fixture
def audited() -> Audited:
    return installation(200)


def rebuild(audited: Audited, part: Part = EVERYTHING, **switches: bool) -> Json:
    rebuilding = WarehouseRebuilding(audited.ports, audited.settings, audited.clock, QUIET)
    return rebuilding.run(RebuildOptions(part, SEGMENTS, **switches))


def empty(audited: Audited) -> None:
    audited.ports.warehouse.changes.clear()
    audited.ports.warehouse.effects.clear()
    audited.ports.warehouse.dimensions.clear()


def test_lost_warehouse_is_the_same_again(audited: Audited) -> None:
    held = audited.ports.warehouse
    before = dict(held.changes), dict(held.effects), set(held.dimensions)
    empty(audited)
    assert rebuild(audited)["done"]
    assert (held.changes, held.effects, held.dimensions) == before
    assert audited.audit().findings == []


def test_totals_before_and_after_are_told(audited: Audited) -> None:
    rows = len(audited.ports.change_log.rows)
    empty(audited)
    told = rebuild(audited)
    assert (told["before"]["changes"]["rows"], told["after"]["changes"]["rows"]) == (0, rows)
    assert rebuild(audited)["before"] == told["after"]


def test_part_is_rebuilt_and_the_rest_left_alone(audited: Audited) -> None:
    held = audited.ports.warehouse
    lost = [key for key in held.changes if key[0] == "GB-1"][:3]
    elsewhere = next(key for key in held.changes if key[0] != "GB-1")
    for key in (*lost, elsewhere):
        del held.changes[key]
    rebuild(audited, Part("GB-1"))
    assert (set(lost) <= held.changes.keys(), elsewhere in held.changes) == (True, False)


def test_warehouse_of_other_tables_is_not_emptied(audited: Audited) -> None:
    other = installation(300)
    audited.ports.warehouse.changes.update(other.ports.warehouse.changes)
    before = dict(audited.ports.warehouse.changes)
    told = rebuild(audited)
    unknown = len(before) - len(audited.ports.change_log.rows)
    assert (told["done"], told["unknown_changes"]) == (False, unknown)
    assert audited.ports.warehouse.changes == before
    assert rebuild(audited, remove_unknown=True)["done"]
    assert audited.ports.warehouse.changes == audited.ports.change_log.rows


# ------------------------------------------------------------------------------------------ kills
@pytest.mark.parametrize("at", [1, 5, 9, 3 * SEGMENTS])
def test_rebuild_that_was_killed_goes_on(audited: Audited, at: int) -> None:
    empty(audited)
    port: Any = audited.ports.warehouse_rebuild
    stage, complete = port.stage, 0

    def stage_until_killed(unit: str, facts: Any, *, last: bool) -> None:
        nonlocal complete
        complete += last
        if complete == at:
            raise Crash
        stage(unit, facts, last=last)

    port.stage = stage_until_killed
    with pytest.raises(Crash):
        rebuild(audited)
    assert not audited.ports.warehouse.changes
    port.stage = stage
    told = rebuild(audited)
    assert told["units_staged_before"] > 0 or at == 1
    assert (told["done"], audited.audit().findings) == (True, [])


def test_restart_reads_everything_again(audited: Audited) -> None:
    audited.ports.warehouse_rebuild.begin(EVERYTHING, SEGMENTS)
    audited.ports.warehouse_rebuild.stage("changes 0", (), last=True)
    told = rebuild(audited, restart=True)
    assert (told["units_staged_before"], audited.audit().findings) == (0, [])


# ----------------------------------------------------------------------------- beside the consumers
@pytest.mark.parametrize("table", ["change_log", "combos", "states"])
def test_consumers_may_work_on_while_it_is_rebuilt(table: str) -> None:
    """Whatever is read first, the consumers finish everything else before the next is read."""
    audited = installation(200)
    audited.run.publish(demo_lines()[:300], audited.by)
    steps = iter(audited.working())
    port: Any = getattr(audited.ports, table)
    scan, turn = port.scan, Lock()

    def scan_while_they_work(*args: Any) -> Iterator[Any]:
        with turn:
            found = list(scan(*args))
            next(steps, None)
            audited.drain()
        return iter(found)

    port.scan = scan_while_they_work
    rebuild(audited)
    del port.scan
    for _ in steps:
        pass
    audited.drain()
    assert audited.audit().findings == []


def test_level_that_is_ahead_of_its_table_is_set_back(audited: Audited) -> None:
    effects: dict[Any, Any] = audited.ports.warehouse.effects
    key = next(key for key, effect in effects.items() if isinstance(effect, StockChanged))
    effects[key] = effects[key]._replace(on_hand=1_000, revision=2**50)
    rebuild(audited)
    assert audited.audit().findings == []
