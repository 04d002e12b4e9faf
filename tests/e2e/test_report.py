"""The commands that end with a page: what they write, say and answer."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from consumers.embedded import Endpoints
from pipeline.adapters.postgres.migrations import migrate
from pipeline.settings import Settings
from tests.databases import new_database
from tests.warehouse_facts import MORNING, load, refresh


@pytest.fixture(scope="module")
def environment(embedded: Endpoints) -> Iterator[dict[str, str]]:
    """Settings of a warehouse with one morning, and of nothing else."""
    with new_database(embedded.postgres_dsn) as dsn:
        migrate(dsn)
        load(dsn, *MORNING)
        refresh(dsn)
        yield Settings(postgres_dsn="postgresql://nowhere", reports_dsn=dsn).environment()


def report(
    environment: dict[str, str], folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "consumers.cli", "report", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_report_is_written_where_one_stands_and_says_so(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ended = report(environment, tmp_path)
    (written,) = tmp_path.iterdir()
    assert (ended.returncode, ended.stdout) == (0, f"report: {written}\n")
    assert written.name == "tillstream-report.html"


def test_report_prints_the_numbers_of_the_part_that_was_asked_for(
    environment: dict[str, str], tmp_path: Path
) -> None:
    part = ("--location", "GB-1", "--since", "2011-10-03", "--json", "--out", "part.html")
    told = orjson.loads(report(environment, tmp_path, *part).stdout)
    assert (told["report"], told["location"], told["figures"]["key.units_sold"]) == (
        str(tmp_path / "part.html"),
        "GB-1",
        13,
    )
    assert "location <bdi" in (tmp_path / "part.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--out", "missing/report.html"), "no such folder"),
        (("--since", "yesterday"), "yesterday"),
        (("--days", "0"), "--days"),
    ],
)
def test_wrong_usage_ends_with_2_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    ended = report(environment, tmp_path, *arguments)
    assert (ended.returncode, says in ended.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_warehouse_that_was_never_migrated_is_one_clear_line(
    embedded: Endpoints, tmp_path: Path
) -> None:
    with new_database(embedded.postgres_dsn) as dsn:
        ended = report(Settings(postgres_dsn=dsn).environment(), tmp_path)
    lines = ended.stderr.splitlines()
    assert (ended.returncode, len(lines), "has the warehouse been migrated?" in lines[0]) == (
        1,
        1,
        True,
    )


@pytest.mark.long
def test_demo_ends_by_saying_where_its_report_is(tmp_path: Path) -> None:
    file = tmp_path / "demo.html"
    ended = subprocess.run(
        [sys.executable, "-m", "consumers.cli", "demo", "--report", str(file)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    page = file.read_text(encoding="utf-8")
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, f"report: {file}")
    assert "everything agrees" in page
    assert 'data-figure="stores.changes">2,921<' in page
