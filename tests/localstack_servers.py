"""LocalStack for tests: the one that is up, or one for the length of a block."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from consumers.embedded import Endpoints
from pipeline.settings import LOCALSTACK
from tests.databases import new_database

FIRST_SECOND_S = 1.05


def command(action: str) -> int:
    """Run `tillstream localstack`; return its exit code."""
    line = [sys.executable, "-m", "consumers.cli", "localstack", action]
    return subprocess.run(line, stdout=subprocess.DEVNULL, check=False).returncode


def let_shards_age(servers: Endpoints) -> None:
    """Wait until records may be put into shards that were made just now; on other servers, return.

    LocalStack's Kinesis numbers records by the second: the first one of a shard's first second gets
    the number at which the shard starts, and reading on behind it gives it again, for ever.
    """
    if servers.aws_endpoint_url == LOCALSTACK["endpoint_url"]:
        time.sleep(FIRST_SECOND_S)  # noqa: TID251 - waits for another process, on real time


@contextmanager
def running_localstack() -> Iterator[Endpoints]:
    """Lend the addresses of LocalStack; stop it afterwards if it was not up before."""
    was_up = command("status") == 0
    try:
        assert was_up or command("up") == 0, "LocalStack could not be started"
        with new_database(LOCALSTACK["postgres_dsn"]) as dsn:
            yield Endpoints(LOCALSTACK["endpoint_url"], dsn, LOCALSTACK["redis_url"])
    finally:
        if not was_up:
            command("down")
