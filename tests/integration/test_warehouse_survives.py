"""A server that is killed while it is being loaded loses nothing and doubles nothing.

Killing one of its processes with SIGKILL makes PostgreSQL end all others at once and recover from
its log, as it would after a crash of the machine. The embedded server does not wait for its disk at
a commit, so that a crash may even take back what was committed: the warehouse is then behind its
consumer, which has to notice (FellBehind) and go back.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

from consumers.embedded import postgres
from consumers.embedded.servers import Servers
from consumers.etl import EtlHandler
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory import MemoryQuarantine
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from pipeline.core.changes import ChangeRecorded, StockChanged, to_wire
from pipeline.core.errors import FellBehind, SystemFault
from pipeline.core.instants import MINUTE, parse_instant
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON
from pipeline.runtime.backoff import Backoff

pytestmark = pytest.mark.long

NOON = parse_instant("2011-10-03T12:00:00Z")
RECORDS, BATCH, KILLS = 12_000, 40, 6
SHARD = "shard-1"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[str]:
    """A migrated server that nobody else uses."""
    servers = Servers(tmp_path)
    try:
        dsn = postgres.start(servers)
        migrate(dsn)
        yield dsn
    finally:
        servers.stop()
        servers.remove_files()


def stream() -> list[Record]:
    """A row and its stock level in turns."""
    records = []
    for n in range(1, RECORDS + 1):
        row = ChangeRecorded(
            *("GB-1", f"t{n}", f"J{n % 50}", "1", "jacket", -1),
            *(NOON + n * MINUTE, "POS", "shard-7", n, 0, NOON),
        )
        fact = row if n % 2 else StockChanged("GB-1", f"J{n % 50}", -n, n)
        records.append(Record(to_wire(fact), Position("changes", SHARD, n), NOON))
    return records


class Consumer:
    """What an engine does: from the position on, again after each fault, to the end."""

    def __init__(self, dsn: str, records: list[Record]) -> None:
        self._dsn, self._records = dsn, records
        self.moved, self.faults = Event(), Counter[str]()

    def run(self) -> None:
        """Load the whole stream."""
        with PostgresWarehouse(self._dsn) as warehouse:
            done = False
            while not done:
                handler = EtlHandler(
                    warehouse, MemoryQuarantine(), Backoff(SystemClock(), budget_s=0.2)
                )
                try:
                    done = self._read(handler)
                except (SystemFault, FellBehind) as fault:
                    self.faults[type(fault).__name__] += 1

    def _read(self, handler: EtlHandler) -> bool:
        whole = self._records[-1].position.sequence
        at = handler.resume(SHARD, Checkpoint(TRIM_HORIZON)).start.at
        position = handler._reached.get(SHARD)
        at = position[0] if position else at
        while at < whole:
            handler.handle(Batch(SHARD, self._records[at : at + BATCH]))
            at += BATCH
            self.moved.set()
        return True


def kill_a_backend(dsn: str) -> bool:
    """Kill the loader's process in the server; false if the server is away."""
    query = "select pid from pg_stat_activity where application_name = 'tillstream' limit 1"
    try:
        with psycopg.connect(dsn, connect_timeout=2) as connection:
            found = connection.execute(query).fetchone()
        if found is not None:
            os.kill(found[0], signal.SIGKILL)
        return found is not None
    except (psycopg.Error, ProcessLookupError):
        return False


def test_a_server_that_is_killed_again_and_again_loses_and_doubles_nothing(
    own_server: str,
) -> None:
    records = stream()
    consumer = Consumer(own_server, records)
    loading = Thread(target=consumer.run)
    loading.start()
    killed = 0
    while killed < KILLS and loading.is_alive():
        consumer.moved.clear()
        consumer.moved.wait(10)
        killed += kill_a_backend(own_server)
    loading.join()
    with PostgresWarehouse(own_server) as warehouse:
        rows = warehouse.rows()
        transactions = Counter(row.transaction_id for row, _ in rows.changes)
        levels = Counter({level.product_id: -level.on_hand for level in rows.stock})
        assert transactions == Counter(f"t{n}" for n in range(1, RECORDS + 1, 2))
        assert levels == {f"J{n % 50}": n for n in range(RECORDS - 49, RECORDS + 1) if n % 2 == 0}
        assert warehouse.position("etl", SHARD) == (RECORDS, 0)
    assert (killed, bool(consumer.faults)) == (KILLS, True)
