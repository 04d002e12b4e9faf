"""Rebuilds on PostgreSQL: a shadow schema, and a swap that is a difference, not a renaming.

The shadow is the loader's own staging table, kept: unlogged, in a schema of its own, with a note of
the units that are complete. A crash of the server empties both, and the rebuild starts anew.

The swap deletes what the warehouse has otherwise than the shadow, and then lets the loader's own
statements load what is missing. Rejected: renaming the tables. Views, grants and row security
belong to the tables that they were made for, and partitions to theirs. Rejected: exchanging
partitions. It locks readers out, and a part of one location is no partition.

Loaders are kept out while the swap runs, by a lock on the tables that all of them write, taken in
the order in which they write them; readers are not. A loader that waits for too long offers its
batch again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString, TypeAlias

import orjson

from pipeline.adapters.postgres import staging
from pipeline.adapters.postgres.server import Connection, PostgresServer, server
from pipeline.core.changes import ChangeRecorded, TableFact
from pipeline.core.errors import SystemFault
from pipeline.core.instants import format_instant
from pipeline.core.reconciling import ChangeTotals, ComboTotals, Part, StockTotals
from pipeline.ports.warehouse_rebuild import Doubt, PartTotals, Read, Swapped

_Parameters: TypeAlias = Mapping[str, object]

_EXISTS = "select to_regclass('inventory_rebuild.job') is not null"
_DROP = "drop schema if exists inventory_rebuild cascade"
_KNOWN_JOB = """
select exists (select from inventory_rebuild.job
               where what = %s and begun_at > now() - interval '1 day')
"""
_CREATE: Sequence[LiteralString] = (
    "create schema inventory_rebuild",
    "create unlogged table inventory_rebuild.staged (like pg_temp.staged)",
    "create unlogged table inventory_rebuild.unit (name text primary key)",
    """
create unlogged table inventory_rebuild.job (
    what text not null, begun_at timestamptz not null default now())
""",
    """
create view inventory_rebuild.change as
select distinct location, transaction_id, instant as occurred_at, product_id, base_product_id,
    category, number as change, source, shard_id, sequence_number, sub_sequence_number, ingested_at
from inventory_rebuild.staged where kind = 'c'
""",
    """
create view inventory_rebuild.annotation as
select distinct on (location, transaction_id) location, transaction_id, combo_ids,
    number as combo_count, flag as late, revision
from inventory_rebuild.staged where kind = 'a'
order by location, transaction_id, revision desc
""",
    """
create view inventory_rebuild.combo as
select distinct on (combo_id) combo_id, location, base_product_id,
    transaction_id as jacket_transaction_id, pants_transaction_id, instant as paired_at,
    number as quantity, voided, status, revision
from inventory_rebuild.staged where kind = 'o'
order by combo_id, revision desc
""",
    """
create view inventory_rebuild.stock as
select distinct on (location, product_id) location, product_id, number as on_hand, revision
from inventory_rebuild.staged where kind = 's'
order by location, product_id, revision desc
""",
)
_COPY = "copy inventory_rebuild.staged from stdin"
_UNIT = "insert into inventory_rebuild.unit values (%s) on conflict do nothing"
_MONTHS = """
select distinct to_char(date_trunc('month', instant, 'UTC') at time zone 'UTC', 'YYYY-MM-DD')
from inventory_rebuild.staged where kind = 'c'
"""
_LOCK = """
lock table inventory.dim_location, inventory.dim_product, inventory.fact_change,
    inventory.change_annotation, inventory.fact_combo, inventory.stock_level
in share row exclusive mode
"""
# The swap sorts and joins whole parts, once; with the default of 4 MB it would do so on disk.
_LIMITS = """
select set_config('lock_timeout', '30000', true), set_config('timezone', 'UTC', true),
    set_config('work_mem', '128MB', true)
"""

# What belongs to the part. An annotation belongs where its row does, in warehouse or shadow.
_HERE = "(%(location)s::text is null or t.location = %(location)s)"
_SINCE = "(%(since)s::timestamptz is null or {} >= %(since)s::timestamptz)"
_OF_ROW = """
    (%(since)s::timestamptz is null
     or exists (select from inventory.fact_change f where f.location = t.location
                and f.transaction_id = t.transaction_id
                and f.occurred_at >= %(since)s::timestamptz)
     or exists (select from inventory_rebuild.change f where f.location = t.location
                and f.transaction_id = t.transaction_id))
