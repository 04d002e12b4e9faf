"""The three functions from stream to stores, in memory: the same tables as every other engine.

Whatever befalls a function on the way: a crash at any call, a store that fails, an environment that
dies at every third event.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.demo import demo_lines
from consumers.handlers import Consumer
from consumers.memory_run import MemoryRun
from consumers.run_local import RunOptions, write_exports
from consumers.sources import Line, PartitionBy
from pipeline.bootstrap import MemoryPorts, memory_ports
from pipeline.core.changes import ComboStatus
from pipeline.core.errors import SystemFault, TransientFault
from pipeline.core.events import PosEvent, parse
from pipeline.core.fingerprint import partition_key
from pipeline.core.records import HASH_KEY_MAX, UserRecord, write_aggregate
from pipeline.core.rules import Rules
from pipeline.ports.streams import Message
from pipeline.settings import Settings
from tests.clocks import VirtualClock
from tests.crashes import HookedPorts, Moment, Tables, Tripwire, sunk
from tests.crashes import tables as durable
from tests.e2e.hostile import CASES
from tests.e2e.runs import in_memory, numbered, rows, tables
from tests.event_source_mapping import MappingOptions
from tests.lambda_functions import Died, Function, Functions, Place, in_memory_place
from tests.unit.scenario import SHARDS
from tests.unit.traffic import ARRIVAL

NOW = VirtualClock()
NOW.seconds = 2_000_000_000.0
SMALL = Settings(batch_records_max=50)
MAPPING = MappingOptions(batch_size=170, bisect_batch_on_function_error=True)


def mixed(lines: list[Line]) -> list[Line]:
    """Pack every other seven lines into an aggregate, as the KPL does."""

    def packed() -> Iterator[bytes]:
        for at in range(0, len(lines), 14):
            data = [line.data for line in lines[at : at + 14]]
            yield write_aggregate(UserRecord(key_of(one), one) for one in data[:7])
            yield from data[7:]

    return numbered(packed())


def key_of(data: bytes) -> str:
    event = parse(data, 2**62, Rules())
    assert isinstance(event, PosEvent)
    return partition_key(event.location, event.base_product_id)


def run_functions(
    lines: list[Line], folder: Path, shards: int, function: type[Function] = Function
) -> Functions:
    """Run lines through the three functions in memory, and export."""
    run = MemoryRun(SMALL, NOW, shards)
    run.publish(lines, PartitionBy.KEY)
    functions = Functions(in_memory_place(run.ports, SMALL, NOW), MAPPING, function)
    functions.drain()
    options = RunOptions(shards, PartitionBy.KEY, False, folder)
    write_exports(lines, run.placed, run.ports, SMALL, options)
    return functions


def assert_same_exports(here: Path, there: Path) -> None:
    assert tables(here) == tables(there)
    for name in ("verdicts", "quarantine"):
        assert rows(here, name) == rows(there, name)


# ------------------------------------------------------------------------------- the same tables
@pytest.mark.parametrize("shards", [1, 3])
def test_the_demos_deliveries_in_aggregates_leave_the_same_exports(
    tmp_path: Path, shards: int
) -> None:
    lines = mixed(demo_lines())
    run_functions(lines, tmp_path / "lambda", shards)
    in_memory(lines, tmp_path / "memory", SMALL, shards)
    assert_same_exports(tmp_path / "lambda", tmp_path / "memory")
    assert len(rows(tmp_path / "lambda", "change_log")) == 2_921


def test_hostile_records_get_their_verdicts(tmp_path: Path) -> None:
    run_functions(numbered(case.data for case in CASES), tmp_path, shards=1)
    found = [row["verdict"] for row in rows(tmp_path, "verdicts")]
    assert found == [case.verdict for case in CASES]


class Mortal(Function):
    """A function whose environment dies at every third event: before its work, or after it."""

    events = 0

    def __call__(self, event: Any, context: Any) -> Any:
        self.events += 1
        if self.events % 3 == 0:
            if self.events % 2:
                super().__call__(event, context)
            self._engine = None
            raise Died("out of memory")
        return super().__call__(event, context)


def test_environments_that_keep_dying_leave_the_same_exports(tmp_path: Path) -> None:
    lines = mixed(demo_lines()[:1_500])
    functions = run_functions(lines, tmp_path / "lambda", 2, Mortal)
    in_memory(lines, tmp_path / "memory", SMALL, 2)
    assert_same_exports(tmp_path / "lambda", tmp_path / "memory")
    assert all(isinstance(f, Mortal) and f.events > 3 for f in functions.functions.values())


# -------------------------------------------------------------------------------------- crashes
class EveryPort(HookedPorts):
    """All ports of the three consumers behind one hook."""

    HOOKED = (*HookedPorts.HOOKED, "events", "warehouse", "cache")


SCENARIO = Settings(batch_records_max=2, retry_budget=timedelta(0))
THREE = MappingOptions(batch_size=3)


def scenario() -> MemoryPorts:
    """Put the scenario's records on the stream, and nothing anywhere else."""
    ports = memory_ports(SCENARIO, len(SHARDS), lambda: ARRIVAL)
    for number, parts in enumerate(SHARDS.values()):
        hash_at = number * HASH_KEY_MAX
        data = [one for part in parts for one in part]
        ports.events.publish([Message(one, "k", hash_at) for one in data])
    return ports


