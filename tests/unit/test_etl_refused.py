"""Facts that the warehouse refuses: found by halving, kept in the quarantine, the rest loaded."""

from collections.abc import Sequence

import pytest

from consumers.etl import EtlHandler
from pipeline.adapters.memory import MemoryQuarantine
from pipeline.adapters.memory_warehouse import MemoryWarehouse
from pipeline.core.changes import StockChanged, to_wire
from pipeline.core.errors import BudgetExhausted, SystemFault, TransientFault, ValueRefused
from pipeline.core.positions import Order, Position
from pipeline.core.reasons import FactReason
from pipeline.core.records import Batch, Record
from pipeline.ports.warehouse import FactBatch
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.health import Health
from tests.unit.test_etl import NOON, SteppingClock

POISON = 13


class Picky(MemoryWarehouse):
    """Refuses one value, as a database with a check of its own would."""

    def __init__(self) -> None:
        super().__init__()
        self.offered: list[tuple[int, Order]] = []

    def load(self, batch: FactBatch) -> None:
        """Refuse the whole batch, or load it."""
        self.offered.append((len(batch.facts), batch.last))
        if any(isinstance(fact, StockChanged) and fact.on_hand == POISON for fact in batch.facts):
            raise ValueRefused("23514: unlucky")
        super().load(batch)


class System:
    """The handler between a picky warehouse and a quarantine."""

    def __init__(self) -> None:
        self.warehouse, self.quarantine = Picky(), MemoryQuarantine()
        self.handler = EtlHandler(self.warehouse, self.quarantine, Backoff(SteppingClock()))

    def handle(self, levels: Sequence[int]) -> dict[str, int]:
        """Load a stock level for each product."""
        return dict(self.handler.handle(Batch("shard-1", records(levels))).counts)

    def loaded(self) -> list[int]:
        """Return the levels that are in the warehouse."""
        return sorted(level.on_hand for level in self.warehouse.rows().stock)


def records(levels: Sequence[int]) -> list[Record]:
    return [
        Record(
            to_wire(StockChanged("GB-1", f"P{at}", on_hand, 1)),
            Position("inventory-changes", "shard-1", at),
            NOON,
        )
        for at, on_hand in enumerate(levels, 1)
    ]


def batch_with_poison(at: Sequence[int], size: int = 16) -> list[int]:
    return [POISON if place in at else 100 + place for place in range(size)]


@pytest.mark.parametrize("at", [(), (0,), (15,), (7, 8), (0, 15), (3, 4, 5), tuple(range(16))])
def test_all_but_what_is_refused_is_loaded(at: tuple[int, ...]) -> None:
    system = System()
    system.handle(batch_with_poison(at))
    assert system.loaded() == [100 + place for place in range(16) if place not in at]


@pytest.mark.parametrize("at", [(0,), (15,), (7, 8), tuple(range(16))])
def test_what_is_refused_is_in_the_quarantine_whole(at: tuple[int, ...]) -> None:
    system = System()
    levels = batch_with_poison(at)
    system.handle(levels)
    kept = sorted(system.quarantine.scan(), key=lambda refusal: refusal.record.position.sequence)
    assert [(r.reason, r.record) for r in kept] == [
        (FactReason.REFUSED_VALUE, records(levels)[place]) for place in at
    ]


@pytest.mark.parametrize("at", [(0,), (15,), tuple(range(16))])
def test_the_position_moves_behind_what_is_refused(at: tuple[int, ...]) -> None:
    system = System()
    system.handle(batch_with_poison(at))
    assert system.warehouse.position("etl", "shard-1") == (16, 0)


def test_a_refused_fact_is_counted_as_rejected() -> None:
    assert System().handle(batch_with_poison((7,))) == {"read": 16, "facts": 15, "rejected": 1}


def test_one_refused_fact_costs_loads_in_the_logarithm_of_the_batch() -> None:
    system = System()
    system.handle(batch_with_poison((300,), 512))
    assert len(system.warehouse.offered) <= 2 * 9 + 2


def test_positions_of_the_parts_never_go_back() -> None:
    system = System()
    system.handle(batch_with_poison((2, 9)))
    loaded = [last for _, last in system.warehouse.offered]
    parts = [last for at, last in enumerate(loaded) if last not in loaded[at + 1 :]]
    assert parts == sorted(parts)


def test_a_refused_fact_is_kept_before_the_position_moves_behind_it() -> None:
    system = System()
    system.quarantine.put = lambda refusals: refusals  # type: ignore[method-assign] # never done
    with pytest.raises(BudgetExhausted):
        system.handle(batch_with_poison((15,)))
    assert (system.warehouse.position("etl", "shard-1") or (0, 0)) < (16, 0)


def test_a_batch_with_a_refused_fact_may_come_again() -> None:
    system = System()
    for _ in range(2):
        system.handle(batch_with_poison((7,)))
    assert (len(system.loaded()), len(list(system.quarantine.scan()))) == (15, 1)


def test_a_fault_that_is_no_refusal_is_not_searched_for() -> None:
    system = System()
    system.warehouse.load = _broken  # type: ignore[method-assign]
    with pytest.raises(SystemFault, match="not migrated"):
        system.handle([1, 2])
    assert list(system.quarantine.scan()) == []


def _broken(batch: FactBatch) -> None:
    raise SystemFault("not migrated")


# ------------------------------------------------------------------------------------------ health
class Down(MemoryWarehouse):
    """Does not answer until the given try; notes the consumer's health at each."""

    def __init__(self, answers_at: int) -> None:
        super().__init__()
        self._answers_at = answers_at
        self.handler: EtlHandler | None = None
        self.seen: list[Health] = []

    def load(self, batch: FactBatch) -> None:
        """Answer, or not yet."""
        assert self.handler is not None
        self.seen.append(self.handler.health())
        if len(self.seen) < self._answers_at:
            raise TransientFault("connection refused")
        super().load(batch)


def down(answers_at: int) -> tuple[Down, EtlHandler]:
    warehouse = Down(answers_at)
    warehouse.handler = EtlHandler(warehouse, MemoryQuarantine(), Backoff(SteppingClock()))
    return warehouse, warehouse.handler


def test_a_consumer_that_waits_for_its_warehouse_says_so() -> None:
    warehouse, handler = down(3)
    handler.handle(Batch("shard-1", records([1])))
    assert [health.waiting for health in warehouse.seen] == [
        {},
        {"shard-1": "connection refused"},
        {"shard-1": "connection refused"},
    ]


def test_it_says_for_how_long() -> None:
    warehouse, handler = down(3)
    handler.handle(Batch("shard-1", records([1])))
    assert 0 < warehouse.seen[1].waiting_s < warehouse.seen[2].waiting_s


def test_a_consumer_whose_warehouse_answers_again_is_well() -> None:
    _, handler = down(3)
    handler.handle(Batch("shard-1", records([1])))
    assert handler.health() == Health({}, 0.0)


def test_a_consumer_is_still_waiting_after_its_patience_is_over() -> None:
    _, handler = down(10**9)
    with pytest.raises(BudgetExhausted):
        handler.handle(Batch("shard-1", records([1])))
    assert not handler.health().ok


def test_one_line_tells_that_the_waiting_begins_and_one_that_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, handler = down(5)
    handler.handle(Batch("shard-1", records([1])))
    lines = [record.message for record in caplog.records if record.name == "tillstream.health"]
    assert [line.partition(", after")[0] for line in lines] == [
        "shard-1 waits for the warehouse: connection refused",
        "shard-1: the warehouse answers",
    ]
