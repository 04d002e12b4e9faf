"""How fast the warehouse loads, and how fast its views answer.

    python -m tests.benchmarks.warehouse [--rows 5000000] [--postgres-dsn DSN]

On the embedded PostgreSQL unless a superuser's DSN is given; in a database of its own.

Loading: batch by batch in turns, into one and the same partitioned table, the loader; COPY into a
temporary table and an upsert, which is the least that survives a repeat; a bare COPY, which does
not. First at 100 thousand rows, then at `--rows`, and then into both in turns. Also the loader with
one JSON parameter a table in place of COPY. The machine is shared: ratios of medians count, single
times do not.

Views: EXPLAIN (ANALYZE, BUFFERS) of each, the whole view where it is a report and a bounded
question where it has a row an event; the plan of the slowest.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import orjson
import psycopg

from consumers.embedded import EmbeddedStack
from pipeline.adapters.postgres import PostgresWarehouse, staging
from pipeline.adapters.postgres.migrations import migrate
from pipeline.adapters.postgres.server import Connection
from pipeline.adapters.postgres.upkeep import PostgresUpkeep
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    Fact,
    StockChanged,
)
from pipeline.core.instants import DAY, format_instant
from pipeline.ports.warehouse import FactBatch
from tests.benchmarks.warehouse_facts import BEGINS, FILL, changes, mixed
from tests.databases import new_database

SMALL_ROWS, ROWS = 100_000, 5_000_000
ROUNDS = {5_000: 15, 500: 60}
WARM_UP = 3
FILL_ROWS = 250_000
LIMIT_MS = 200

Load = Callable[[Connection, Sequence[Fact]], None]
COLUMNS = (
    "location, transaction_id, product_id, base_product_id, category, change, occurred_at, source,"
    " shard_id, sequence_number, sub_sequence_number, ingested_at"
)
_out = sys.stdout


# ------------------------------------------------------------------------ what it is compared with
def _text(facts: Sequence[Fact]) -> bytes:
    """Write rows as the loader does, without the columns that only other facts have."""
    lines = staging.stage(facts).text.split(b"\n")
    return b"\n".join(b"\t".join(line.split(b"\t")[1:13]) for line in lines)


def copy_and_upsert(connection: Connection, facts: Sequence[Fact]) -> None:
    """Do what survives a repeat, and no more: no dimensions, no position, no other fact."""
    text = _text(facts)
    connection.execute("create temporary table plain (like inventory.fact_change) on commit drop")
    with connection.cursor().copy(f"copy plain ({COLUMNS}) from stdin") as copy:
        copy.write(text)
    connection.execute(
        f"insert into inventory.fact_change ({COLUMNS}) select {COLUMNS} from plain"
        " order by location, transaction_id on conflict do nothing"
    )
    connection.commit()


def bare_copy(connection: Connection, facts: Sequence[Fact]) -> None:
    """Do what fails at the first repeat."""
    text = _text(facts)
    with connection.cursor().copy(f"copy inventory.fact_change ({COLUMNS}) from stdin") as copy:
        copy.write(text)
    connection.commit()


# ------------------------------------------------------------------------ how rows could travel
_NAMES = {"instant": "occurred_at", "sequence": "sequence_number", "sub": "sub_sequence_number"}
_TYPES = dict.fromkeys(("instant", "ingested_at", "paired_at"), "timestamptz")
_TYPES |= dict.fromkeys(("change", "sub", "combo_count", "quantity", "voided"), "bigint")
_TYPES |= {"on_hand": "bigint", "revision": "bigint", "sequence": "numeric"}
_TYPES |= {"late": "boolean", "combo_ids": "text[]"}
_TABLES: Mapping[type[Fact], tuple[str, str]] = {
    ChangeRecorded: ("fact_change", "location, transaction_id, occurred_at"),
    ChangeAnnotated: ("change_annotation", "location, transaction_id"),
    ComboChanged: ("fact_combo", "combo_id"),
    StockChanged: ("stock_level", "location, product_id"),
}


def json_loader(connection: Connection, facts: Sequence[Fact]) -> None:
    """Do what the loader does, each table's rows in one parameter that the server takes apart."""
    with connection.pipeline():
        _dimensions_by_json(connection, facts)
        for kind, (table, key) in _TABLES.items():
            rows = [_row(fact) for fact in facts if type(fact) is kind]
            if rows:
                names = [_NAMES.get(name, name) for name in kind._fields]
                keep = ", ".join(f"{n} = excluded.{n}" for n in names if n not in key.split(", "))
                upsert = f"update set {keep} where excluded.revision > t.revision"
                connection.execute(
                    f"insert into inventory.{table} as t ({', '.join(names)})"
                    f" select {', '.join(names)} from {_recordset(kind)} order by {key}"
                    f" on conflict ({key}) do {'nothing' if kind is ChangeRecorded else upsert}",
                    (_json(rows),),
                )
    connection.commit()


