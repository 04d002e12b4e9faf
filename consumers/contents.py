"""What the tables and the warehouse hold, read side by side, and where they differ."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from pipeline.bootstrap import Ports
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    DeliveryRefused,
    RefusedAs,
    StockChanged,
)
from pipeline.core.instants import format_instant
from pipeline.core.keyed_state import KeyedState
from pipeline.core.reconciling import (
    EVERYTHING,
    Check,
    Finding,
    Part,
    Place,
    change_place,
    combo_place,
    compare,
    refusal_place,
    stock_place,
)
from pipeline.core.rules import Rules
from pipeline.core.step import Refusal, refused_of
from pipeline.core.stock import StockFold

Key: TypeAlias = tuple[str, ...]
_INSTANTS = frozenset({"instant", "ingested_at", "paired_at"})


class Contents(NamedTuple):
    """One side, by key: rows, their annotations, combos (retracted ones too), stock levels.

    A transaction that has two rows at its location, as can be in the warehouse alone, has the
    second one under a key of three parts, with its instant.
    """

    changes: dict[Key, ChangeRecorded]
    notes: dict[Key, ChangeAnnotated]
    combos: dict[Key, ComboChanged]
    stock: dict[Key, StockChanged]

    def annotated(self) -> list[tuple[ChangeRecorded, ChangeAnnotated | None]]:
        """List rows with their annotations, sorted by key."""
        return [(row, self.notes.get(key)) for key, row in sorted(self.changes.items())]


Sides: TypeAlias = tuple[Contents, Contents]
"""The tables and the warehouse."""


class Compared(NamedTuple):
    """Both sides, and in what they differ."""

    tables: Contents
    warehouse: Contents
    findings: list[Finding]


_Annotated: TypeAlias = Iterable[tuple[ChangeRecorded, ChangeAnnotated | None]]


def read_sides(ports: Ports, part: Part = EVERYTHING) -> Sides:
    """Read both sides, the warehouse first.

    Whatever reaches it was in the tables before. So what only the warehouse has is a fault, even
    while consumers run; what it lacks may be on its way.
    """
    warehouse = read_warehouse(ports, part)
    stock = levels(ports.states.scan(StockFold.name), part)
    return gather(ports.change_log.scan(), ports.combos.scan(), stock, part), warehouse


def read_warehouse(ports: Ports, part: Part = EVERYTHING) -> Contents:
    """Read PostgreSQL's side."""
    rows = ports.warehouse.rows()
    return gather(rows.changes, rows.combos, rows.stock, part)


def levels(states: Iterable[KeyedState], part: Part = EVERYTHING) -> Iterable[StockChanged]:
    """Read stock states as the facts that they stand for."""
    for state in states:
        location, product_id = state.key.parts
        if part.holds(location):
            yield StockChanged(location, product_id, int(state.body), state.version)


def gather(
    changes: _Annotated,
    combos: Iterable[ComboChanged],
    stock: Iterable[StockChanged],
    part: Part = EVERYTHING,
) -> Contents:
    """Sort one side's rows into tables by key, as far as they belong to the part."""
    found = Contents(
        {},
        {},
        {
            (combo.combo_id,): combo
            for combo in combos
            if part.holds(combo.location, combo.paired_at)
        },
        {
            (level.location, level.product_id): level
            for level in stock
            if part.holds(level.location)
        },
    )
    for row, note in changes:
        if part.holds(row.location, row.instant):
            key: Key = (row.location, row.transaction_id)
            if key in found.changes:
                key = *key, format_instant(row.instant)
            found.changes[key] = row
            if note is not None:
                found.notes[key[:2]] = note
    return found


def sink_findings(tables: Contents, warehouse: Contents) -> list[Finding]:
    """Say what the warehouse has otherwise than the tables, revisions included."""

    def note_place(note: ChangeAnnotated) -> Place:
        key = note.location, note.transaction_id
        return change_place(tables.changes.get(key) or warehouse.changes[key])

    return [
        *compare(Check.WAREHOUSE_CHANGE, warehouse.changes, tables.changes, change_place),
        *compare(Check.WAREHOUSE_NOTE, warehouse.notes, tables.notes, note_place),
        *compare(Check.WAREHOUSE_COMBO, warehouse.combos, tables.combos, combo_place),
        *compare(Check.WAREHOUSE_STOCK, warehouse.stock, tables.stock, stock_place),
    ]


def refusal_findings(
    kept: Iterable[Refusal], told: Iterable[DeliveryRefused], rules: Rules
) -> list[Finding]:
    """Say where the warehouse tells otherwise of conflicts and rejected records than quarantine.

    Duplicates are in no table to compare them with.
    """
    wanted = {_place_of(fact): fact for fact in (refused_of(refusal, rules) for refusal in kept)}
    found = {_place_of(fact): fact for fact in told if fact.verdict is not RefusedAs.DUPLICATE}
    return list(compare(Check.WAREHOUSE_REFUSAL, found, wanted, refusal_place))


def _place_of(fact: DeliveryRefused) -> Key:
    return fact.shard_id, str(fact.sequence), str(fact.sub)


def in_words(finding: Finding) -> str:
    """Say one finding in a line; of two values only the fields that differ."""
    found, wanted = _fields(finding.found), _fields(finding.wanted)
    if finding.found is not None and finding.wanted is not None:
        same = {name for name in found if wanted.get(name) == found[name]}
        found, wanted = (
            {name: value for name, value in side.items() if name not in same}
            for side in (found, wanted)
        )
    place, name = " ".join(filter(None, finding.place)), "/".join(finding.key)
    said, must = _listed(found), _listed(wanted)
    return f"{finding.kind} {finding.check} ({place}) {name}: is {said}, must be {must}"


def _fields(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    return dict(value._asdict()) if hasattr(value, "_asdict") else {"": value}


def _listed(fields: Mapping[str, Any]) -> str:
    said = ((name, value) for name, value in fields.items() if value is not None)
    told = ((name, format_instant(v) if name in _INSTANTS else v) for name, v in said)
    return ", ".join(f"{name} {value}".strip() for name, value in told) or "nothing"
