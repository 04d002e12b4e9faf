"""What the documents say of settings, reasons and commands is true, and complete."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.cli import app
from pipeline.core.reasons import Reason
from pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTRACT = (ROOT / "docs" / "wire-contract.md").read_text()
REASONS = CONTRACT.partition("## Why a record is refused")[2]
TABLE = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", README, re.MULTILINE))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_in_the_table_with_its_default(name: str) -> None:
    default = Settings.model_fields[name].default
    said = Settings.model_validate({name: TABLE[name]} if TABLE[name] else {})
    assert getattr(said, name) == default


def test_table_has_no_setting_that_is_gone() -> None:
    assert set(TABLE) == set(Settings.model_fields)


@pytest.mark.parametrize("reason", list(Reason))
def test_reason_is_in_the_contract(reason: Reason) -> None:
    assert f"| `{reason}` |" in CONTRACT


def test_reasons_are_in_the_contract_in_the_order_of_the_checks() -> None:
    assert re.findall(r"^\| `(\w+)` \| [^|]* \| [^|]* \|$", REASONS, re.MULTILINE) == [*Reason]


def test_every_command_is_in_the_table() -> None:
    said = set(re.findall(r"^\| `([a-z-]+)[^`]*` \| ", README, re.MULTILINE))
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert commands <= said


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|infra)/[\w/.]+)`", README))))
def test_file_that_the_readme_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_duration_without_a_unit_is_seconds() -> None:
    assert Settings.model_validate({"idle_wait": "2"}).idle_wait == timedelta(seconds=2)