def _dimensions_by_json(connection: Connection, facts: Sequence[Fact]) -> None:
    """Find what is new among locations and products, and the newest event of each location."""
    rows = [fact for fact in facts if isinstance(fact, ChangeRecorded)]
    months = sorted({format_instant(row.instant)[:7] + "-01" for row in rows})
    connection.execute(staging.PARTITIONS, (months,))
    connection.execute(staging.DATES, (months,))
    named = [fact for fact in facts if isinstance(fact, ChangeRecorded | StockChanged)]
    connection.execute(
        "insert into inventory.dim_location select unnest(%s::text[]) on conflict do nothing",
        (sorted({fact.location for fact in named}),),
    )
    products: dict[str, object] = {f.product_id: {"product_id": f.product_id} for f in named}
    for row in sorted(rows, key=lambda row: -row.instant):
        products[row.product_id] = _row(row)
    source = _recordset(ChangeRecorded)
    connection.execute(
        "insert into inventory.dim_product select product_id, base_product_id, category,"
        f" occurred_at from {source} order by 1 on conflict do nothing",
        (_json(list(products.values())),),
    )
    newest: dict[str, int] = {}
    for row in rows:
        newest[row.location] = max(row.instant, newest.get(row.location, 0))
    connection.execute(
        "insert into inventory.location_freshness select l, 'etl', 'json', i, i"
        " from unnest(%s::text[], %s::timestamptz[]) u(l, i) order by 1"
        " on conflict (location, consumer, shard_id) do update set loaded_at = now()",
        (sorted(newest), [format_instant(newest[name]) for name in sorted(newest)]),
    )


def _recordset(kind: type[Fact]) -> str:
    typed = (f"{_NAMES.get(name, name)} {_TYPES.get(name, 'text')}" for name in kind._fields)
    return f"json_to_recordset(%s::json) r({', '.join(typed)})"


def _row(fact: Fact) -> dict[str, object]:
    row: dict[str, object] = {}
    for name, value in zip(fact._fields, fact, strict=True):
        if _TYPES.get(name) == "timestamptz" and isinstance(value, int):
            value = format_instant(value)
        row[_NAMES.get(name, name)] = str(value) if name == "sequence" else value
    return row


def _json(rows: Sequence[object]) -> str:
    return orjson.dumps(rows).decode()


# ------------------------------------------------------------------------------------- loading
class Bench:
    """One database, and numbers that no batch has had yet."""

    def __init__(self, dsn: str, warehouse: PostgresWarehouse, connection: Connection) -> None:
        self.dsn, self.connection, self._warehouse = dsn, connection, warehouse
        self._next, self._loads = 10**12, 0

    def load(self, _: Connection, facts: Sequence[Fact]) -> None:
        """Load as the etl consumer does."""
        self._loads += 1
        self._warehouse.load(FactBatch("etl", "benchmark", (self._loads, 0), facts))

    def rates(
        self, size: int, make: Callable[[int, int], list[Fact]], ways: Mapping[str, Load]
    ) -> dict[str, float]:
        """Load batch by batch in turns; return the median rate of each way, in facts a second."""
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS[size] + WARM_UP):
            for name, way in ways.items():
                facts = make(self._next, size)
                self._next += size
                began = time.perf_counter()
                way(self.connection, facts)
                spent[name].append(time.perf_counter() - began)
        return {name: size / statistics.median(s[WARM_UP:]) for name, s in spent.items()}

    def fill(self, rows: int) -> None:
        """Fill up to so many changes, and what belongs to them."""
        held = _one(self.connection, "select count(*) from inventory.fact_change")
        for first in range(held, rows, FILL_ROWS):
            last = min(first + FILL_ROWS, rows) - 1
            self.connection.execute(FILL[0], {"first": first, "last": last})
            self.connection.commit()
        for statement in FILL[1:]:
            self.connection.execute(statement.replace("%%", "%"))
        self.connection.commit()
        self.connection.autocommit = True
        self.connection.execute("vacuum analyze")
        self.connection.autocommit = False


def _one(connection: Connection, query: str) -> int:
    found = connection.execute(query).fetchone()
    assert found is not None
    return int(found[0])


@contextmanager
def bench(server_dsn: str) -> Iterator[Bench]:
    """Lend a migrated database with a year of partitions."""
    with new_database(server_dsn) as dsn:
        migrate(dsn)
        PostgresUpkeep(dsn).prepare([BEGINS + days * DAY for days in range(0, 400, 28)])
        with PostgresWarehouse(dsn) as warehouse, psycopg.connect(dsn) as connection:
            yield Bench(dsn, warehouse, connection)


def measure_loading(found: Bench) -> None:
    """Print rates and ratios at this size."""
    rows = _one(found.connection, "select count(*) from inventory.fact_change")
    _out.write(f"\nloading changes; the table has {rows:,} rows\n")
    _out.write(f"{'batch':>6}{'loader':>12}{'COPY + upsert':>16}{'bare COPY':>12}")
    _out.write(f"{'of upsert':>11}{'of bare':>9}\n")
    for size in ROUNDS:
        ways = {"loader": found.load, "upsert": copy_and_upsert, "bare": bare_copy}
        loader, upsert, bare = found.rates(size, changes, ways).values()
        _out.write(f"{size:>6,}{loader:>10,.0f}/s{upsert:>14,.0f}/s{bare:>10,.0f}/s")
        _out.write(f"{loader / upsert:>11.2f}{loader / bare:>9.2f}\n")
    _out.flush()


