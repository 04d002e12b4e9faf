"""The warehouse on PostgreSQL: a batch is one transaction of upserts, each guarded by revision.

How rows travel. Each table takes its share of a batch in one statement with one JSON parameter that
the server turns into rows (`json_to_recordset`). Measured with mixed facts, JSON = 1: in batches of
500, COPY into a temporary table kept by the connection 0.6 of the rate, COPY into one that each
transaction creates 0.5, arrays through `unnest` 0.7, `executemany` 0.6; in batches of 5,000 COPY is
level to 1.3 times as fast, the others stay behind. A shard's batches are small most of the time,
and no temporary table also means no catalogue churn and no session state, so that a pooler between
us and the server may swap connections. All statements go out in one pipeline: a round trip or two a
batch instead of ten.

Why two loaders cannot deadlock: every load visits the tables in one order and each table's rows in
key order, so whoever waits, waits for a loader that is ahead of it. Should the server see a
deadlock after all, it is a TransientFault like a lost connection: the batch is offered again, which
changes nothing that was already written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias, TypeVar

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolClosed

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    Effect,
    Fact,
    StockChanged,
    merge,
)
from pipeline.core.errors import FellBehind, SystemFault, TransientFault, UsageError
from pipeline.core.instants import DAY, format_instant
from pipeline.core.positions import Order
from pipeline.ports.warehouse import FactBatch, WarehouseRows

CONNECTIONS_MAX = 8
"""One for each shard that loads at once, and some for readers; a small RDS instance allows 80."""
PATIENCE_S = 10.0
"""How long to wait for a connection before the fault is the caller's, whose back-off goes on."""
ROWS_PER_FETCH = 5_000
"""Of a streamed table; some megabytes in memory at a time."""

