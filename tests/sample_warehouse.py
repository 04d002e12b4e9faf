"""The bundled sample in a warehouse, as analysts meet it; what docs/queries.md is asked of.

Both files go through the consumers over the ports in memory; the facts that come of them are loaded
by the etl consumer's own handler. Everything but the hour of the load is a function of the files:
each delivery arrives at the instant of the newest event up to then, as if all clocks were one.

The rules, some further deliveries and the shops' time zones are those that the page gives.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import NamedTuple

import orjson
import psycopg

from consumers.contents import Contents, gather
from consumers.etl import EtlHandler
from consumers.memory_run import MemoryRun
from consumers.sources import PartitionBy
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from pipeline.bootstrap import backoff
from pipeline.core.instants import parse_instant
from pipeline.core.records import Batch
from pipeline.settings import Settings
from tests.clocks import VirtualClock
from tests.databases import analyst_login
from tests.e2e.runs import numbered, sample
from tests.query_page import Page
from tests.warehouse_facts import refresh

FILES = ("pos_suits", "pos_week")
SHARDS = 2


class SampleWarehouse(NamedTuple):
    """A filled database, and what the tables of the same run hold, to compare with."""

    owner: str
    analyst: str
    """The DSN of a member of `tillstream_analyst`."""
    tables: Contents
    delivered: Sequence[bytes]


@contextmanager
def filled(dsn: str, page: Page) -> Iterator[SampleWarehouse]:
    """Fill an empty database, refresh its reports, and let an analyst in."""
    settings, clock = Settings.model_validate(page.settings), VirtualClock()
    run = run_sample(settings, clock, page.additions)
    migrate(dsn)
    with PostgresWarehouse(dsn) as warehouse:
        etl = EtlHandler(warehouse, run.ports.quarantine, backoff(settings, clock))
        size = settings.batch_records_max
        for shard_id, log in run.ports.changes.records.items():
            for at in range(0, len(log), size):
                etl.handle(Batch(shard_id, log[at : at + size]))
    with psycopg.connect(dsn) as owner:
        owner.execute(page.setup.encode())
    refresh(dsn)
    rows = run.ports.warehouse.rows()
    with analyst_login(dsn) as analyst:
        tables = gather(rows.changes, rows.combos, rows.stock)
        yield SampleWarehouse(dsn, analyst, tables, delivered(page.additions))


def delivered(additions: Sequence[Sequence[bytes]]) -> list[bytes]:
    """List everything that is sent, in order."""
    return [*(line.data for name in FILES for line in sample(name)), *chain(*additions)]


def run_sample(
    settings: Settings, clock: VirtualClock, additions: Sequence[Sequence[bytes]]
) -> MemoryRun:
    """Run the sample, then the additions, each of their batches as one of its own."""
    run = MemoryRun(settings, clock, SHARDS)
    lines = numbered(delivered(additions))
    first = len(lines) - sum(map(len, additions))
    for line in lines:
        said = parse_instant(orjson.loads(line.data)["timestamp"])
        clock.seconds = max(clock.seconds, said / 1_000_000)
        run.publish([line], PartitionBy.KEY)
    left = iter(lines)
    for size in (first, *map(len, additions)):
        for _ in run.consume(list(islice(left, size))):
            pass
    return run
