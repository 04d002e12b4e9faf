"""Repairs of the warehouse on PostgreSQL: orphans of the dimensions, and rows to discard."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import orjson

from pipeline.adapters.postgres.server import PostgresServer, server
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    Effect,
    StockChanged,
    TableFact,
)
from pipeline.core.instants import format_instant
from pipeline.core.reconciling import Dimension
from pipeline.ports.warehouse_repair import Orphan

_RowType: TypeAlias = type[ChangeRecorded] | type[Effect]

_TEXT = 'text collate "C"'
_RENAMED = {"instant": "occurred_at", "sequence": "sequence_number", "sub": "sub_sequence_number"}
_INSTANTS = frozenset({"instant", "ingested_at", "paired_at"})
_NUMBERS = frozenset({"change", "sub", "combo_count", "quantity", "voided", "on_hand", "revision"})
_OTHER_TYPES = {"sequence": "numeric", "late": "boolean", "combo_ids": "text[]"}

# A location with a time zone was set up by hand, perhaps before its first sale.
_ORPHANS: Mapping[Dimension, str] = {
    "location": """
with used as (
    select location from inventory.fact_change union select location from inventory.stock_level
)
select location, d.location is null
from used full join inventory.dim_location d using (location)
where d.location is null or (used.location is null and d.time_zone = 'UTC')
order by 1
""",
    "product": """
with used as (
    select product_id from inventory.fact_change union select product_id from inventory.stock_level
)
select product_id, d.product_id is null
from used full join inventory.dim_product d using (product_id)
where d.product_id is null or used.product_id is null
order by 1
""",
    "date": """
with used as (select distinct (occurred_at at time zone 'UTC')::date as date
              from inventory.fact_change)
select to_char(date, 'YYYY-MM-DD'), true
from used where not exists (select from inventory.dim_date d where d.date = used.date)
order by 1
""",
}
_PRUNE: Mapping[Dimension, str] = {
    "location": """
delete from inventory.dim_location d where location = any(%s::text[])
    and not exists (select from inventory.fact_change f where f.location = d.location)
    and not exists (select from inventory.stock_level s where s.location = d.location)
""",
    "product": """
delete from inventory.dim_product d where product_id = any(%s::text[])
    and not exists (select from inventory.fact_change f where f.product_id = d.product_id)
    and not exists (select from inventory.stock_level s where s.product_id = d.product_id)
""",
}
_TABLES: Mapping[_RowType, tuple[str, tuple[str, ...]]] = {
    ChangeRecorded: ("fact_change", ("location", "transaction_id", "instant")),
    ChangeAnnotated: ("change_annotation", ("location", "transaction_id")),
    ComboChanged: ("fact_combo", ("combo_id",)),
    StockChanged: ("stock_level", ("location", "product_id")),
}
_ADD_DATES = """
insert into inventory.dim_date (date) select d from unnest(%s::date[]) d order by d
on conflict do nothing
"""
_LOCK = "lock table inventory.dim_location, inventory.dim_product in share row exclusive mode"
_LIMITS = "select set_config('lock_timeout', '30000', true)"


class PostgresWarehouseRepair:
    """`ports.warehouse_repair.WarehouseRepair`; one connection a call."""

    def __init__(self, where: str | PostgresServer) -> None:
        self._server = server(where)

    def orphans(self) -> Sequence[Orphan]:
        """Ask for each dimension what it has and what the facts use."""
        with self._server.transaction(_LIMITS) as connection:
            return [
                Orphan(dimension, key, missing)
                for dimension, question in _ORPHANS.items()
                for key, missing in connection.execute(question)
            ]

    def mend(self, orphans: Sequence[Orphan]) -> None:
        """Remove dimension rows that no fact uses; add dates.

        A loader writes the dimension first and its facts after that, in one transaction, so the
        lock keeps it from using a row that is about to go.
        """
        gone: dict[Dimension, list[str]] = {}
        for orphan in orphans:
            gone.setdefault(orphan.dimension, []).extend([] if orphan.missing else [orphan.key])
        dates = [o.key for o in orphans if o.missing and o.dimension == "date"]
        with self._server.transaction(_LIMITS) as connection:
            connection.execute(_ADD_DATES, (dates,))
            connection.execute(_LOCK)
            for dimension, statement in _PRUNE.items():
                connection.execute(statement, (gone.get(dimension, []),))

    def discard(self, facts: Sequence[TableFact]) -> None:
        """Delete where every column is as it was seen."""
        with self._server.transaction(_LIMITS) as connection:
            for kind in _TABLES:
                rows = [_row(fact) for fact in facts if type(fact) is kind]
                if rows:
                    connection.execute(_discard(kind).encode(), (orjson.dumps(rows).decode(),))


def _column(field: str) -> str:
    return _RENAMED.get(field, field)


def _type(field: str) -> str:
    if field in _INSTANTS:
        return "timestamptz"
    return "bigint" if field in _NUMBERS else _OTHER_TYPES.get(field, _TEXT)


def _discard(kind: _RowType) -> str:
    table, key = _TABLES[kind]
    typed = ", ".join(f"{_column(field)} {_type(field)}" for field in kind._fields)
    same_key = " and ".join(f"t.{_column(field)} = r.{_column(field)}" for field in key)
    others = [_column(field) for field in kind._fields if field not in key]
    mine, theirs = (", ".join(f"{side}.{name}" for name in others) for side in "tr")
    return (
        f"delete from inventory.{table} t using json_to_recordset(%s::json) r({typed})"
        f" where {same_key} and ({mine}) is not distinct from ({theirs})"
    )


def _row(fact: TableFact) -> dict[str, object]:
    row: dict[str, object] = {}
    for field, value in zip(fact._fields, fact, strict=True):
        if field in _INSTANTS and isinstance(value, int):
            value = format_instant(value)
        row[_column(field)] = str(value) if field == "sequence" else value
    return row
