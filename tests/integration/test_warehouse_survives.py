"""Killing loaders or their server at any moment loses nothing and doubles nothing.

Killing one of the server's processes with SIGKILL makes PostgreSQL end all others at once and
recover from its log, as it would after a crash of the machine. Half of the seeds let it answer a
commit before that is on its disk, so that a crash takes back what was committed: the warehouse is
then behind its consumer, which has to notice and go back.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from pipeline.core.errors import BudgetExhausted
from pipeline.runtime.backoff import Backoff
from tests.databases import new_database
from tests.killed_loaders import Chaos, OwnServer, simulated
from tests.loader_mistakes import MISTAKES
from tests.simulation.checkers import same_warehouse
from tests.simulation.ledger import Violation

pytestmark = pytest.mark.long

SEEDS, MISHAPS = 6, 8
MISTAKE_SEEDS_MAX = 12
# The pool left to itself would try after 1, 3, 7 and 15 seconds.
OUTAGE_S, NOTICED_WITHIN_S = 3.5, 2.0


@pytest.fixture(scope="module")
def own_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnServer]:
    """A server to be killed."""
    major = request.config.getoption("--postgres")
    server = OwnServer(tmp_path_factory.mktemp("server"), major)
    yield server
    server.servers.stop()
    server.servers.remove_files()


@contextmanager
def own_warehouse(server: OwnServer, *, forgetful: bool) -> Iterator[str]:
    """Lend a migrated database; a forgetful one answers a commit before it is on the disk."""
    with new_database(server.dsn) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as owner:
            name, commit = owner.info.dbname, "off" if forgetful else "on"
            owner.execute(f"alter database {name} set synchronous_commit = {commit}".encode())
        server.settle()
        yield dsn


def survive(server: OwnServer, folder: Path, seed: int, fault: str = "") -> Counter[str]:
    """Load a stream while things happen; return what did. Raises Violation."""
    world = simulated(seed)
    folder.mkdir()
    how = MISTAKES[fault].directed if fault else {"mishaps": MISHAPS}
    with own_warehouse(server, forgetful=bool(fault) or seed % 2 == 0) as dsn:
        chaos = Chaos(server, dsn, folder, fault)
        chaos.run(seed, world, **how)
        with PostgresWarehouse(dsn) as warehouse:
            same_warehouse(warehouse.rows(), world)
    return chaos.happened


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_is_killed_the_warehouse_ends_as_the_tables(
    own_server: OwnServer, tmp_path: Path, seed: int
) -> None:
    happened = survive(own_server, tmp_path / "run", seed)
    assert happened.total() >= MISHAPS // 2  # a quick machine may be done before the last of them


def test_loader_soon_notices_that_its_server_is_back(own_server: OwnServer) -> None:
    clock = SystemClock()
    outage = Backoff(clock, longest_pause_s=0.1, budget_s=OUTAGE_S)
    after = replace(outage, budget_s=60)
    with (
        own_warehouse(own_server, forgetful=False) as dsn,
        PostgresWarehouse(dsn, patience_s=0.2) as warehouse,
    ):
        own_server.kill()
        with pytest.raises(BudgetExhausted):
            outage.call("warehouse", lambda: warehouse.position("etl", "shard-1"))
        own_server.restart()
        back = clock.monotonic()
        after.call("warehouse", lambda: warehouse.position("etl", "shard-1"))
    assert clock.monotonic() - back < NOTICED_WITHIN_S


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistake_of_the_loader_is_caught(
    own_server: OwnServer, tmp_path: Path, mistake: str
) -> None:
    with pytest.raises(Violation, match="warehouse"):
        for seed in range(MISTAKE_SEEDS_MAX):
            survive(own_server, tmp_path / f"{seed}", seed, mistake)
