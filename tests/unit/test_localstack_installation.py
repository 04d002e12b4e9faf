"""DynamoDB Local laid out as LocalStack wants it, and steps that are done once."""

import sys
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from consumers.localstack.artifacts import Artifact
from consumers.localstack.installation import (
    AGENT,
    NATIVE,
    SERVER_CLASS,
    Installation,
    manifest,
    place,
)
from consumers.progress import Progress
from pipeline.core.errors import SystemFault

QUIET = Progress(enabled=False)


def unfolded(text: str) -> list[str]:
    assert max(len(line.encode()) for line in text.split("\n")) <= 72
    return text.replace("\n ", "").splitlines()


@pytest.mark.parametrize("count", [1, 3, 5, 80])
def test_manifest_is_folded_and_says_the_same(count: int) -> None:
    names = [f"lib/some-name-{n}.jar" for n in range(count)]
    headers = unfolded(manifest("a.Main", names))
    assert headers[1:3] == ["Main-Class: a.Main", f"Class-Path: {' '.join(names)}"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Lay out three files of a store."""
    artifacts = []
    for name in (f"{AGENT}-1.jar", f"{NATIVE}-1.so", "server-1.jar"):
        artifacts.append(Artifact("", PurePosixPath("org", name)))
        (tmp_path / "store" / "org").mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / "org" / name).write_text(name)
    place(artifacts, tmp_path / "store", tmp_path / "home")
    return tmp_path / "home"


def test_jar_that_is_started_names_the_others(home: Path) -> None:
    with ZipFile(home / "DynamoDBLocal.jar") as jar:
        headers = unfolded(jar.read("META-INF/MANIFEST.MF").decode())
    assert headers[1:3] == [
        f"Main-Class: {SERVER_CLASS}",
        "Class-Path: DynamoDBLocal_lib/server-1.jar",
    ]


def test_agent_and_native_library_have_the_names_they_are_asked_by(home: Path) -> None:
    assert (home / "ddb-local-loader-0.1.jar").read_text() == f"{AGENT}-1.jar"
    libraries = sorted(file.name for file in (home / "DynamoDBLocal_lib").iterdir())
    assert libraries == [f"{NATIVE}.so", "server-1.jar"]


class Steps(Installation):
    """An installation whose steps only count; the next one may be cut short."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.done: list[str] = []
        self.cut = False

    def _make_venv(self, lock: Path, progress: Progress) -> None:
        if self.cut:
            raise KeyboardInterrupt
        self.done.append("venv")

    def _place_dynamodb_local(self, lock: Path, progress: Progress) -> None:
        self.done.append("dynamodb-local")

    def _require(self) -> None:
        """Any machine will do."""


def test_steps_that_were_finished_are_not_done_again(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    for _ in range(2):
        steps.install(QUIET)
    assert steps.done == ["venv", "dynamodb-local"]


def test_step_that_was_cut_is_done_again_and_what_comes_after(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.cut = True
    with pytest.raises(KeyboardInterrupt):
        steps.install(QUIET)
    steps.cut = False
    steps.install(QUIET)
    assert steps.done == ["venv", "dynamodb-local"]


def test_step_whose_lock_has_changed_is_done_again(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.install(QUIET)
    (tmp_path / "venv.stamp").write_text("of another lock file")
    steps.install(QUIET)
    assert steps.done == ["venv", "dynamodb-local", "venv"]


def test_folder_that_was_moved_is_installed_anew(tmp_path: Path) -> None:
    Steps(tmp_path / "one").folder.mkdir()
    Steps(tmp_path / "one").install(QUIET)
    moved = Steps((tmp_path / "one").rename(tmp_path / "two"))
    moved.install(QUIET)
    assert moved.done == ["venv", "dynamodb-local"]


def test_machine_without_node_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemFault, match=r"^Kinesis needs Node.js 18 or later: .* no node here$"):
        Installation(tmp_path).install(QUIET)


def test_other_machines_are_shown_the_way_to_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SystemFault, match=r"docker compose -f localstack/docker-compose.yml up"):
        Installation(tmp_path).install(QUIET)
