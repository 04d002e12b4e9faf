"""Pinned files of a Maven repository: by Maven, by HTTPS, and neither trusted."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest

from consumers.localstack.artifacts import Artifact, fetch, missing, read_lock
from consumers.localstack.installation import AGENT, DYNAMODB_LOCAL_VERSION, NATIVE
from pipeline.core.errors import SystemFault

LOCK = Path(__file__).parents[2] / "localstack" / "dynamodb-local.sha256"
FAKE_MAVEN = """#!/bin/sh
PATH=/usr/bin:/bin
for word in "$@"; do case $word in -DoutputDirectory=*) out=${word#*=} ;; esac; done
mkdir -p "$out" && cp -r "$(dirname "$0")/repository/." "$out"
echo "[ERROR] some were not to be had" && exit 1
"""


class Repository:
    """A Maven repository, and whatever of it is in reach."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder, self.maven = tmp_path / "store", tmp_path / "bin"
        self.content: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.address = "http://127.0.0.1:9/closed"
        self.progress: list[int] = []

    def add(self, name: str, data: bytes, pinned: bytes | None = None) -> Artifact:
        path = PurePosixPath(f"org/{name}/1.0/{name}-1.0.jar")
        self.content[f"/{path}"] = data
        return Artifact(hashlib.sha256(data if pinned is None else pinned).hexdigest(), path)

    def fetch(self, *artifacts: Artifact) -> None:
        fetch(artifacts, self.folder, lambda: self.address, self.progress.append)

    def give_maven(self, *artifacts: Artifact) -> None:
        """Put a Maven on the PATH that can have these."""
        for artifact in artifacts:
            file = self.maven / "repository" / artifact.path
            file.parent.mkdir(parents=True)
            file.write_bytes(self.content[f"/{artifact.path}"])
        (self.maven / "mvn").write_text(FAKE_MAVEN)
        (self.maven / "mvn").chmod(0o755)


@pytest.fixture
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    found = Repository(tmp_path)
    found.maven.mkdir()
    # No machine's own Maven may answer; the shell of the fake one finds its programs by itself.
    monkeypatch.setenv("PATH", str(found.maven))
    return found


@pytest.fixture
def repository(unreachable: Repository) -> Iterator[Repository]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            unreachable.asked.append(self.path)
            data = unreachable.content[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:-1] if data.endswith(b"cut") else data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        unreachable.address = f"http://127.0.0.1:{server.server_port}"
        yield unreachable
        server.shutdown()


def test_files_come_over_https_where_there_is_no_maven(repository: Repository) -> None:
    one, two = repository.add("one", b"1"), repository.add("two", b"2")
    repository.fetch(one, two)
    assert [(repository.folder / a.path).read_bytes() for a in (one, two)] == [b"1", b"2"]
    assert repository.progress == [0, 1, 2]


def test_files_in_place_are_not_asked_for_again(repository: Repository) -> None:
    one, two = repository.add("one", b"1"), repository.add("two", b"2")
    repository.fetch(one)
    repository.fetch(one, two)
    assert sorted(repository.asked) == [f"/{one.path}", f"/{two.path}"]


def test_file_that_is_not_what_was_pinned_is_refused(repository: Repository) -> None:
    forged = repository.add("forged", b"evil", pinned=b"good")
    with pytest.raises(SystemFault, match=r"forged-1.0.jar is not what was pinned"):
        repository.fetch(forged)
    assert missing([forged], repository.folder) == [forged]


def test_download_that_is_cut_leaves_nothing_and_starts_again(repository: Repository) -> None:
    one = repository.add("one", b"this will be cut")
    with pytest.raises(SystemFault, match=r"one-1.0.jar cannot be had"):
        repository.fetch(one)
    assert list(repository.folder.iterdir()) == []
    repository.content[f"/{one.path}"] = b"whole"
    repository.fetch(one._replace(sha256=hashlib.sha256(b"whole").hexdigest()))
    assert (repository.folder / one.path).read_bytes() == b"whole"


def test_no_maven_and_no_reach_is_one_line_that_names_the_file(unreachable: Repository) -> None:
    with pytest.raises(SystemFault, match=r"^one-1.0.jar cannot be had: there is no Maven") as it:
        unreachable.fetch(unreachable.add("one", b"1"))
    assert "HTTPS: " in str(it.value) and "\n" not in str(it.value)


def test_maven_fetches_where_there_is_one(unreachable: Repository) -> None:
    one = unreachable.add("one", b"1")
    unreachable.give_maven(one)
    unreachable.fetch(one)
    assert (unreachable.folder / one.path).read_bytes() == b"1"


def test_file_from_maven_is_checked_too(unreachable: Repository) -> None:
    forged = unreachable.add("forged", b"evil", pinned=b"good")
    unreachable.give_maven(forged)
    with pytest.raises(SystemFault, match="is not what was pinned"):
        unreachable.fetch(forged)


def test_what_maven_cannot_have_comes_over_https(repository: Repository) -> None:
    one, two = repository.add("one", b"1"), repository.add("two", b"2")
    repository.give_maven(one)
    repository.fetch(one, two)
    assert (missing([one, two], repository.folder), repository.asked) == ([], [f"/{two.path}"])


def test_complaint_of_maven_is_told(unreachable: Repository) -> None:
    unreachable.give_maven()
    with pytest.raises(SystemFault, match="Maven: some were not to be had; HTTPS: "):
        unreachable.fetch(unreachable.add("one", b"1"))


def test_dependency_stands_alone_in_the_pom() -> None:
    path = PurePosixPath("com/a/b/lib-x/1.0-jre/lib-x-1.0-jre.so")
    pom = Artifact("0" * 64, path).dependency()
    for tag, value in {"groupId": "com.a.b", "artifactId": "lib-x", "type": "so"}.items():
        assert f"<{tag}>{value}</{tag}>" in pom
    assert "<version>1.0-jre</version>" in pom and "<groupId>*</groupId>" in pom


def test_lock_pins_dynamodb_local_its_native_library_and_an_agent() -> None:
    artifacts = read_lock(LOCK)
    names = [artifact.path.name for artifact in artifacts]
    assert f"DynamoDBLocal-{DYNAMODB_LOCAL_VERSION}.jar" in names
    assert [sum(name.startswith(stem) for name in names) for stem in (AGENT, NATIVE)] == [1, 1]
    assert len(names) == len(set(names))  # they end up in one folder
    assert all(len(bytes.fromhex(artifact.sha256)) == 32 for artifact in artifacts)
