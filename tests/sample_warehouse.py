"""The bundled sample in a warehouse, as analysts meet it.

Both files go through the consumers over the ports in memory; the facts that come of them are loaded
by the etl consumer's own handler. Everything but the hour of the load is a function of the files:
each delivery arrives at the instant of the newest event up to then, as if all clocks were one.

The sample is kinder than life. So the rules are stricter than the defaults, which makes some sales
late and some combos undone, and a few deliveries are added that tills should not have sent.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import orjson
import psycopg

from consumers.contents import Contents, gather
from consumers.etl import EtlHandler
from consumers.memory_run import MemoryRun
from consumers.sources import Line, PartitionBy
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from pipeline.bootstrap import backoff
from pipeline.core.instants import parse_instant
from pipeline.core.records import Batch
from pipeline.settings import Settings
from tests.clocks import VirtualClock
from tests.databases import analyst_login
from tests.e2e.runs import numbered, sample
from tests.warehouse_facts import refresh

FILES = ("pos_suits", "pos_week")
SHARDS = 2
SETTINGS = Settings.model_validate({"allowed_lateness": "2m", "return_window": "24h"})


class SampleWarehouse(NamedTuple):
    """A filled database, and what the tables of the same run hold, to compare with."""

    owner: str
    analyst: str
    """The DSN of a member of `tillstream_analyst`."""
    tables: Contents


@contextmanager
def filled(
    dsn: str, deliveries: Sequence[bytes] = (), setup: str = ""
) -> Iterator[SampleWarehouse]:
    """Fill an empty database with the sample and further deliveries; run some SQL; refresh."""
    clock = VirtualClock()
    read = chain.from_iterable(sample(name) for name in FILES)
    lines = numbered([*(line.data for line in read), *deliveries])
    run = run_sample(lines, clock)
    migrate(dsn)
    with PostgresWarehouse(dsn) as warehouse:
        etl = EtlHandler(warehouse, run.ports.quarantine, backoff(SETTINGS, clock))
        size = SETTINGS.batch_records_max
        for shard_id, log in run.ports.changes.records.items():
            for at in range(0, len(log), size):
                etl.handle(Batch(shard_id, log[at : at + size]))
    if setup:
        with psycopg.connect(dsn) as owner:
            owner.execute(setup)
    refresh(dsn)
    rows = run.ports.warehouse.rows()
    with analyst_login(dsn) as analyst:
        yield SampleWarehouse(dsn, analyst, gather(rows.changes, rows.combos, rows.stock))


def run_sample(lines: Sequence[Line], clock: VirtualClock) -> MemoryRun:
    """Run lines over the ports in memory, each arriving when the newest event so far happened."""
    run = MemoryRun(SETTINGS, clock, SHARDS)
    for line in lines:
        said = parse_instant(orjson.loads(line.data)["timestamp"])
        clock.seconds = max(clock.seconds, said / 1_000_000)
        run.publish([line], PartitionBy.KEY)
    for _ in run.consume(lines):
        pass
    return run
