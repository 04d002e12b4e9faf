"""`ports.warehouse_rebuild.WarehouseRebuild` in memory."""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import TypeVar

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    Effect,
    StockChanged,
    TableFact,
    effect_key,
)
from pipeline.core.reconciling import (
    ChangeTotals,
    ComboTotals,
    Member,
    Part,
    StockTotals,
    change_totals,
    combo_totals,
    members,
    stock_totals,
)
from pipeline.ports.change_log import RowKey
from pipeline.ports.warehouse_rebuild import Doubt, PartTotals, Read, Swapped

Changes = dict[RowKey, ChangeRecorded]
Effects = dict[tuple[str, ...], Effect]
_Key = TypeVar("_Key", RowKey, tuple[str, ...])
_Kept = TypeVar("_Kept", ChangeRecorded, Effect)


class MemoryWarehouseRebuild:
    """A shadow of dictionaries, over those of the warehouse."""

    def __init__(self, changes: Changes, effects: Effects, dimensions: set[Member]) -> None:
        self._changes, self._effects, self._dimensions = changes, effects, dimensions
        self._lock = Lock()
        self._job: tuple[Part, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self._rows: Changes = {}
        self._newest: Effects = {}
        self._units: set[str] = set()

    def begin(self, part: Part, segments: int) -> frozenset[str]:
        """Go on, or start anew."""
        if self._job != (part, segments):
            self._job = part, segments
            self._forget()
        return frozenset(self._units)

    def stage(self, unit: str, facts: Sequence[TableFact], *, last: bool) -> None:
        """Keep the newest of everything."""
        with self._lock:
            for fact in facts:
                if isinstance(fact, ChangeRecorded):
                    self._rows[fact.location, fact.transaction_id] = fact
                    continue
                held = self._newest.get(effect_key(fact))
                if held is None or held.revision <= fact.revision:
                    self._newest[effect_key(fact)] = fact
            if last:
                self._units.add(unit)

    def swap(self, read: Read, *, remove_unknown: bool) -> Swapped:
        """Replace what belongs to the part."""
        assert self._job is not None
        self.stage("", read(self._doubts()), last=False)
        before = _totals(*self._live())
        unknown = len(self._live()[0].keys() - self._rows.keys())
        if unknown and not remove_unknown:
            return Swapped(False, unknown, before, _totals(self._rows, self._newest))
        _replace(self._changes, self._live()[0], self._rows)
        _replace(self._effects, self._live()[1], self._newest)
        for fact in (*self._rows.values(), *self._newest.values()):
            self._dimensions |= members(fact)
        after = _totals(self._rows, self._newest)
        self.discard()
        return Swapped(True, unknown, before, after)

    def discard(self) -> None:
        """Drop the shadow."""
        self._job = None
        self._forget()

    def _live(self) -> tuple[Changes, Effects]:
        """Take what belongs to the part; an annotation belongs where its row does."""
        assert self._job is not None
        part, _ = self._job
        changes = {k: r for k, r in self._changes.items() if part.holds(r.location, r.instant)}
        effects = {}
        for key, effect in self._effects.items():
            row = (effect.location, key[-1])
            instant = effect.paired_at if isinstance(effect, ComboChanged) else None
            of_part = row in changes or row in self._rows or part.since is None
            if part.holds(effect.location, instant) and (
                of_part or not isinstance(effect, ChangeAnnotated)
            ):
                effects[key] = effect
        return changes, effects

    def _doubts(self) -> list[Doubt]:
        changes, effects = self._live()
        unknown = [Doubt(("change", *key), 0) for key in changes.keys() - self._rows.keys()]
        newer = [
            Doubt(key, effect.revision)
            for key, effect in effects.items()
            if key not in self._newest or self._newest[key].revision < effect.revision
        ]
        return [*unknown, *newer]


def _replace(
    live: dict[_Key, _Kept], part: Mapping[_Key, _Kept], shadow: Mapping[_Key, _Kept]
) -> None:
    for key in part:
        del live[key]
    live.update(shadow)


def _totals(changes: Changes, effects: Effects) -> PartTotals:
    kinds: tuple[list[ComboChanged], list[StockChanged]] = (
        [effect for effect in effects.values() if isinstance(effect, ComboChanged)],
        [effect for effect in effects.values() if isinstance(effect, StockChanged)],
    )
    return PartTotals(
        ChangeTotals(*_sums(change_totals(changes.values()).values(), 3)),
        ComboTotals(*_sums(combo_totals(kinds[0]).values(), 3)),
        StockTotals(*_sums(stock_totals(kinds[1]).values(), 2)),
    )


def _sums(totals: Iterable[tuple[int, ...]], width: int) -> list[int]:
    return [sum(column) for column in zip(*totals, strict=True)] or [0] * width
