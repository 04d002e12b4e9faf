"""The loader: a batch is one transaction, COPY into a temporary table and upserts from there.

How rows travel, measured in one run (`python -m tests.benchmarks.warehouse`), against one JSON
parameter a table that the server turns into rows: in batches of 5,000, COPY is 1.7 times as fast
for changes alone and 1.3 times for mixed facts; in batches of 500, 1.2 times and level. JSON was
the better way while each kind of fact had a temporary table of its own. Rejected: both ways, by the
size of the batch. The second would be a path that only small batches test, for nothing. Rejected: a
temporary table that the connection keeps. It is no faster, and a pooler between us and the server
could not swap connections. The price is a row or twenty of catalogue churn a batch, which
autovacuum takes care of.

Three round trips a batch and the commit: what must be there before the rows, the rows, the upserts.

Why two loaders cannot deadlock: every load visits the tables in one order and each table's rows in
key order, so whoever waits, waits for a loader that is ahead of it. Should the server see a
deadlock after all, it is a TransientFault like a lost connection: the batch is offered again, which
changes nothing that was already written.

Time-outs are set in each transaction and not for the session: a pooler would hand the session to
another, and RDS Proxy would stop pooling it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import psycopg
from psycopg_pool import ConnectionPool

from pipeline.adapters.postgres import reading, staging
from pipeline.adapters.postgres.server import (
    READ_ONLY,
    Connection,
    PostgresServer,
    server,
    translated,
)
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    DeliveryRefused,
    Fact,
    StockChanged,
)
from pipeline.core.errors import FellBehind
from pipeline.core.positions import Order
from pipeline.ports.warehouse import FactBatch, WarehouseRows

CONNECTIONS_MAX = 8
"""One for each shard that loads at once, and some for readers; a small RDS instance allows 80."""
PATIENCE_S = 10.0
"""How long to wait for a connection before the fault is the caller's, whose back-off goes on."""
ROWS_PER_FETCH = 5_000
"""Of a streamed table; some megabytes in memory at a time."""


class TimeLimits(NamedTuple):
    """What the server is told to give up on; seconds."""

    statement_s: float = 60.0
    """A batch takes milliseconds: what takes a minute is stuck."""
    lock_s: float = 10.0
    """A batch that waits for a table holds its own rows against other shards meanwhile."""
    idle_s: float = 60.0
    """A loader that vanished inside a transaction holds its rows no longer than this."""


# The order of the tables, for every loader.
_UPSERTS: Mapping[type[Fact], str] = {
    ChangeRecorded: staging.CHANGES,
    ChangeAnnotated: staging.ANNOTATIONS,
    ComboChanged: staging.COMBOS,
    StockChanged: staging.STOCK,
    DeliveryRefused: staging.REFUSALS,
}
_LIMITS = """
select set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),
    set_config('idle_in_transaction_session_timeout', %s, true)
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


class PostgresWarehouse:
    """`ports.warehouse.Warehouse` on PostgreSQL 15 or later, through a pool of connections.

    Connects when first used, so that a database that is down delays its consumer and stops no
    start-up. A connection is tried before it is lent, so that a restart of the server costs no
    batch. The schema must have been migrated. `time_zone` is what locations get that were never
    seen before. Close it, or use it in a `with` block.
    """

    def __init__(
        self,
        where: str | PostgresServer,
        *,
        time_zone: str = "UTC",
        limits: TimeLimits = TimeLimits(),  # noqa: B008 - immutable
        patience_s: float = PATIENCE_S,
    ) -> None:
        there = server(where)
        there.parameters()  # refuses a DSN now that would otherwise be tried for ever
        self._time_zone = time_zone
        self._limits = [str(round(seconds * 1_000)) for seconds in limits]
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            kwargs=there.parameters,
            configure=_isolate,
            check=ConnectionPool.check_connection,
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=patience_s,
            # The pool's own pauses double for five minutes: it would see a server that is back
            # up to two minutes late. Given up with its caller, it starts anew with the next call.
            reconnect_timeout=patience_s,
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

        Raises FellBehind if the batch does not join on to the stored position, ValueRefused if the
        database takes one of its values for no reason that a second try would mend.
        """
        staged = staging.stage(batch.facts)
        with self._connection() as connection:
            with connection.pipeline():
                connection.execute(_LIMITS, self._limits)
                before = connection.execute(_POSITION, (batch.consumer, batch.shard_id))
                if staged.months:
                    connection.execute(staging.PARTITIONS, (staged.months,))
                    connection.execute(staging.DATES, (staged.months,))
                if staged.kinds:
                    connection.execute(staging.CREATE)
            if not batch.joins(_order(before)):
                raise FellBehind(batch.shard_id)
            if staged.kinds:
                with connection.cursor().copy(staging.COPY) as copy:
                    copy.write(staged.text)
            with connection.pipeline():
                self._spread(connection, batch, staged)

    def _spread(self, connection: Connection, batch: FactBatch, staged: staging.Staged) -> None:
        if staged.kinds & {ChangeRecorded, StockChanged}:
            connection.execute(staging.LOCATIONS, (self._time_zone,))
            connection.execute(staging.PRODUCTS)
        for kind, upsert in _UPSERTS.items():
            if kind in staged.kinds:
                connection.execute(upsert)
        shard = batch.consumer, batch.shard_id
        if ChangeRecorded in staged.kinds:
            connection.execute(staging.FRESHNESS, shard)
        sequence, sub = batch.last
        connection.execute(_MOVE, (*shard, str(sequence), sub, staged.newest))

    def position(self, consumer: str, shard_id: str) -> Order | None:
        """Return the position of the last batch that was loaded from a shard."""
        with self._connection() as connection:
            return _order(connection.execute(_POSITION, (consumer, shard_id)))

    def rows(self) -> WarehouseRows:
        """Stream everything back; each of the four holds a connection while it is being read."""
        return WarehouseRows(
            (reading.change(row) for row in self._stream(reading.READ_CHANGES)),
            (reading.combo(row) for row in self._stream(reading.READ_COMBOS)),
            (StockChanged(*row) for row in self._stream(reading.READ_STOCK)),
            (reading.refusal(row) for row in self._stream(reading.READ_REFUSALS)),
        )

    def _stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        with self._connection() as connection, connection.cursor("tillstream_rows") as cursor:
            cursor.itersize = ROWS_PER_FETCH
            cursor.execute(query)
            yield from cursor

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Lend a connection in a transaction; any exception rolls it back."""
        try:
            with self._pool.connection() as connection:
                try:
                    yield connection
                except psycopg.Error as fault:
                    if fault.sqlstate == READ_ONLY:  # the next one may find the new primary
                        connection.close()
                    raise
        except psycopg.Error as fault:
            raise translated(fault) from fault


def _isolate(connection: Connection) -> None:
    # Whatever the database's default is: a stricter level sees no partition that another loader
    # has just made, and fails where ON CONFLICT would have settled the matter.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED


def _order(cursor: "psycopg.Cursor[tuple[Any, ...]]") -> Order | None:
    found = cursor.fetchone()
    return None if found is None else (int(found[0]), found[1])