"""
_PARTS: Mapping[str, str] = {
    "change": f"{_HERE} and {_SINCE.format('t.occurred_at')}",
    "annotation": f"{_HERE} and {_OF_ROW}",
    "combo": f"{_HERE} and {_SINCE.format('t.paired_at')}",
    "stock": _HERE,
}
_TABLES: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "change": (
        "fact_change",
        ("location", "transaction_id", "occurred_at"),
        (
            *("product_id", "base_product_id", "category", "change", "source", "shard_id"),
            *("sequence_number", "sub_sequence_number", "ingested_at"),
        ),
    ),
    "annotation": (
        "change_annotation",
        ("location", "transaction_id"),
        ("combo_ids", "combo_count", "late", "revision"),
    ),
    "combo": (
        "fact_combo",
        ("combo_id",),
        (
            *("location", "base_product_id", "jacket_transaction_id", "pants_transaction_id"),
            *("paired_at", "quantity", "voided", "status", "revision"),
        ),
    ),
    "stock": ("stock_level", ("location", "product_id"), ("on_hand", "revision")),
}


def _joined(keys: Sequence[str]) -> str:
    return " and ".join(f"t.{key} = s.{key}" for key in keys)


def _doubts(kind: str) -> str:
    """Select rows of the warehouse that the shadow lacks or has older; a row goes by its key."""
    table, keys, _ = _TABLES[kind]
    revision = "0" if kind == "change" else "t.revision"
    keys = keys[:2]
    older = "" if kind == "change" else " or t.revision > s.revision"
    return (
        f"select array[{', '.join(f't.{key}' for key in keys)}], {revision}::bigint"
        f" from inventory.{table} t left join inventory_rebuild.{kind} s on {_joined(keys)}"
        f" where {_PARTS[kind]} and (s.{keys[0]} is null{older})"
    )


def _delete(kind: str) -> str:
    """Delete rows of the part that are not in the shadow exactly as they are."""
    table, keys, others = _TABLES[kind]
    mine, theirs = (", ".join(f"{side}.{name}" for name in others) for side in "ts")
    return (
        f"delete from inventory.{table} t where {_PARTS[kind]} and not exists ("
        f"select from inventory_rebuild.{kind} s where {_joined(keys)}"
        f" and ({mine}) is not distinct from ({theirs}))"
    )


# After the deletions: what is not there goes into the loader's staging table, for its statements.
_MISSING = """
insert into pg_temp.staged select s.* from inventory_rebuild.staged s
where case s.kind
    when 'c' then not exists (
        select from inventory.fact_change t where t.location = s.location
            and t.transaction_id = s.transaction_id and t.occurred_at = s.instant)
    when 'a' then not exists (
        select from inventory.change_annotation t where t.location = s.location
            and t.transaction_id = s.transaction_id and t.revision >= s.revision)
    when 'o' then not exists (
        select from inventory.fact_combo t
        where t.combo_id = s.combo_id and t.revision >= s.revision)
    else not exists (
        select from inventory.stock_level t where t.location = s.location
            and t.product_id = s.product_id and t.revision >= s.revision)
end
"""
_LOAD: Sequence[LiteralString] = (
    staging.PRODUCTS,
    staging.CHANGES,
    staging.ANNOTATIONS,
    staging.COMBOS,
    staging.STOCK,
)
# A product that was described by a row that is gone is described by its earliest row that is there.
_DESCRIBE = """
update inventory.dim_product d set (described_at, base_product_id, category) = (
    select f.occurred_at, f.base_product_id, f.category from inventory.fact_change f
    where f.product_id = d.product_id order by 1, 2, 3 limit 1)
where d.described_at is not null and not exists (
    select from inventory.fact_change f where f.product_id = d.product_id
        and f.occurred_at = d.described_at and f.base_product_id = d.base_product_id
        and f.category = d.category)
"""


def _totals(source: str, parts: Mapping[str, str]) -> str:
    """Add a part up; `source` is a pattern for the names of its tables."""
    change, combo, stock = (source.format(*_name(kind)) for kind in ("change", "combo", "stock"))
    return f"""
select (select array[count(*), coalesce(sum(abs(change)), 0), coalesce(sum(change), 0)]
        from {change} t where {parts["change"]}),
       (select array[count(*), coalesce(sum(quantity), 0), coalesce(sum(voided), 0)]
        from {combo} t where status <> 'retracted' and {parts["combo"]}),
       (select array[count(*), coalesce(sum(on_hand), 0)] from {stock} t where {parts["stock"]})
