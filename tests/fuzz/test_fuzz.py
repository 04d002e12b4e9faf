"""Hostile bytes: what once broke a claim is replayed, a short fuzz finds nothing, mistakes show.

`make fuzz` is the long one.
"""

import sys
from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.fuzz.__main__ import main
from tests.fuzz.claims import Broken
from tests.fuzz.hunt import TARGETS, Finding, Hunt, hunt
from tests.fuzz.planted import MISTAKES
from tests.fuzz.seeds import NAMES, replayed, store, stored
from tests.unit.traffic import raw_line

SEED = 1
ROUNDS = 12
"""Twelve thousand inputs: some three seconds, and twice what any planted mistake needs."""


@pytest.mark.parametrize("name", NAMES)
def test_input_that_was_kept_breaks_no_claim(name: str) -> None:
    broken: dict[bytes, str] = {}
    for data in replayed(name):
        try:
            TARGETS[name].check(data)
        except Broken as fault:
            broken[data] = str(fault)
    assert (len(replayed(name)) > 0, broken) == (True, {})


@pytest.mark.parametrize("name", NAMES)
def test_inputs_that_nobody_chose_break_no_claim(name: str) -> None:
    assert hunt(name, ROUNDS, SEED) is None


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistake_is_found_by_the_seed_that_finds_nothing_else(mistake: str) -> None:
    planted = MISTAKES[mistake]
    with planted.planted():
        assert isinstance(hunt(planted.target, ROUNDS, SEED), Finding)


def test_what_breaks_a_claim_is_made_small() -> None:
    with MISTAKES["upper control characters pass"].planted():
        found = Hunt(SEED).round("event")
    assert found is not None
    assert len(found.data) < len(raw_line()) + 10


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep nothing that these tests find."""
    monkeypatch.setattr(seeds, "HERE", tmp_path)


@pytest.mark.usefixtures("elsewhere")
def test_inputs_of_any_bytes_are_kept_once_and_read_back() -> None:
    inputs = [b"\x00\xff\n\\'\"", b"b'#", b""]
    store("corpus", "event", inputs, "a claim\nof two lines: \u00e9")
    store("corpus", "event", inputs)
    assert stored("corpus", "event") == inputs


def fuzzed(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tests.fuzz", "--seed", "1", *options])
    return main()


@pytest.mark.usefixtures("elsewhere")
def test_run_that_breaks_a_claim_fails_and_keeps_the_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with MISTAKES["members share a sub-sequence number"].planted():
        code = fuzzed(monkeypatch, "--seconds", "60")
    assert (code, len(stored("regressions", "record"))) == (1, 1)
    assert "BROKEN by an input of record: nothing is lost" in capsys.readouterr().out


@pytest.mark.usefixtures("elsewhere")
def test_run_that_breaks_nothing_succeeds_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert fuzzed(monkeypatch, "--seconds", "0") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("elsewhere")
def test_run_learns_the_kinds_of_input_that_it_met(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fuzzed(monkeypatch, "--seconds", "0", "--learn") == 0
    assert len(stored("corpus", "event")) > 50


@pytest.mark.parametrize("name", NAMES)
def test_seed_makes_the_same_inputs_again(name: str) -> None:
    once, again = Hunt(SEED, shrinks=False), Hunt(SEED, shrinks=False)
    for running in (once, again):
        running.round(name)
        running.round(name)
    assert len(once.traits[name]) > 100
    assert once.traits[name] == again.traits[name]


@pytest.mark.parametrize("name", NAMES)
def test_kept_input_shows_what_nothing_else_kept_shows(name: str) -> None:
    kinds = [TARGETS[name].check(data).kind for data in stored("corpus", name)]
    assert len(kinds) == len(set(kinds))