def over(ports: MemoryPorts, around: Callable[..., Any]) -> Place:
    hooked: Any = EveryPort(ports, around)
    place = in_memory_place(ports, SCENARIO, NOW)
    return place._replace(connect=lambda *_: hooked)


def left_by(ports: MemoryPorts) -> tuple[Tables, Any, Any]:
    """Read everything that the three consumers wrote, less what a repeat may do twice."""
    warehouse, cached = ports.warehouse.rows(), ports.cache.items
    standing = (c for c in warehouse.combos if c.status is not ComboStatus.RETRACTED)
    combos = {combo.combo_id: combo._replace(revision=0) for combo in standing}
    stock = {(s.location, s.product_id): s.on_hand for s in warehouse.stock}
    changes = {change.transaction_id: change for change, _ in warehouse.changes}
    newest = {key for key, fact in sunk(ports.changes).items() if key[0] == "stock"}
    return durable(ports), (changes, combos, stock), (set(cached), len(newest))


def quiet() -> tuple[Any, int]:
    """Run the scenario uninterrupted; return what it leaves, and the calls it took."""
    ports, wire = scenario(), Tripwire()
    Functions(over(ports, wire.around), THREE).drain()
    return left_by(ports), wire.calls


def test_the_scenario_leaves_something_in_every_store() -> None:
    (left, warehouse, cached), calls = quiet()
    assert all(left) and all(warehouse) and all(cached)
    assert calls > 80


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_call_and_the_retry_leave_the_same_tables(moment: Moment) -> None:
    wanted, calls = quiet()
    broken = []
    for at in range(calls):
        ports = scenario()
        functions = Functions(over(ports, Tripwire(at, moment).around), THREE)
        functions.drain()
        if left_by(ports) != wanted:
            broken.append(at)
    assert not broken


# ------------------------------------------------------------------------------ stores that fail
class Outage:
    """Raise a fault at one call, by its number."""

    def __init__(self, at: int, fault: Exception) -> None:
        self._at, self._fault, self.calls = at, fault, 0

    def __call__(self, call: Callable[..., Any], *args: Any) -> Any:
        self.calls += 1
        if self.calls == self._at + 1:
            raise self._fault
        return call(*args)


def names_of(functions: Functions) -> set[tuple[Consumer, str]]:
    return {
        (consumer, failure["itemIdentifier"])
        for consumer, function in functions.functions.items()
        for answer in function.answers
        for failure in answer["batchItemFailures"]
    }


def test_a_store_that_fails_at_any_call_loses_and_doubles_nothing() -> None:
    wanted, calls = quiet()
    broken, named = [], set()
    for at in range(calls):
        ports = scenario()
        functions = Functions(over(ports, Outage(at, TransientFault("throttled"))), THREE)
        functions.drain()
        found = names_of(functions)
        named |= found
        if left_by(ports) != wanted or len(found) > 1:
            broken.append(at)
    assert not broken
    # Events of three, in batches of two: the first of an event, or the third.
    inventory = {int(number) % 3 for consumer, number in named if consumer is Consumer.INVENTORY}
    assert (inventory, {consumer for consumer, _ in named}) == ({0, 1}, set(Consumer))


def test_a_fault_that_no_waiting_mends_is_raised_and_the_batch_comes_again() -> None:
    wanted, calls = quiet()
    for at in range(0, calls, 7):
        ports = scenario()
        functions = Functions(over(ports, Outage(at, SystemFault("no such table"))), THREE)
        functions.drain()
        faults = [fault for f in functions.functions.values() for fault in f.faults]
        assert (list(map(str, faults)), names_of(functions)) == (["no such table"], set())
        assert left_by(ports) == wanted


# ------------------------------------------------------------------------ a warehouse set back
def test_a_warehouse_set_back_under_a_warm_function_gets_what_it_lost() -> None:
    wanted, _ = quiet()
    ports = scenario()
    functions = Functions(in_memory_place(ports, SCENARIO, NOW), THREE)
    functions.mappings[Consumer.INVENTORY].drain()
    etl, mapping = functions.functions[Consumer.ETL], functions.mappings[Consumer.ETL]
    for _ in range(3):
        mapping.poll()
    ports.warehouse.changes.clear()
    ports.warehouse.effects.clear()
    ports.warehouse.positions.clear()
    functions.drain()
    assert {c for c, _ in names_of(functions)} == {Consumer.ETL}  # refused once, then caught up
    assert (left_by(ports), etl.faults) == (wanted, [])
