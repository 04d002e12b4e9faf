"""The command line as scripts meet it: exit codes, JSON, one clear line for an error."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from consumers.cli import app
from pipeline.settings import Settings
from tests.e2e.runs import SAMPLE

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[union-attr] # every command has a function


def tillstream(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "consumers.cli", *arguments],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help_with_an_example(command: str) -> None:
    ended = tillstream(command, "--help")
    text = ended.stdout.decode()
    assert ended.returncode == 0
    assert re.search(rf"Example:.*tillstream {command}", text, re.DOTALL)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run-local", "/no/such/file"), "No such file"),
        (("run-local", "{sample}", "--combo-window", "soon"), "combo_window"),
        (("run-local", "{sample}", "--dedupe-scope", "shop"), "dedupe_scope"),
        (("run-local", "{sample}", "--arrival-clock", "2026-01-01T00:00:00"), "offset"),
        (("run-local", "{sample}", "--batch-size", "0"), "batch_records_max"),
        (("run-local", "{sample}", "--stack", "cloud"), "cloud"),
        (("run-local", "{sample}", "--combo-window", "99999999999999999"), "combo_window"),
        (("run-local", "{sample}", "--export", "/etc/passwd"), "/etc/passwd"),
        (("consume", "billing"), "billing"),
        (("consume", "etl", "--health-port", "70000"), "65535"),
        (("consume", "etl", "--health-host", "::1"), "--health-port"),
        (("consume", "etl", "--health-port", "9", "--health-host", "203.0.113.9"), "203.0.113.9"),
        (("consume", "etl", "--health-port", "9", "--engine", "kcl"), "local engine"),
        (("nonsense",), "nonsense"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(arguments: tuple[str, ...], says: str) -> None:
    sample = str(SAMPLE / "pos_suits.jsonl.gz")
    ended = tillstream(*(argument.format(sample=sample) for argument in arguments))
    assert (ended.returncode, b"Traceback" in ended.stderr) == (2, False)
    assert says in ended.stderr.decode()


def test_file_that_is_no_gzip_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(b"not gzip at all")
    ended = tillstream("run-local", str(broken), "--stack", "memory")
    assert (ended.returncode, "broken.jsonl.gz" in ended.stderr.decode()) == (2, True)


@pytest.mark.parametrize(("name", "value"), [("ENDPOINT_URL", "nowhere"), ("REDIS_URL", "nowhere")])
def test_address_that_is_none_is_named(name: str, value: str) -> None:
    environment = Settings(aws_credentials="test").environment() | {f"TILLSTREAM_{name}": value}
    ended = subprocess.run(
        [sys.executable, "-m", "consumers.cli", "stock", "GB-1", "J1"],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    said = ended.stderr.decode()
    assert (ended.returncode, name.lower() in said, "Traceback" in said) == (2, True, False)


def test_line_that_is_no_base64_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.b64").write_bytes(b"e30=\n!!!\n")
    ended = tillstream("run-local", str(tmp_path / "a.b64"), "--stack", "memory")
    assert (ended.returncode, "a.b64:2" in ended.stderr.decode()) == (2, True)


def test_server_that_is_away_is_one_clear_line() -> None:
    environment = {
        **os.environ,  # noqa: TID251 - passed on to a child
        "TILLSTREAM_ENDPOINT_URL": "http://127.0.0.1:9",
        "TILLSTREAM_AWS_CREDENTIALS": "test",
        "TILLSTREAM_RETRY_BUDGET": "0.2",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "consumers.cli", "publish", str(SAMPLE / "pos_suits.jsonl.gz")],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    lines = ended.stderr.decode().splitlines()
    assert (ended.returncode, len(lines), lines[0].startswith("tillstream: ")) == (1, 1, True)


def test_records_come_from_standard_input_too(tmp_path: Path) -> None:
    traffic = tillstream("simulate-pos", "--seed", "3", "--count", "400").stdout
    ended = tillstream(
        *("run-local", "-", "--stack", "memory", "--json", "--export", str(tmp_path)),
        stdin=traffic,
    )
    summary = orjson.loads(ended.stdout)
    assert (ended.returncode, summary["lines"], summary["reconciled"]) == (0, 400, True)


def test_simulated_traffic_has_everything_that_real_tills_do(tmp_path: Path) -> None:
    traffic = tillstream("simulate-pos", "--seed", "3", "--count", "3000").stdout
    ended = tillstream(
        *("run-local", "-", "--stack", "memory", "--json", "--export", str(tmp_path)),
        stdin=traffic,
    )
    summary = orjson.loads(ended.stdout)
    assert all(summary[name] for name in ("accepted", "duplicates", "rejected"))
    assert all(summary["combos"][name] for name in ("active", "voided"))


def test_simulated_traffic_is_a_function_of_its_seed() -> None:
    start = ("--start", "2026-01-01T00:00:00")
    runs = [
        tillstream("simulate-pos", "--seed", seed, "--count", "50", *start).stdout
        for seed in ("1", "1", "2")
    ]
    assert (runs[0] == runs[1], runs[0] == runs[2]) == (True, False)


def test_endless_command_ends_with_130_on_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "consumers.cli", "simulate-pos", "--rate", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said.decode()) == (130, "tillstream: interrupted\n")


@pytest.mark.parametrize(
    ("text", "seconds"), [("600", 600), ("10m", 600), ("1h", 3600), ("PT10M", 600), ("2d", 172_800)]
)
def test_durations_are_read_in_every_common_form(text: str, seconds: int) -> None:
    assert (
        Settings.model_validate({"combo_window": text}).rules().combo_window_us == seconds * 10**6
    )
