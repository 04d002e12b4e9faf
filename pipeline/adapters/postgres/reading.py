"""Rows of the warehouse, back into facts."""

from typing import Any

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    Effect,
    RefusedAs,
    StockChanged,
)

_RENAMED = {"instant": "occurred_at", "sequence": "sequence_number", "sub": "sub_sequence_number"}
_INSTANTS = frozenset({"instant", "ingested_at", "paired_at"})


def _select(cls: type[ChangeRecorded | DeliveryRefused | Effect], alias: str) -> str:
    """List a fact's columns, instants as whole microseconds: exact in any year and time zone."""

    def read(field: str) -> str:
        name = f"{alias}.{_RENAMED.get(field, field)}"
        return f"(extract(epoch from {name}) * 1000000)::bigint" if field in _INSTANTS else name

    return ", ".join(map(read, cls._fields))


READ_CHANGES = f"""
select {_select(ChangeRecorded, "c")}, a.revision is not null, {_select(ChangeAnnotated, "a")}
from inventory.fact_change c
left join inventory.change_annotation a using (location, transaction_id)
"""
READ_COMBOS = f"select {_select(ComboChanged, 'c')} from inventory.fact_combo c"
READ_STOCK = f"select {_select(StockChanged, 's')} from inventory.stock_level s"
READ_REFUSALS = f"select {_select(DeliveryRefused, 'r')} from inventory.fact_refusal r"

_CHANGE_WIDTH = len(ChangeRecorded._fields)


def change(row: tuple[Any, ...]) -> tuple[ChangeRecorded, ChangeAnnotated | None]:
    """Read a row of READ_CHANGES."""
    found = ChangeRecorded(*row[:_CHANGE_WIDTH])
    found = found._replace(sequence=int(found.sequence))  # a Decimal until now
    annotated, *annotation = row[_CHANGE_WIDTH:]
    if not annotated:
        return found, None
    note = ChangeAnnotated(*annotation)
    return found, note._replace(combo_ids=tuple(note.combo_ids))


def combo(row: tuple[Any, ...]) -> ComboChanged:
    """Read a row of READ_COMBOS."""
    found = ComboChanged(*row)
    return found._replace(status=ComboStatus(found.status))


def refusal(row: tuple[Any, ...]) -> DeliveryRefused:
    """Read a row of READ_REFUSALS."""
    found = DeliveryRefused(*row)
    return found._replace(
        verdict=RefusedAs(found.verdict), reason=found.reason or "", sequence=int(found.sequence)
    )
