"""The bundles: small, lean, the same every time, and enough to run a function."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.handlers import Consumer
from consumers.run_local import RunOptions
from consumers.sources import PartitionBy
from infra import bundles as bundling
from infra.bundles import (
    LEFT_OUT,
    MACHINES,
    ROOT,
    UNZIPPED_BYTES_MAX,
    Target,
    build,
    running_python,
    unzipped_bytes,
)
from pipeline.settings import Settings
from tests.event_source_mapping import Event, EventSourceMapping, MappingOptions, Outside
from tests.lambda_functions import run_on_servers
from tests.stacks import fresh

pytestmark = pytest.mark.long

ARCH = next(arch for arch, machine in MACHINES.items() if machine == platform.machine())
HERE = Target(running_python(), ARCH)
HEAVY = {"psycopg", "psycopg_pool", "redis", "typer", "rich", "alembic", "moto", "tenacity"}

# Runs as Lambda does: nothing but the standard library and the bundle can be imported.
PROGRAM = """
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from consumers.engines.aws_lambda import inventory_handler

class Context:
    aws_request_id = "request"

    def get_remaining_time_in_millis(self):
        return 60_000

answer = inventory_handler(json.load(sys.stdin), Context())
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
print(json.dumps([answer, sorted(filter(None, files))]))
"""
IMPORTS = """
import json, sys
import consumers.engines.aws_lambda
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {name: build(name, HERE, folder) for name in LEFT_OUT}


def packages(bundle: Path) -> set[str]:
    with ZipFile(bundle) as archive:
        return {name.partition("/")[0].removesuffix(".py") for name in archive.namelist()}


# -------------------------------------------------------------------------------------- imports
def test_importing_the_engine_imports_no_driver_and_no_command_line() -> None:
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    imported = set(json.loads(done.stdout))
    assert {"boto3", "aws_lambda_powertools"} <= imported
    assert imported & HEAVY == set()


# --------------------------------------------------------------------------------------- content
def test_there_is_a_bundle_for_each_consumer() -> None:
    assert set(LEFT_OUT) == {str(consumer) for consumer in Consumer}


@pytest.mark.parametrize(
    ("consumer", "drivers"),
    [
        ("inventory", set()),
        ("cache", {"redis"}),
        ("etl", {"psycopg", "psycopg_pool"}),
    ],
)
def test_a_bundle_holds_its_own_driver_and_no_other(
    bundles: dict[str, Path], consumer: str, drivers: set[str]
) -> None:
    inside = packages(bundles[consumer])
    assert inside & HEAVY == drivers
    assert {"boto3", "pydantic", "pipeline", "consumers"} <= inside


@pytest.mark.parametrize("consumer", sorted(LEFT_OUT))
def test_a_bundle_fits_into_lambda(bundles: dict[str, Path], consumer: str) -> None:
    size = unzipped_bytes(bundles[consumer])
    assert 10_000_000 < size < UNZIPPED_BYTES_MAX


def test_a_bundle_holds_byte_code_for_all_of_its_modules(bundles: dict[str, Path]) -> None:
    with ZipFile(bundles["inventory"]) as archive:
        names = archive.namelist()
    sources = {name for name in names if name.endswith(".py")}
    compiled = [name for name in names if name.endswith(".pyc")]
    assert len(compiled) == len(sources) > 500


def test_a_bundle_for_another_version_is_without_byte_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "running_python", lambda: "2.7")
    with ZipFile(build("inventory", HERE, tmp_path)) as archive:
        names = archive.namelist()
    assert [name for name in names if name.endswith(".pyc")] == []


@pytest.mark.parametrize(
    ("python", "arch", "wanted"),
    [
        ("3.11", "x86_64", "x86_64-manylinux2014"),
        ("3.13", "x86_64", "x86_64-manylinux_2_28"),
        ("3.13", "arm64", "aarch64-manylinux_2_28"),
    ],
)
def test_wheels_are_those_of_lambdas_linux(python: str, arch: str, wanted: str) -> None:
    assert Target(python, arch).platform == wanted


def test_the_same_input_gives_the_same_bytes(bundles: dict[str, Path], tmp_path: Path) -> None:
    again = build("inventory", HERE, tmp_path)
    assert checksums(again) == checksums(bundles["inventory"])
    assert again.read_bytes() == bundles["inventory"].read_bytes()


def checksums(bundle: Path) -> dict[str, int]:
    with ZipFile(bundle) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def test_every_version_is_the_locked_one(bundles: dict[str, Path]) -> None:
    locked = (ROOT / "uv.lock").read_text()
    with ZipFile(bundles["etl"]) as archive:
        metadata = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    for name in metadata:
        package, _, version = name.partition("/")[0].removesuffix(".dist-info").rpartition("-")
        wanted = f'name = "{package.replace("_", "-").lower()}"\nversion = "{version}"'
        assert wanted in locked
    assert len(metadata) > 15


# ------------------------------------------------------------------------------------------ runs
def test_the_inventory_function_runs_from_its_bundle_alone(
    bundles: dict[str, Path], embedded: Endpoints, tmp_path: Path
) -> None:
    with ZipFile(bundles["inventory"]) as archive:
        archive.extractall(tmp_path / "task")
    options = RunOptions(1, PartitionBy.KEY, False, tmp_path)
    settings = Settings(prefix=fresh("bundle"), conditional_writes="single")
    with run_on_servers(demo_lines()[:20], embedded, settings, options) as published:
        (stream, kinesis), *_ = published.place.kinesis.items()
        environment = published.place.settings.environment()
        told: list[Any] = []

        def function(event: Event, _: Any) -> Any:
            told.extend(run_alone(tmp_path / "task", event, environment))
            return told[0]

        outside = Outside(published.place.clock)
        EventSourceMapping(kinesis, stream, function, MappingOptions(), outside).drain(5)
        rows = sum(1 for _ in published.ports.change_log.scan())
    answer, files = told
    foreign = [f for f in files if not f.startswith((str(tmp_path / "task"), sys.base_prefix))]
    assert (answer, rows, foreign) == ({"batchItemFailures": []}, 20, [])


def run_alone(task: Path, event: Event, environment: dict[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, str(task)],
        input=json.dumps(event).encode(),
        stdout=subprocess.PIPE,
        env=environment,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout.splitlines()[-1])
