"""Steps 4 to 7 by themselves: rounds, lost races, and the order of calls to the outside."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pipeline.adapters.memory import MemoryChangeLog, MemoryCombos, MemoryStates
from pipeline.bootstrap import folds
from pipeline.core import keyed_state
from pipeline.core.changes import (
    ChangeRecorded,
    ComboChanged,
    Effect,
    StockChanged,
    effect_key,
)
from pipeline.core.errors import BudgetExhausted, SystemFault
from pipeline.core.events import PosEvent
from pipeline.core.keyed_state import EPOCH_REVISIONS, Sequenced, StateKey
from pipeline.core.outbox import unpack
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record
from pipeline.ports.states import Commit
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.folding import Folding, FoldTables
from tests.clocks import VirtualClock
from tests.crashes import Hooked
from tests.unit.traffic import ARRIVAL, RULES, SHOP, STYLE, jacket, pants

COMBOS = StateKey("combos", (SHOP, STYLE))
STOCK = StateKey("stock", (SHOP, "J1"))


class Bench:
    """A folding over tables in memory that writes down every call."""

    def __init__(self, effects_max: int = 500, epoch: int = 0) -> None:
        self.states, self.combos = MemoryStates(), MemoryCombos()
        self.change_log = MemoryChangeLog("s")
        self.calls: list[str] = []
        self.published: list[Effect] = []
        self.before_commit: Callable[[], None] = lambda: None
        self.clock = VirtualClock()
        ports: list[Any] = [self.states, self.change_log, self.combos]
        tables = FoldTables(*(Hooked(port, self._around) for port in ports))
        self.folding = Folding(folds(RULES), epoch, effects_max, tables, Backoff(self.clock))

    def _around(self, call: Callable[..., Any], *args: Any) -> Any:
        if call.__name__ == "commit":
            self.before_commit()
        self.calls.append(call.__name__)
        return call(*args)

    def publish(self, effects: Sequence[Effect]) -> None:
        if effects:
            self.calls.append("publish")
            self.published.extend(effects)

    def run(self, key: StateKey, *events: PosEvent, shard_id: str = "shard-0") -> list[Effect]:
        """Fold events of one batch, from sequence number 1 on, into one key."""
        sequenced: list[Sequenced] = [((n, 0), event) for n, event in enumerate(events, 1)]
        self.change_log.record([row(event) for event in events])
        first = Record(b"", Position("s", shard_id, 1), ARRIVAL)
        grouped: Mapping[StateKey, Sequence[Sequenced]] = {key: sequenced}
        return self.folding.run(Batch(shard_id, [first]), grouped, self.publish)


def row(event: PosEvent) -> ChangeRecorded:
    facts = (SHOP, event.transaction_id, event.product_id, STYLE, event.category, event.change)
    return ChangeRecorded(*facts, event.instant, event.source, "shard-0", 1, 0, ARRIVAL)


def test_the_state_is_committed_before_its_effects_are_written() -> None:
    bench = Bench()
    bench.run(COMBOS, jacket(0, "j"), pants(9, "p"))
    assert bench.calls == ["load", "commit", "upsert", "annotate"]


def test_effects_that_were_written_are_left_to_publish() -> None:
    bench = Bench()
    left = bench.run(COMBOS, jacket(0, "j"), pants(9, "p"))
    assert [e for e in left if isinstance(e, ComboChanged)] == list(bench.combos.scan())


def test_a_stock_level_is_published_and_not_written_twice() -> None:
    bench = Bench()
    left = bench.run(STOCK, jacket(0, "j", units=3))
    assert (left, bench.calls) == ([StockChanged(SHOP, "J1", -3, 1)], ["load", "commit"])


def test_a_round_is_delivered_in_full_before_the_next_commit() -> None:
    bench = Bench(effects_max=1)
    bench.run(COMBOS, jacket(0, "j"), pants(9, "p"), jacket(20, "j2"), pants(29, "p2"))
    later = [n for n, call in enumerate(bench.calls) if call == "commit"][1:]
    rounds = [call for call in bench.calls[: later[-1]] if call in ("commit", "upsert", "publish")]
    first = rounds.index("upsert")
    assert rounds[first - 1 : first + 2] == ["commit", "upsert", "publish"]


def test_what_a_round_has_published_is_not_left_to_publish_again() -> None:
    bench = Bench(effects_max=1)
    left = bench.run(COMBOS, jacket(0, "j"), pants(9, "p"), jacket(20, "j2"), pants(29, "p2"))
    assert not {effect_key(e) for e in left} & {effect_key(e) for e in bench.published}


def test_rounds_and_remainder_together_hold_every_combo() -> None:
    bench = Bench(effects_max=1)
    left = bench.run(COMBOS, jacket(0, "j"), pants(9, "p"), jacket(20, "j2"), pants(29, "p2"))
    told = {e for e in (*bench.published, *left) if isinstance(e, ComboChanged)}
    assert told == set(bench.combos.scan())


def test_a_lost_race_folds_again_from_what_the_winner_left() -> None:
    bench = Bench()

    def rival() -> None:
        bench.before_commit = lambda: None
        bench.run(STOCK, jacket(0, "theirs", units=2), shard_id="shard-1")

    bench.before_commit = rival
    assert bench.run(STOCK, jacket(0, "ours")) == [StockChanged(SHOP, "J1", -3, 2)]


def test_a_lost_race_is_followed_by_a_pause() -> None:
    bench = Bench()

    def rival() -> None:
        bench.before_commit = lambda: None
        bench.run(STOCK, jacket(0, "theirs"), shard_id="shard-1")

    bench.before_commit = rival
    bench.run(STOCK, jacket(0, "ours"))
    assert len(bench.clock.pauses) == 1


def test_races_that_are_always_lost_are_given_up() -> None:
    bench = Bench()
    bench.run(STOCK, jacket(0, "first"), shard_id="shard-1")

    def rival() -> None:
        held = bench.states.load([STOCK])[STOCK]
        bench.states.commit([Commit(held._replace(version=held.version + 1), held.version)])

    bench.before_commit = rival
    with pytest.raises(BudgetExhausted, match="commit"):
        bench.run(STOCK, jacket(0, "ours"))


def test_a_batch_that_comes_again_commits_nothing() -> None:
    bench = Bench()
    bench.run(STOCK, jacket(0, "j"))
    bench.calls.clear()
    bench.run(STOCK, jacket(0, "j"))
    assert bench.calls == ["load"]


def test_a_batch_that_comes_again_emits_its_outbox_again() -> None:
    bench = Bench()
    first = bench.run(COMBOS, jacket(0, "j"), pants(9, "p"))
    assert bench.run(COMBOS, jacket(0, "j"), pants(9, "p")) == first


def test_a_later_epoch_wins_over_every_earlier_revision() -> None:
    bench = Bench(epoch=3)
    assert bench.run(STOCK, jacket(0, "j"))[0].revision == 3 * EPOCH_REVISIONS + 1


def test_an_annotation_without_its_row_stops_the_batch() -> None:
    bench = Bench()
    bench.before_commit = bench.change_log.rows.clear
    with pytest.raises(SystemFault, match="no change-log row"):
        bench.run(COMBOS, jacket(0, "j"), pants(9, "p"))


# ------------------------------------------------------------------------- outboxes without room
@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A combo of another shard was committed, its effects not yet delivered; and no room left."""
    bench = Bench()
    bench.run(COMBOS, jacket(0, "j"), pants(9, "p"), shard_id="shard-1")
    bench.combos.items.clear()
    bench.calls.clear()
    monkeypatch.setattr(keyed_state, "ITEM_BYTES_MAX", 0)
    return bench


def test_without_room_the_outboxes_of_others_are_written_first(crowded: Bench) -> None:
    crowded.run(COMBOS, jacket(7_000, "j2"))
    assert crowded.calls == ["load", "upsert", "annotate", "publish", "commit"]


def test_without_room_the_outboxes_of_others_are_delivered(crowded: Bench) -> None:
    crowded.run(COMBOS, jacket(7_000, "j2"))
    combos = [e for e in crowded.published if isinstance(e, ComboChanged)]
    assert len(combos) == 1 and combos == list(crowded.combos.scan())


def test_without_room_the_outboxes_of_others_are_cleared(crowded: Bench) -> None:
    crowded.run(COMBOS, jacket(7_000, "j2"))
    assert unpack(crowded.states.items[COMBOS].marks["shard-1"].outbox) == ()


def test_without_room_the_positions_of_others_stay(crowded: Bench) -> None:
    crowded.run(COMBOS, jacket(7_000, "j2"))
    assert crowded.states.items[COMBOS].marks["shard-1"].order == (2, 0)
