"""One setting chooses where everything is, and what is set explicitly stands."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers.cli import app
from pipeline.core.errors import UsageError
from pipeline.settings import LOCALSTACK, Settings

WHERE = tuple(LOCALSTACK)
STACK_ENV = """TILLSTREAM_ENDPOINT_URL=http://127.0.0.1:5
TILLSTREAM_POSTGRES_DSN=postgresql://postgres:secret@127.0.0.1:6/postgres?a=b
TILLSTREAM_REDIS_URL=redis://127.0.0.1:7/0
AWS_ACCESS_KEY_ID=test
"""


def where(settings: Settings) -> dict[str, str | None]:
    return {name: getattr(settings, name) for name in WHERE}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_aws_is_the_default_and_chooses_nothing() -> None:
    assert where(Settings(target="aws")) == where(Settings())
    assert (Settings().endpoint_url, Settings().aws_credentials) == (None, "default")


def test_localstack_chooses_where_and_who() -> None:
    assert where(Settings(target="localstack")) == LOCALSTACK


@pytest.mark.parametrize("name", WHERE)
def test_a_setting_of_its_own_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "default" if name == "aws_credentials" else "http://elsewhere"
    monkeypatch.setenv("TILLSTREAM_TARGET", "localstack")
    monkeypatch.setenv(f"TILLSTREAM_{name.upper()}", own)
    assert where(Settings()) == {**LOCALSTACK, name: own}


def test_nothing_else_changes() -> None:
    others = Settings.model_fields.keys() - {*WHERE, "target"}
    default, local = Settings(), Settings(target="localstack")
    assert {n: getattr(local, n) for n in others} == {n: getattr(default, n) for n in others}


def test_embedded_reads_what_the_stack_wrote(tmp_path: Path) -> None:
    (tmp_path / "stack.env").write_text(STACK_ENV)
    assert where(Settings(target="embedded")) == {
        "endpoint_url": "http://127.0.0.1:5",
        "aws_credentials": "test",
        "postgres_dsn": "postgresql://postgres:secret@127.0.0.1:6/postgres?a=b",
        "redis_url": "redis://127.0.0.1:7/0",
    }


def test_embedded_without_a_stack_says_what_to_start() -> None:
    with pytest.raises(UsageError, match="tillstream stack"):
        Settings(target="embedded")


def test_child_process_aims_at_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stack.env").write_text(STACK_ENV)
    parent = Settings(target="embedded")
    (tmp_path / "stack.env").unlink()
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == parent


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "moon", "deploy"], "target: "),
        (["--target", "embedded", "deploy"], "tillstream stack"),
        (["--target", "localstack", "demo"], "leave --target out"),
    ],
)
def test_a_target_that_cannot_be_is_a_usage_error(arguments: list[str], said: str) -> None:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr and ended.stderr.count("\n") == 1


def test_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLSTREAM_TARGET", "moon")
    ended = CliRunner().invoke(app, ["--target", "embedded", "deploy"])
    assert "tillstream stack" in ended.stderr