def measure_ways(found: Bench) -> None:
    """Print how fast rows travel by COPY and by JSON."""
    _out.write("\nthe loader, its rows by COPY and by JSON\n")
    _out.write(f"{'facts':<10}{'batch':>6}{'COPY':>12}{'JSON':>12}{'COPY / JSON':>13}\n")
    for make in (changes, mixed):
        for size in ROUNDS:
            ways = {"copy": found.load, "json": json_loader}
            copy, as_json = found.rates(size, make, ways).values()
            _out.write(f"{make.__name__:<10}{size:>6,}{copy:>10,.0f}/s{as_json:>10,.0f}/s")
            _out.write(f"{copy / as_json:>13.2f}\n")
    _out.flush()


def measure_growth(small: Bench, large: Bench) -> None:
    """Print the loader's rate into a small and a large table, batch by batch in turns."""
    _out.write("\nthe loader as the table grows\n")
    rows = [
        _one(b.connection, "select count(*) from inventory.fact_change") for b in (small, large)
    ]
    for size in ROUNDS:
        ways = {"small": small.load, "large": large.load}
        before, after = large.rates(size, changes, ways).values()
        _out.write(
            f"{size:>6,} at {rows[0]:,} rows {before:,.0f}/s, at {rows[1]:,} {after:,.0f}/s:"
        )
        _out.write(f" {after / before:.2f}\n")
    _out.flush()


# --------------------------------------------------------------------------------------- views
# A row an event: asked by key, and for an hour of one shop. The rest is asked whole.
QUESTIONS = {
    "change": "location = 'shop-7' and transaction_id = (select transaction_id from"
    " inventory.fact_change where location = 'shop-7' limit 1)",
    "sale": "location = 'shop-7' and occurred_at >= '2011-06-03 12:00Z'"
    " and occurred_at < '2011-06-03 13:00Z'",
}
VIEWS = (
    "select relname from pg_class where relkind = 'v' and relnamespace = 'inventory'::regnamespace"
)


TOOK = "select report, extract(epoch from took) from inventory.report_refresh order by 2 desc"


def measure_views(found: Bench) -> None:
    """Print how long each view takes to answer, and the plan of the slowest."""
    began = time.perf_counter()
    PostgresUpkeep(found.dsn).refresh()
    took_s = time.perf_counter() - began
    _out.write(f"\nviews, after a refresh of all reports in {took_s:.1f} s\n")
    for report, spent in found.connection.execute(TOOK).fetchall():
        _out.write(f"  {report:<20}{spent:>6.1f} s\n")
    found.connection.commit()
    found.connection.autocommit = True
    found.connection.execute("vacuum analyze")
    plans: dict[str, tuple[float, str]] = {}
    for (view,) in found.connection.execute(f"{VIEWS} order by 1").fetchall():
        where = f" where {QUESTIONS[view]}" if view in QUESTIONS else ""
        plans[view] = _explained(found.connection, f"select * from inventory.{view}{where}")
    for view, (ms, _) in sorted(plans.items(), key=lambda item: -item[1][0]):
        note = "" if ms <= LIMIT_MS else f"   over {LIMIT_MS} ms"
        asked = "a bounded question" if view in QUESTIONS else "whole"
        _out.write(f"{view:<20}{ms:>9.1f} ms   {asked}{note}\n")
    slowest = max(plans, key=lambda view: plans[view][0])
    _out.write(f"\nthe slowest, {slowest}:\n{plans[slowest][1]}\n")


def _explained(connection: Connection, query: str) -> tuple[float, str]:
    """Return the median time and a plan of five."""
    found = []
    for _ in range(5):
        lines = connection.execute(f"explain (analyze, buffers) {query}").fetchall()
        plan = "\n".join(line for (line,) in lines)
        found.append((float(plan.rpartition("Execution Time: ")[2].split()[0]), plan))
    return sorted(found)[2]


def main() -> None:
    """Measure it all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--postgres-dsn")
    given = parser.parse_args()
    if given.postgres_dsn:
        run(given.postgres_dsn, given.rows)
        return
    with EmbeddedStack() as endpoints:
        run(endpoints.postgres_dsn, given.rows)


def run(server_dsn: str, rows: int) -> None:
    """Measure on a server."""
    with bench(server_dsn) as first:
        first.fill(SMALL_ROWS)
        measure_loading(first)
        measure_ways(first)
    with bench(server_dsn) as small, bench(server_dsn) as large:
        small.fill(SMALL_ROWS)
        large.fill(rows)
        measure_growth(small, large)
        measure_loading(large)
        measure_views(large)


if __name__ == "__main__":
    main()
