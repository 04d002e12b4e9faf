"""Files of a Maven repository, pinned by their SHA-256 and fetched once.

Maven fetches them where there is one: it knows the mirrors and proxies of its machine. What it
cannot fetch, or all of it on a machine without Maven, comes over HTTPS. The sum decides in either
case; a file that is in place is whole, since it gets its name only after its sum was right.
"""

import hashlib
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import NamedTuple
from xml.sax.saxutils import escape

from pipeline.core.errors import SystemFault

MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
MAVEN_TIMEOUT_S = 900
HTTPS_TIMEOUT_S = 30
CONNECTIONS = 4

OnFetched = Callable[[int], None]
"""Called with the number of files in place."""

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>tillstream</groupId><artifactId>artifacts</artifactId><version>1</version>
<packaging>pom</packaging>
<dependencies>{}</dependencies>
</project>
"""
_DEPENDENCY = """<dependency>
<groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version><type>{}</type>
<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
</dependency>
"""


class Artifact(NamedTuple):
    """A file of a Maven repository, and what is in it."""

    sha256: str
    path: PurePosixPath
    """Such as `joda-time/joda-time/2.12.7/joda-time-2.12.7.jar`."""

    def dependency(self) -> str:
        """Name it in a POM, alone: what it depends on is pinned by lines of its own."""
        *group, name, version, file = self.path.parts
        kind = file.removeprefix(f"{name}-{version}.")
        return _DEPENDENCY.format(*map(escape, (".".join(group), name, version, kind)))


def read_lock(file: Path) -> list[Artifact]:
    """Read a lock file: the output of sha256sum, and comments."""
    lines = (line for line in file.read_text().splitlines() if not line.startswith("#"))
    return [Artifact(sha256, PurePosixPath(path)) for sha256, path in map(str.split, lines)]


def fetch(
    artifacts: Sequence[Artifact],
    folder: Path,
    address: Callable[[], str],
    on_fetched: OnFetched,
) -> None:
    """Bring every artifact into `folder`, laid out as in the repository.

    Safe to repeat after any kind of end: files in place are kept, half ones are fetched again.
    `address` tells where the repository is, when Maven is not there to know. Raises SystemFault
    with one line that names what is missing.
    """
    complaint = "there is no Maven (mvn) here"
    if (wanted := missing(artifacts, folder)) and (maven := shutil.which("mvn")):
        complaint = _fetch_by_maven(maven, wanted, folder)
    left = missing(artifacts, folder)
    before = len(artifacts) - len(left)
    on_fetched(before)
    try:
        for done in _fetch_by_https(left, folder, address) if left else ():
            on_fetched(before + done)
    except (OSError, HTTPException) as fault:
        name = missing(left, folder)[0].path.name
        raise SystemFault(f"{name} cannot be had: {complaint}; HTTPS: {fault}") from None


def missing(artifacts: Sequence[Artifact], folder: Path) -> list[Artifact]:
    """Return the artifacts that are not in place."""
    return [artifact for artifact in artifacts if not (folder / artifact.path).exists()]


def _fetch_by_maven(maven: str, wanted: Sequence[Artifact], folder: Path) -> str:
    """Let Maven fetch; return what it had to complain about."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="maven-", dir=folder) as scratch:
        pom, fetched = Path(scratch, "pom.xml"), Path(scratch, "fetched")
        pom.write_text(_POM.format("".join(artifact.dependency() for artifact in wanted)))
        command = [maven, "--batch-mode", "--quiet", f"--file={pom}", MAVEN_PLUGIN]
        options = [f"-DoutputDirectory={fetched}", "-Dmdep.useRepositoryLayout=true"]
        try:
            ended = subprocess.run(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=MAVEN_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"Maven took more than {MAVEN_TIMEOUT_S} s"
        for artifact in wanted:
            if (file := fetched / artifact.path).exists():
                _accept(artifact, file, folder)
        return _first_error(ended.stdout)


def _first_error(output: str) -> str:
    errors = (line for line in output.splitlines() if "[ERROR]" in line)
    return "Maven: " + next(errors, "[ERROR] no message").partition("[ERROR]")[2].strip()


def _fetch_by_https(
    wanted: Sequence[Artifact], folder: Path, address: Callable[[], str]
) -> Iterator[int]:
    """Download; yield how many are in place, as they come."""
    folder.mkdir(parents=True, exist_ok=True)
    root = address()
    with (
        TemporaryDirectory(prefix="https-", dir=folder) as scratch,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):

        def download(artifact: Artifact) -> None:
            part = Path(scratch, artifact.path.name)
            with urllib.request.urlopen(
                f"{root}/{artifact.path}", timeout=HTTPS_TIMEOUT_S
            ) as answer:
                part.write_bytes(answer.read())  # whole, since a read in parts is cut in silence
            _accept(artifact, part, folder)

        try:
            for done, _ in enumerate(pool.map(download, wanted), 1):
                yield done
        finally:
            pool.shutdown(cancel_futures=True)


def _accept(artifact: Artifact, file: Path, folder: Path) -> None:
    """Give a file its place if it is what it should be."""
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != artifact.sha256:
        raise SystemFault(
            f"{artifact.path.name} is not what was pinned: its SHA-256 is {found},"
            f" not {artifact.sha256}"
        )
    place = folder / artifact.path
    place.parent.mkdir(parents=True, exist_ok=True)
    file.replace(place)