# Under whatever the DSN says itself. A peer that vanished without a word is noticed in a minute.
_CONNECTION_DEFAULTS: Mapping[str, str | int] = {
    "application_name": "tillstream",
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
# Classes of SQLSTATE that a second try may mend: connection, rollback (deadlock, serialization),
# resources (connections, memory, disk), operator (shutdown, cancel).
# Source: PostgreSQL, appendix A.
_TRANSIENT_CLASSES = frozenset({"08", "40", "53", "57"})
_LOCK_NOT_AVAILABLE = "55P03"
_READ_ONLY = "25006"  # a fail-over left us on the old primary
_NOT_MIGRATED = frozenset({"3F000", "42P01", "42883"})

_Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
_RowType: TypeAlias = type[ChangeRecorded] | type[Effect]
_Read = TypeVar("_Read", ComboChanged, StockChanged)

# ------------------------------------------------------------------------- the statements
_TEXT = 'text collate "C"'
_RENAMED = {"instant": "occurred_at", "sequence": "sequence_number", "sub": "sub_sequence_number"}
_INSTANTS = frozenset({"instant", "ingested_at", "paired_at"})
_NUMBERS = frozenset({"change", "sub", "combo_count", "quantity", "voided", "on_hand", "revision"})
_OTHER_TYPES = {"sequence": "numeric", "late": "boolean", "combo_ids": "text[]"}


def _column(field: str) -> str:
    return _RENAMED.get(field, field)


def _type(field: str) -> str:
    if field in _INSTANTS:
        return "timestamptz"
    return "bigint" if field in _NUMBERS else _OTHER_TYPES.get(field, _TEXT)


def _from_json(cls: _RowType, table: str, key: Sequence[str]) -> str:
    columns = ", ".join(map(_column, cls._fields))
    typed = ", ".join(f"{_column(field)} {_type(field)}" for field in cls._fields)
    return (
        f"insert into inventory.{table} as t ({columns}) select {columns}"
        f" from json_to_recordset(%s::json) as r({typed}) order by {', '.join(key)}"
    )


def _upsert(cls: _RowType, table: str, key: Sequence[str]) -> str:
    values = ", ".join(f"{name} = excluded.{name}" for name in cls._fields if name not in key)
    return (
        f"{_from_json(cls, table, key)} on conflict ({', '.join(key)})"
        f" do update set {values} where excluded.revision > t.revision"
    )


def _select(cls: _RowType, alias: str) -> str:
    """List a fact's columns, instants as whole microseconds: exact in any year and time zone."""

    def read(field: str) -> str:
        name = f"{alias}.{_column(field)}"
        return f"(extract(epoch from {name}) * 1000000)::bigint" if field in _INSTANTS else name

    return ", ".join(map(read, cls._fields))


_WRITES: Mapping[_RowType, str] = {
    ChangeRecorded: _from_json(
        ChangeRecorded, "fact_change", ("location", "transaction_id", "occurred_at")
    )
    + " on conflict do nothing",
    ChangeAnnotated: _upsert(ChangeAnnotated, "change_annotation", ("location", "transaction_id")),
    ComboChanged: _upsert(ComboChanged, "fact_combo", ("combo_id",)),
    StockChanged: _upsert(StockChanged, "stock_level", ("location", "product_id")),
}
_PARTITIONS = "select inventory.ensure_change_partition(d) from unnest(%s::date[]) d order by d"
_DATES = """
insert into inventory.dim_date (date) select d from unnest(%s::date[]) d order by d
on conflict do nothing
"""
_LOCATIONS = """
insert into inventory.dim_location (location)
select l from unnest(%s::text[]) l order by l collate "C"
on conflict do nothing
"""
# What is known already is left out before the conflict: ON CONFLICT locks, and so writes, even the
# rows that its WHERE then leaves alone, and popular products are sold through every shard.
_PRODUCTS = """
insert into inventory.dim_product as t (product_id, described_at, base_product_id, category)
select product_id, described_at, base_product_id, category
from json_to_recordset(%s::json) as r(product_id text collate "C", described_at timestamptz,
    base_product_id text collate "C", category text collate "C")
where not exists (
    select from inventory.dim_product p
    where p.product_id = r.product_id
        and (r.described_at is null or (p.described_at, p.base_product_id, p.category)
            <= (r.described_at, r.base_product_id, r.category)))
order by product_id
on conflict (product_id) do update set described_at = excluded.described_at,
    base_product_id = excluded.base_product_id, category = excluded.category
where t.described_at is null or (excluded.described_at, excluded.base_product_id, excluded.category)
    < (t.described_at, t.base_product_id, t.category)
"""
_MOVE = """
insert into inventory.etl_position as t
    (consumer, shard_id, sequence_number, sub_sequence_number, newest_ingested_at)
values (%s, %s, %s::numeric, %s, %s::timestamptz)
on conflict (consumer, shard_id) do update set sequence_number = excluded.sequence_number,
    sub_sequence_number = excluded.sub_sequence_number, loaded_at = excluded.loaded_at,
    newest_ingested_at = greatest(t.newest_ingested_at, excluded.newest_ingested_at)
where (excluded.sequence_number, excluded.sub_sequence_number)
    > (t.sequence_number, t.sub_sequence_number)
"""
_POSITION = """
select sequence_number, sub_sequence_number from inventory.etl_position
where consumer = %s and shard_id = %s
"""
_READ_CHANGES = f"""
select {_select(ChangeRecorded, "c")}, a.revision is not null, {_select(ChangeAnnotated, "a")}
from inventory.fact_change c
left join inventory.change_annotation a using (location, transaction_id)
"""
_READ_COMBOS = f"select {_select(ComboChanged, 'c')} from inventory.fact_combo c"
_READ_STOCK = f"select {_select(StockChanged, 's')} from inventory.stock_level s"


class _Write(NamedTuple):
    statement: str
    parameters: Sequence[object]


# -------------------------------------------------------------------------- the warehouse
class PostgresWarehouse:
    """`ports.warehouse.Warehouse` on PostgreSQL 15 or later, through a pool of connections.

    Connects when first used, so that a database that is down delays its consumer and stops no
    start-up. The schema must have been migrated. Close it, or use it in a `with` block.
    """

    def __init__(
        self, dsn: str, *, connections_max: int = CONNECTIONS_MAX, patience_s: float = PATIENCE_S
    ) -> None:
        self._pool: ConnectionPool[_Connection] = ConnectionPool(
            kwargs=_parameters(dsn),
            configure=_isolate,
            min_size=0,
            max_size=connections_max,
            timeout=patience_s,
            name="tillstream-warehouse",
            open=True,
        )

    def __enter__(self) -> "PostgresWarehouse":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the warehouse cannot be used again."""
        self._pool.close()

    def load(self, batch: FactBatch) -> None:
        """Write a batch and its position in one transaction.

        Raises FellBehind if the batch does not join on to the stored position.
        """
        writes = list(_writes(batch))
        with self._connection() as connection, connection.pipeline():
            before = connection.execute(_POSITION, (batch.consumer, batch.shard_id))
            for write in writes:
                connection.execute(write.statement, write.parameters)
            if not batch.joins(_order(before)):
                raise FellBehind(batch.shard_id)

    def position(self, consumer: str, shard_id: str) -> Order | None:
        """Return the position of the last batch that was loaded from a shard."""
        with self._connection() as connection:
            return _order(connection.execute(_POSITION, (consumer, shard_id)))

    def rows(self) -> WarehouseRows:
        """Stream everything back; each of the three holds a connection while it is being read."""
        return WarehouseRows(
            (_change(row) for row in self._stream(_READ_CHANGES)),
            (_combo(row) for row in self._stream(_READ_COMBOS)),
            (StockChanged(*row) for row in self._stream(_READ_STOCK)),
        )

    def _stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        with self._connection() as connection, connection.cursor("tillstream_rows") as cursor:
            cursor.itersize = ROWS_PER_FETCH
            cursor.execute(query)
            yield from cursor

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """Lend a connection in a transaction; any exception rolls it back."""
        try:
            with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as fault:
            raise _translated(fault) from fault


def _isolate(connection: _Connection) -> None:
    # Whatever the database's default is: a stricter level sees no partition that another loader
    # has just made, and fails where ON CONFLICT would have settled the matter.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED


def _parameters(dsn: str) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # Without its cause: libpq quotes the text that it cannot read, password and all.
        raise UsageError("the PostgreSQL DSN cannot be read") from None
    if "@" in str(given.get("host")):  # the rest of a password with a bare @ shows up as the host
        raise UsageError("the PostgreSQL DSN has an @ in its password: write it as %40")
    return {**_CONNECTION_DEFAULTS, **given}


def _order(cursor: "psycopg.Cursor[tuple[Any, ...]]") -> Order | None:
    found = cursor.fetchone()
    return None if found is None else (int(found[0]), found[1])


def _translated(fault: psycopg.Error) -> SystemFault:
    """Say whether a second try may help. The details, which quote rows, stay in the cause."""
    state = fault.sqlstate
    line = str(fault).strip().partition("\n")[0]
    if _is_transient(fault, state):
        return TransientFault(f"PostgreSQL: {line}")
    if state in _NOT_MIGRATED:
        return SystemFault(f"PostgreSQL {state}: {line} (has the warehouse been migrated?)")
    return SystemFault(f"PostgreSQL {state}: {line}")


def _is_transient(fault: psycopg.Error, state: str | None) -> bool:
    if state is None:  # libpq's own: refused, lost, timed out, or no connection left in the pool
        return isinstance(fault, psycopg.OperationalError) and not isinstance(fault, PoolClosed)
    return state[:2] in _TRANSIENT_CLASSES or state in (_LOCK_NOT_AVAILABLE, _READ_ONLY)


# ------------------------------------------------------------------------ facts to rows
def _writes(batch: FactBatch) -> Iterator[_Write]:
    """Say what a batch writes, in the one order that all loaders keep. One row a key in each."""
    changes = _first_of_each(batch.facts)
    effects = merge((), (fact for fact in batch.facts if not isinstance(fact, ChangeRecorded)))
    stock = [effect for effect in effects if isinstance(effect, StockChanged)]
    days = _days(change.instant for change in changes)
    if changes:
        yield _Write(_PARTITIONS, (sorted({f"{day[:7]}-01" for day in days}),))
        yield _Write(_DATES, (days,))
    if changes or stock:
        locations = {change.location for change in changes} | {level.location for level in stock}
        yield _Write(_LOCATIONS, (list(locations),))
        yield _Write(_PRODUCTS, (_json(_products(changes, stock)),))
    for cls, statement in _WRITES.items():
        rows = [_row(fact) for fact in (*changes, *effects) if type(fact) is cls]
        if rows:
            yield _Write(statement, (_json(rows),))
    newest = max((change.ingested_at for change in changes), default=None)
    sequence, sub = batch.last
    yield _Write(
        _MOVE,
        (batch.consumer, batch.shard_id, str(sequence), sub, newest and format_instant(newest)),
    )


def _first_of_each(facts: Iterable[Fact]) -> list[ChangeRecorded]:
    found: dict[tuple[str, str], ChangeRecorded] = {}
    for fact in facts:
        if isinstance(fact, ChangeRecorded):
            found.setdefault((fact.location, fact.transaction_id), fact)
    return list(found.values())


def _days(instants: Iterable[int]) -> list[str]:
    return [format_instant(day * DAY)[:10] for day in sorted({i // DAY for i in instants})]


def _products(
    changes: Iterable[ChangeRecorded], stock: Iterable[StockChanged]
) -> list[dict[str, object]]:
    """Describe each product by its earliest change; by its stock level alone, not yet."""
    found: dict[str, tuple[int, str, str]] = {}
    for change in changes:
        seen = (change.instant, change.base_product_id, change.category)
        found[change.product_id] = min(seen, found.get(change.product_id, seen))
    rows: list[dict[str, object]] = [
        {
            "product_id": product_id,
            "described_at": format_instant(instant),
            "base_product_id": base_product_id,
            "category": category,
        }
        for product_id, (instant, base_product_id, category) in found.items()
    ]
    for product_id in {level.product_id for level in stock} - found.keys():
        rows.append({"product_id": product_id})
    return rows


def _row(fact: Fact) -> dict[str, object]:
    row: dict[str, object] = {}
    for field, value in zip(fact._fields, fact, strict=True):
        if field in _INSTANTS and isinstance(value, int):
            value = format_instant(value)
        row[_column(field)] = str(value) if field == "sequence" else value
    return row


def _json(rows: Sequence[Mapping[str, object]]) -> str:
    try:
        return orjson.dumps(rows).decode()
    except orjson.JSONEncodeError as fault:
        raise SystemFault(f"a fact cannot be written to PostgreSQL: {fault}") from fault


# ------------------------------------------------------------------------ rows to facts
_CHANGE_WIDTH = len(ChangeRecorded._fields)


def _change(row: tuple[Any, ...]) -> tuple[ChangeRecorded, ChangeAnnotated | None]:
    change = ChangeRecorded(*row[:_CHANGE_WIDTH])
    change = change._replace(sequence=int(change.sequence))  # a Decimal until now
    annotated, *annotation = row[_CHANGE_WIDTH:]
    if not annotated:
        return change, None
    note = ChangeAnnotated(*annotation)
    return change, note._replace(combo_ids=tuple(note.combo_ids))


def _combo(row: tuple[Any, ...]) -> ComboChanged:
    combo = ComboChanged(*row)
    return combo._replace(status=ComboStatus(combo.status))
