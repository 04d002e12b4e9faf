"""A warehouse with everything that a page must cope with: real traffic, and opaque identifiers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from consumers.etl import EtlHandler
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from pipeline.bootstrap import backoff
from pipeline.core.changes import ChangeAnnotated, Fact, RefusedAs, StockChanged
from pipeline.core.instants import from_datetime
from pipeline.core.records import Batch
from tests.audits import ARRIVAL, installation
from tests.databases import new_database
from tests.warehouse_facts import load, paired, refresh, refused, sold

DELIVERIES, BATCH = 3_000, 500
SCRIPT = "<script>document.title='broken'</script>"
MARKUP = "J</td></svg><b title=\"x\" class='y'>&amp;{{ 7 * 7 }}"
RIGHT_TO_LEFT = "P\u202e\u05d0\u05d1\u05d2 123\u2066"
LONG = "J" + "W" * 255
HOSTILE = (SCRIPT, MARKUP, RIGHT_TO_LEFT, LONG)
DAY = "2011-06-08"


def hostile_facts() -> list[Fact]:
    """Sell, return, pair and contradict under names that would break a page that trusts them.

    In amounts that put them at the top of every list.
    """
    at = f"{DAY}T23:30:00Z"
    here: dict[str, Any] = {"location": SCRIPT, "ingested_at": from_datetime(ARRIVAL)}
    return [
        sold("h1", MARKUP, -5_000, at, **here),
        sold("h2", RIGHT_TO_LEFT, -4_000, at, **here),
        sold("h3", LONG, -6_000, at, **here),
        sold("h4", MARKUP, 900, f"{DAY}T23:40:00Z", **here),
        sold("h5", "T1", -1, at, **here, category="jacket"),
        sold("h6", "T1", -1, f"{DAY}T22:30:00Z", **here),
        sold("h7", "T2", -1, at, **here, source="batch"),
        paired("h1", "h2", 3_100, voided=900)._replace(location=SCRIPT),
        ChangeAnnotated(SCRIPT, "h1", ("h1+h2",), 1, False, 1),
        ChangeAnnotated(SCRIPT, "h2", ("h1+h2",), 1, False, 1),
        ChangeAnnotated(SCRIPT, "h3", (), 0, True, 1),
        refused(RefusedAs.DUPLICATE, 31, "09:15:00", location=SCRIPT),
        refused(RefusedAs.CONFLICT, 32, "09:15:00", location=SCRIPT, source="batch"),
        refused(RefusedAs.REJECTED, 33, "10:00:00"),
        StockChanged(SCRIPT, MARKUP, -4_100, 1),
        StockChanged(SCRIPT, RIGHT_TO_LEFT, -4_000, 1),
        StockChanged(SCRIPT, LONG, -6_000, 1),
        StockChanged(SCRIPT, "T1", -2, 1),
        StockChanged(SCRIPT, "T2", -1, 1),
    ]


def load_real(dsn: str) -> None:
    """Load what the demo's deliveries come to, by the etl consumer's own handler."""
    run = installation(DELIVERIES)
    with PostgresWarehouse(dsn) as warehouse:
        etl = EtlHandler(warehouse, run.ports.quarantine, backoff(run.settings, run.clock))
        for shard_id, log in run.ports.changes.records.items():
            for at in range(0, len(log), BATCH):
                etl.handle(Batch(shard_id, log[at : at + BATCH]))


@contextmanager
def full_warehouse(server: str) -> Iterator[str]:
    """Lend a database with all of it, one shop in Paris time, the reports stored."""
    with new_database(server) as dsn:
        migrate(dsn)
        load_real(dsn)
        load(dsn, *hostile_facts(), shard_id="shard-2")
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "update inventory.dim_location set time_zone = 'Europe/Paris' where location = %s",
                (SCRIPT,),
            )
        refresh(dsn)
        yield dsn
