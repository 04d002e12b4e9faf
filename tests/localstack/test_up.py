"""What `tillstream localstack` says and does while all is up."""

import subprocess
import sys

import orjson
import pytest

from consumers.localstack import processes
from consumers.localstack.stack import FOLDER
from tests.unit.test_localstack_compose import SERVICES

pytestmark = pytest.mark.usefixtures("localstack")


def command(action: str) -> "subprocess.CompletedProcess[bytes]":
    line = [sys.executable, "-m", "consumers.cli", "localstack", action, "--json"]
    return subprocess.run(line, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["localstack", "postgres"])
def test_server_is_of_the_version_of_the_compose_file(name: str) -> None:
    (found,) = [part for part in orjson.loads(command("status").stdout) if part["name"] == name]
    wanted = SERVICES[name]["image"].partition(":")[2].partition("-")[0]
    assert found["version"] == wanted


def test_up_again_is_well_and_starts_nothing() -> None:
    before = processes.of_folder(FOLDER.resolve())
    assert command("up").returncode == 0
    assert processes.of_folder(FOLDER.resolve()) == before
