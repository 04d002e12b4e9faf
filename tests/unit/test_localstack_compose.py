"""LocalStack with Docker is LocalStack without: versions, addresses, credentials, behaviour."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml  # type: ignore[import-untyped] # comes with cfn-lint; this is its one use

from consumers.localstack.installation import VERSION
from consumers.localstack.keeper import ENVIRONMENT, OF_THIS_MACHINE
from consumers.localstack.parts import AWS, PARTS, POSTGRES, REDIS, Part

FILE = Path(__file__).parents[2] / "localstack" / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]


def test_the_services_are_the_parts() -> None:
    assert list(SERVICES) == [part.name for part in PARTS]


@pytest.mark.parametrize(("part", "inside"), list(zip(PARTS, (4566, 5432, 6379), strict=True)))
def test_the_port_is_the_parts_on_loopback_alone(part: Part, inside: int) -> None:
    assert SERVICES[part.name]["ports"] == [f"{part.host}:{part.port}:{inside}"]
    assert part.host == "127.0.0.1"


def test_postgres_has_the_credentials_of_the_settings() -> None:
    given = SERVICES["postgres"]["environment"]
    names = ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB")
    assert [given[n] for n in names] == [POSTGRES.user, POSTGRES.password, POSTGRES.path]


def test_redis_has_the_password_of_the_settings() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--requirepass") + 1] == urlsplit(REDIS.address).password


def test_localstack_is_of_the_same_version_and_told_the_same() -> None:
    assert SERVICES[AWS.name]["image"] == f"localstack/localstack:{VERSION}"
    common = {n: v for n, v in ENVIRONMENT.items() if n not in OF_THIS_MACHINE}
    assert SERVICES[AWS.name]["environment"] == common


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_service_says_when_it_is_healthy(part: Part) -> None:
    assert SERVICES[part.name]["healthcheck"]["test"][0] == "CMD"
