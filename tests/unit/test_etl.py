"""The etl handler over the ports in memory."""

from collections import Counter
from collections.abc import Sequence

import orjson
import pytest

from consumers.etl import EtlHandler
from pipeline.adapters.memory import MemoryQuarantine
from pipeline.adapters.memory_warehouse import MemoryWarehouse
from pipeline.core.changes import ChangeRecorded, StockChanged, to_wire
from pipeline.core.errors import BudgetExhausted, FellBehind, SystemFault, TransientFault
from pipeline.core.instants import parse_instant
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record
from pipeline.core.step import Refusal
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, Start
from pipeline.ports.warehouse import FactBatch
from pipeline.runtime.backoff import Backoff

NOON = parse_instant("2011-10-03T12:00:00Z")
ROW = ChangeRecorded("GB-1", "t1", "J1", "1", "jacket", -1, NOON, "POS", "shard-7", 12, 3, NOON)
LEVEL = StockChanged("GB-1", "J1", -1, 1)
AT_NOON = Start("AT_TIMESTAMP", NOON)


class SteppingClock:
    """A clock on which only waiting takes time."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> int:
        return NOON

    def monotonic(self) -> float:
        return self._seconds

    def wait(self, seconds: float) -> None:
        self._seconds += seconds

    def jitter(self) -> float:
        return 0.99


class FailingWarehouse(MemoryWarehouse):
    """Raises the given faults, one a call, before it answers."""

    def __init__(self, *faults: SystemFault) -> None:
        super().__init__()
        self._faults = list(faults)

    def load(self, batch: FactBatch) -> None:
        if self._faults:
            raise self._faults.pop(0)
        super().load(batch)


class System:
    """The handler between a warehouse and a quarantine in memory."""

    def __init__(self, warehouse: MemoryWarehouse | None = None) -> None:
        self.warehouse = warehouse or MemoryWarehouse()
        self.quarantine = MemoryQuarantine()
        self.handler = EtlHandler(self.warehouse, self.quarantine, Backoff(SteppingClock()))

    def handle(self, *payloads: bytes) -> Counter[str]:
        return self.handler.handle(Batch("shard-1", records(payloads))).counts


def records(payloads: Sequence[bytes]) -> list[Record]:
    return [
        Record(payload, Position("inventory-changes", "shard-1", 9 + number), NOON)
        for number, payload in enumerate(payloads)
    ]


def wire(**fields: object) -> bytes:
    return orjson.dumps(orjson.loads(to_wire(ROW)) | fields)


def level(on_hand: object) -> bytes:
    return orjson.dumps(orjson.loads(to_wire(LEVEL)) | {"on_hand": on_hand})


FOREIGN = {
    b"no json": "bad_fact",
    b"\xff": "bad_fact",
    b"[]": "bad_fact",
    wire(type="Greeting"): "unknown_fact",
    wire(schema_version=2): "unsupported_schema",
    wire(change="1"): "bad_fact",
    wire(change=100_001): "bad_fact",
    wire(product_id="a\0b"): "bad_fact",
    wire(location="x" * 257): "bad_fact",
    wire(location="é" * 129): "bad_fact",
    wire(sequence_number="1" + "0" * 129): "bad_fact",
    wire(sequence_number="-1"): "bad_fact",
    wire(timestamp="9999-12-31T23:59:59-01:00"): "bad_fact",
    level(2**63): "bad_fact",
    orjson.dumps(
        {
            "type": "ChangeAnnotated",
            "schema_version": 1,
            "location": "GB-1",
            "transaction_id": "t1",
            "combo_ids": [1],
            "combo_count": 1,
            "late": False,
            "revision": 1,
        }
    ): "bad_fact",
}


def test_facts_are_loaded() -> None:
    system = System()
    system.handle(to_wire(ROW), to_wire(LEVEL))
    rows = system.warehouse.rows()
    assert ([*rows.changes], [*rows.stock]) == ([(ROW, None)], [LEVEL])


def test_the_position_is_that_of_the_last_record() -> None:
    system = System()
    system.handle(to_wire(ROW), to_wire(LEVEL))
    assert system.warehouse.position("etl", "shard-1") == (10, 0)


@pytest.mark.parametrize(("payload", "reason"), FOREIGN.items())
def test_a_foreign_record_is_quarantined_with_its_reason(payload: bytes, reason: str) -> None:
    system = System()
    system.handle(payload)
    expected = Refusal("rejected", reason, "", records([payload])[0])
    assert list(system.quarantine.scan()) == [expected]


def test_a_fact_at_every_limit_is_loaded() -> None:
    system = System()
    system.handle(
        wire(location="é" * 128, sequence_number="9" * 129, timestamp="9999-12-31T23:59:59Z"),
        level(2**63 - 1),
        level(1 - 2**63),
    )
    assert not list(system.quarantine.scan())


def test_facts_beside_foreign_records_are_loaded() -> None:
    system = System()
    system.handle(b"no json", to_wire(ROW))
    assert list(system.warehouse.rows().changes) == [(ROW, None)]


def test_a_batch_of_foreign_records_moves_the_position() -> None:
    system = System()
    system.handle(b"no json", b"[]")
    assert system.warehouse.position("etl", "shard-1") == (10, 0)


def test_records_are_quarantined_before_the_position_moves() -> None:
    system = System(FailingWarehouse(SystemFault("no")))
    with pytest.raises(SystemFault):
        system.handle(b"no json", to_wire(ROW))
    assert len(list(system.quarantine.scan())) == 1


def test_a_quarantine_that_fails_keeps_the_position() -> None:
    system = System()
    system.quarantine.put = lambda refusals: refusals  # type: ignore[method-assign] # never done
    with pytest.raises(BudgetExhausted):
        system.handle(b"no json", to_wire(ROW))
    assert system.warehouse.position("etl", "shard-1") is None


def test_a_transient_fault_is_tried_again() -> None:
    system = System(FailingWarehouse(TransientFault("deadlock"), TransientFault("restart")))
    system.handle(to_wire(ROW))
    assert list(system.warehouse.rows().changes) == [(ROW, None)]


def test_every_record_is_counted_as_a_fact_or_as_rejected() -> None:
    counts = System().handle(to_wire(ROW), b"no json", to_wire(LEVEL))
    assert counts == Counter(read=3, facts=2, rejected=1)


def test_an_empty_batch_leaves_the_warehouse_alone() -> None:
    system = System()
    system.handle()
    assert system.warehouse.position("etl", "shard-1") is None


def behind(sequence: int) -> Start:
    return Start("AFTER_SEQUENCE_NUMBER", sequence)


@pytest.mark.parametrize(
    ("position", "checkpoint", "expected"),
    [
        pytest.param(
            None, Checkpoint(behind(9)), Checkpoint(TRIM_HORIZON), id="an empty warehouse"
        ),
        pytest.param(
            None,
            Checkpoint(behind(9), finished=True),
            Checkpoint(TRIM_HORIZON),
            id="an empty warehouse, a finished shard",
        ),
        pytest.param(
            None, Checkpoint(AT_NOON), Checkpoint(TRIM_HORIZON), id="an empty warehouse, an instant"
        ),
        pytest.param(9, Checkpoint(behind(10)), Checkpoint(behind(9)), id="a restored warehouse"),
        pytest.param(
            9,
            Checkpoint(behind(10), finished=True),
            Checkpoint(behind(9)),
            id="a restored warehouse, a finished shard",
        ),
        pytest.param(10, Checkpoint(behind(10)), Checkpoint(behind(10)), id="level"),
        pytest.param(10, Checkpoint(behind(9)), Checkpoint(behind(9)), id="an older checkpoint"),
        pytest.param(
            10,
            Checkpoint(behind(10), finished=True),
            Checkpoint(behind(10), finished=True),
            id="a finished shard that is all there",
        ),
        pytest.param(
            9,
            Checkpoint(TRIM_HORIZON, finished=True),
            Checkpoint(behind(9)),
            id="finished without a number",
        ),
        pytest.param(9, Checkpoint(TRIM_HORIZON), Checkpoint(TRIM_HORIZON), id="never advanced"),
        pytest.param(9, Checkpoint(AT_NOON), Checkpoint(behind(9)), id="an instant"),
    ],
)
def test_reading_goes_on_from_the_older_of_checkpoint_and_position(
    position: int | None, checkpoint: Checkpoint, expected: Checkpoint
) -> None:
    system = System()
    if position is not None:
        system.warehouse.load(FactBatch("etl", "shard-1", (position, 0), []))
    assert system.handler.resume("shard-1", checkpoint) == expected


def test_a_warehouse_that_is_set_back_under_the_handler_refuses_the_next_batch() -> None:
    system = System()
    system.handle(to_wire(ROW))
    system.warehouse.positions.clear()
    with pytest.raises(FellBehind):
        system.handle(to_wire(LEVEL))
    assert list(system.warehouse.rows().stock) == []


def test_a_start_goes_back_to_where_the_warehouse_is_and_joins_on() -> None:
    system = System()
    system.handle(to_wire(ROW))
    system.warehouse.positions.clear()
    assert system.handler.resume("shard-1", Checkpoint(TRIM_HORIZON)).start == TRIM_HORIZON
    system.handle(to_wire(LEVEL))
    assert len(list(system.warehouse.rows().stock)) == 1


def test_each_batch_says_that_something_was_loaded() -> None:
    system, told = System(), Counter[str]()
    told_of = EtlHandler(
        system.warehouse,
        system.quarantine,
        Backoff(SteppingClock()),
        lambda: told.update(["loaded"]),
    )
    told_of.handle(Batch("shard-1", records([to_wire(ROW)])))
    told_of.handle(Batch("shard-1", []))
    assert told["loaded"] == 1
