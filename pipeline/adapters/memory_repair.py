"""The repair ports in memory, over the tables of the ports whose contents they mend."""

from collections.abc import Mapping, Sequence

from pipeline.core.changes import ChangeAnnotated, ChangeRecorded, ComboChanged, Effect, TableFact
from pipeline.core.changes import effect_key as key_of
from pipeline.core.reconciling import Member, members
from pipeline.ports.change_log import RowKey
from pipeline.ports.warehouse_repair import Orphan

Changes = dict[RowKey, ChangeRecorded]
Effects = dict[tuple[str, ...], Effect]


class MemoryTableRepair:
    """`ports.table_repair.TableRepair`."""

    def __init__(
        self,
        rows: Changes,
        annotations: Mapping[RowKey, ChangeAnnotated],
        combos: Mapping[str, ComboChanged],
    ) -> None:
        self._rows, self._annotations, self._combos = rows, annotations, combos

    def rows(
        self, keys: Sequence[RowKey]
    ) -> Mapping[RowKey, tuple[ChangeRecorded, ChangeAnnotated | None] | None]:
        """Read rows."""
        found = {key: self._rows.get(key) for key in keys}
        return {
            key: None if row is None else (row, self._annotations.get(key))
            for key, row in found.items()
        }

    def combos(self, combo_ids: Sequence[str]) -> Mapping[str, ComboChanged | None]:
        """Read combos."""
        return {combo_id: self._combos.get(combo_id) for combo_id in combo_ids}

    def restore(self, rows: Sequence[ChangeRecorded]) -> Sequence[ChangeRecorded]:
        """Replace rows that are there."""
        for row in rows:
            if (row.location, row.transaction_id) in self._rows:
                self._rows[row.location, row.transaction_id] = row
        return ()


class MemoryWarehouseRepair:
    """`ports.warehouse_repair.WarehouseRepair`."""

    def __init__(self, changes: Changes, effects: Effects, dimensions: set[Member]) -> None:
        self._changes, self._effects, self._dimensions = changes, effects, dimensions

    def _used(self) -> set[Member]:
        facts = [*self._changes.values(), *self._effects.values()]
        return {member for fact in facts for member in members(fact)}

    def orphans(self) -> Sequence[Orphan]:
        """Compare the dimensions with the facts."""
        used, there = self._used(), set(self._dimensions)
        return [
            Orphan(name, key, (name, key) in used)
            for name, key in sorted(used ^ there)
            if name != "date" or (name, key) in used
        ]

    def mend(self, orphans: Sequence[Orphan]) -> None:
        """Remove dimension rows, and add dates."""
        self._dimensions |= {
            ("date", o.key) for o in orphans if o.missing and o.dimension == "date"
        }
        gone = {(orphan.dimension, orphan.key) for orphan in orphans if not orphan.missing}
        self._dimensions -= gone - self._used()

    def discard(self, facts: Sequence[TableFact]) -> None:
        """Remove rows that say exactly this."""
        for fact in facts:
            if isinstance(fact, ChangeRecorded):
                key = fact.location, fact.transaction_id
                if self._changes.get(key) == fact:
                    del self._changes[key]
            elif self._effects.get(key_of(fact)) == fact:
                del self._effects[key_of(fact)]
