"""Loaders and their server, killed at moments that a seed draws.

The facts are those of a simulated run: sales, combos, corrections and strangers' bytes, some of it
published twice and out of order by an inventory fleet that crashed and lost leases. The tables that
the run ended with are what the warehouse must hold when the last loader is done.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random  # noqa: TID251 - seeded: one integer decides who is killed, and how
from urllib.parse import urlsplit

import psycopg

from consumers.embedded import postgres
from consumers.embedded.postgres import Cluster
from consumers.embedded.servers import ServerEnded, Servers, free_port, tail
from tests.etl_process import save
from tests.postgres_servers import installation
from tests.simulation.world import World, limits

ROOT = Path(__file__).parents[1]
# Strangers, crashes and lost leases among the inventory consumers; nothing that befalls a sink.
FACTS = {
    **{"size": 200, "locations": 2, "bases": 3, "disorder_s": 1_500, "story": "any"},
    **{"shards": 3, "change_shards": 2, "by_key": False, "batch_max": 5, "chaos_steps": 3_000},
    **{"crash": 0.01, "steal": 0.06, "thaw": 0.02, "burst": 1, "trouble": 0.05, "torn": 0.5},
    **{"retry_budget_s": 60, "effects_max": 500},
    **{"reshards": 0, "restores": 0, "outages": 0, "broken": ""},
}
MOVES_WITHIN_S = 3.0
RESTART_WITHIN_S = 20.0
STARTS_MAX = 50
LATEST_S = 0.12
"""After a batch, before something happens: some twenty batches more."""


def simulated(seed: int) -> World:
    """Run an installation in memory to rest."""
    world = World(seed, FACTS)
    with limits(world.profile):
        world.run()
    return world


class OwnServer:
    """A server that nobody else uses, and that comes back where it was."""

    def __init__(self, folder: Path, major: str | None) -> None:
        self.servers = Servers(folder)
        self._cluster: Cluster = postgres.create(self.servers, installation(major, self.servers))
        self.dsn = postgres.serve(self.servers, self._cluster, free_port())

    def settle(self) -> None:
        """Put what is there on the disk: a crash takes back none of it."""
        with psycopg.connect(self.dsn, autocommit=True) as owner:
            owner.execute("checkpoint")

    def kill(self) -> None:
        """Kill the postmaster; its children notice, and end."""
        postmaster = self.servers._launched[-1].process
        postmaster.kill()
        postmaster.wait()

    def restart(self) -> None:
        """Start it again, once the last process of the one before has gone."""
        port = urlsplit(self.dsn).port
        assert port is not None
        deadline = time.monotonic() + RESTART_WITHIN_S
        while True:
            try:
                postgres.serve(self.servers, self._cluster, port)
                return
            except ServerEnded:
                if time.monotonic() > deadline:
                    raise
                _pause(0.05)

    def kill_a_backend(self, dsn: str) -> bool:
        """Kill a loader's process in the server, which then ends all others and recovers.

        False if no loader is connected.
        """
        query = "select pid from pg_stat_activity where application_name = 'tillstream' limit 1"
        try:
            with psycopg.connect(dsn, connect_timeout=2) as connection:
                found = connection.execute(query).fetchone()
            if found is not None:
                os.kill(found[0], signal.SIGKILL)
            return found is not None
        except (psycopg.Error, ProcessLookupError):
            return False


class Loader:
    """One consumer process."""

    def __init__(self, dsn: str, folder: Path, owner: str, mistake: str) -> None:
        command = [sys.executable, "-m", "tests.etl_process", dsn, str(folder), owner, mistake]
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        self._told = self.process.stdout
        os.set_blocking(self._told.fileno(), False)

    def moves(self) -> bool:
        """Wait for its next batch; false if it ended, or stands still for long."""
        with suppress(BlockingIOError):
            os.read(self._told.fileno(), 65_536)
        readable, _, _ = select.select([self._told], [], [], MOVES_WITHIN_S)
        return bool(readable) and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._told.close()


class Chaos:
    """One stream, loaded while things happen."""

    def __init__(self, server: OwnServer, dsn: str, folder: Path, mistake: str = "") -> None:
        self._server, self._dsn, self._folder, self._mistake = server, dsn, folder, mistake
        self._loaders: list[Loader] = []
        self.happened: Counter[str] = Counter()

    def run(self, seed: int, world: World, mishaps: int, only: Sequence[str] = ()) -> None:
        """Load everything; `happened` tells what was in the way."""
        rng = Random(f"killed loaders {seed}")
        save(world.ports.changes.records, self._folder / "stream")
        acts = {
            "loader killed": self._kill,
            "zombie": self._sleep_through,
            "backend killed": self._kill_backend,
            "server killed": self._kill_server,
        }
        try:
            self._start()
            for _ in range(mishaps):
                if not self._at_work():
                    break
                _pause(rng.uniform(0, LATEST_S))
                act = rng.choice(only or list(acts))
                self.happened[act] += acts[act]()
            while self._loader.process.wait() != 0:
                self._start_again()
            for loader in self._loaders:
                loader.process.wait()
        finally:
            for loader in self._loaders:
                loader.end()

    def _at_work(self) -> bool:
        """Wait until the loader moves; false if nothing is left to load."""
        while not self._loader.moves():
            code = self._loader.process.poll()
            if code == 0:
                return False
            if code is not None:
                self._start_again()
        return True

    @property
    def _loader(self) -> Loader:
        return self._loaders[-1]

    def _start(self) -> None:
        owner = f"loader-{len(self._loaders)}"
        self._loaders.append(Loader(self._dsn, self._folder, owner, self._mistake))

    def _start_again(self) -> None:
        """Start one in the place of one that gave up, as a service manager does."""
        if len(self._loaders) == STARTS_MAX:
            raise AssertionError(f"no loader stays up: {tail(self._folder / 'log')}")
        self._start()

    # ------------------------------------------------------------------------------ what happens
    def _kill(self) -> bool:
        self._loader.end()
        self._start()
        return True

    def _sleep_through(self) -> bool:
        """Let a loader stand while another takes its shards; wake it when that has moved on."""
        zombie = self._loader
        zombie.signal(signal.SIGSTOP)
        self._start()
        self._loader.moves()
        zombie.signal(signal.SIGCONT)
        return True

    def _kill_backend(self) -> bool:
        return self._server.kill_a_backend(self._dsn)

    def _kill_server(self) -> bool:
        self._server.kill()
        self._server.restart()
        return True


def _pause(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - other processes, on real time
