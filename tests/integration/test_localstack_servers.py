"""PostgreSQL and Redis whose credentials are in the sources reach no further than they must."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
import redis

from consumers.embedded.servers import Servers, free_port
from consumers.localstack.keeper import start_postgres, start_redis
from consumers.localstack.parts import POSTGRES, REDIS, Part
from pipeline.adapters.postgres.migrations import migrate


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    found = Servers(tmp_path_factory.mktemp("servers"))
    yield found
    found.stop()
    found.remove_files()


def elsewhere(part: Part) -> Part:
    """Move a part to a free port: its own may be in use by a LocalStack that is up."""
    return replace(part, address=part.address.replace(str(part.port), str(free_port())))


@pytest.fixture(scope="module")
def warehouse(servers: Servers) -> str:
    part = elsewhere(POSTGRES)
    start_postgres(servers, part)
    return part.address


@pytest.fixture(scope="module")
def cache(servers: Servers) -> str:
    part = elsewhere(REDIS)
    start_redis(servers, part)
    return part.address


def test_warehouse_role_can_migrate_and_is_no_superuser(warehouse: str) -> None:
    """A superuser of PostgreSQL can run programs."""
    assert migrate(warehouse).complaint is None
    with psycopg.connect(warehouse) as connection:
        asked = "select rolsuper from pg_roles where rolname = current_user"
        assert connection.execute(asked).fetchone() == (False,)


def test_version_of_the_warehouse_is_told(warehouse: str) -> None:
    version = POSTGRES.ask(warehouse)
    assert version is not None and version.startswith("18.")


def test_server_that_refuses_the_password_is_another_one(warehouse: str, cache: str) -> None:
    found = (POSTGRES.ask(warehouse.replace(":tillstream@", ":guess@")), REDIS.ask(cache))
    assert found[0] is None and found[1] is not None
    assert REDIS.ask(cache.replace(":tillstream@", ":guess@")) is None


@pytest.mark.parametrize("words", ["CONFIG GET dir", "MODULE LIST", "REPLICAOF NO ONE"])
def test_redis_reaches_no_further_than_its_keys(cache: str, words: str) -> None:
    with (
        redis.Redis.from_url(cache) as client,
        pytest.raises(redis.ResponseError, match="unknown command"),
    ):
        client.execute_command(*words.split())