"""


def _name(kind: str) -> tuple[str, str]:
    return kind, _TABLES[kind][0]


_LIVE = _totals("inventory.{1}", _PARTS)
_SHADOW = _totals("inventory_rebuild.{0}", dict.fromkeys(_PARTS, "true"))


class PostgresWarehouseRebuild:
    """`ports.warehouse_rebuild.WarehouseRebuild`, for whoever owns the schema.

    `time_zone` is what locations get that were never seen before, as with the loader.
    """

    def __init__(self, where: str | PostgresServer, *, time_zone: str = "UTC") -> None:
        self._server, self._time_zone = server(where), time_zone
        self._part = Part()

    def begin(self, part: Part, segments: int) -> frozenset[str]:
        """Look for the shadow of this part; make it where there is none."""
        self._part = part
        what = orjson.dumps([part.location, part.since, segments]).decode()
        with self._server.transaction(_LIMITS) as connection:
            if _one(connection.execute(_EXISTS)) and _one(connection.execute(_KNOWN_JOB, (what,))):
                found = connection.execute("select name from inventory_rebuild.unit")
                return frozenset(name for (name,) in found)
            connection.execute(_DROP)
            connection.execute(staging.CREATE)
            for statement in _CREATE:
                connection.execute(statement)
            connection.execute("insert into inventory_rebuild.job (what) values (%s)", (what,))
            return frozenset()

    def stage(self, unit: str, facts: Sequence[TableFact], *, last: bool) -> None:
        """Copy facts into the shadow, in one transaction with the note that they were the last."""
        with self._server.transaction(_LIMITS) as connection:
            _stage(connection, facts)
            if last:
                connection.execute(_UNIT, (unit,))

    def swap(self, read: Read, *, remove_unknown: bool) -> Swapped:
        """Settle doubts, lock, settle the few that came since, delete, load, drop."""
        settled = self._settle(read)
        parameters = self._parameters()
        with self._server.transaction(_LIMITS) as connection:
            connection.execute(_LOCK)
            doubts = _doubted(connection, parameters)
            fresh = [doubt for doubt in doubts if doubt not in settled]
            facts = read(fresh) if fresh else ()
            _stage(connection, facts)
            before = _read_totals(_run(connection, _LIVE, parameters))
            after = _read_totals(_run(connection, _SHADOW, {}))
            unknown = _unknown(doubts, facts)
            if unknown and not remove_unknown:
                connection.rollback()
                return Swapped(False, unknown, before, after)
            self._replace(connection, parameters)
        return Swapped(True, unknown, before, after)

    def discard(self) -> None:
        """Drop the shadow's schema."""
        with self._server.transaction(_LIMITS) as connection:
            connection.execute(_DROP)

    def _settle(self, read: Read) -> frozenset[Doubt]:
        """Find out what is newer and what is wrong, while loaders are at work.

        A row that is still the same when they are locked out was told wrong or newer by now.
        """
        with self._server.transaction(_LIMITS) as connection:
            if not _one(connection.execute(_EXISTS)):
                raise SystemFault(
                    "the shadow is gone: its swap may have been done; audit, then see"
                )
            doubts = _doubted(connection, self._parameters())
        facts = read(doubts) if doubts else ()
        with self._server.transaction(_LIMITS) as connection:
            _stage(connection, facts)
            connection.execute("analyze inventory_rebuild.staged")
            months = [month for (month,) in connection.execute(_MONTHS)]
            connection.execute(staging.PARTITIONS, (months,))
            connection.execute(staging.DATES, (months,))
        return frozenset(doubts)

    def _replace(self, connection: Connection, parameters: _Parameters) -> None:
        for kind in _TABLES:
            _run(connection, _delete(kind), parameters)
        connection.execute(staging.CREATE)
        connection.execute(_MISSING)
        connection.execute(staging.LOCATIONS, (self._time_zone,))
        for statement in _LOAD:
            connection.execute(statement)
        connection.execute(_DESCRIBE)
        connection.execute(_DROP)

    def _parameters(self) -> dict[str, object]:
        since = None if self._part.since is None else format_instant(self._part.since)
        return {"location": self._part.location, "since": since}


def _run(connection: Connection, statement: str, parameters: _Parameters) -> Any:
    # Composed of this module's own constants alone; what comes from outside are parameters.
    return connection.execute(statement.encode(), parameters)


def _stage(connection: Connection, facts: Sequence[TableFact]) -> None:
    if facts:
        with connection.cursor().copy(_COPY) as copy:
            copy.write(staging.stage(facts).text)


def _doubted(connection: Connection, parameters: _Parameters) -> list[Doubt]:
    return [
        Doubt((kind, *key), revision)
        for kind in _TABLES
        for key, revision in _run(connection, _doubts(kind), parameters)
    ]


def _unknown(doubts: Iterable[Doubt], facts: Iterable[TableFact]) -> int:
    """Count the changes that were doubted and that the tables, asked for them, did not know."""
    known = {("change", *fact[:2]) for fact in facts if isinstance(fact, ChangeRecorded)}
    return sum(doubt.key[0] == "change" and doubt.key not in known for doubt in doubts)


def _read_totals(cursor: Any) -> PartTotals:
    changes, combos, stock = ([int(value) for value in sums] for sums in cursor.fetchone())
    return PartTotals(ChangeTotals(*changes), ComboTotals(*combos), StockTotals(*stock))


def _one(cursor: Any) -> Any:
    return cursor.fetchone()[0]
