"""The guarantees under fire: seeds agree, planted faults do not get away.

`python -m tests.simulation SEED` tells what happened in one of them, line by line.
"""

import re
from functools import lru_cache
from pathlib import Path

import pytest

from tests.simulation.planted import FAULTS
from tests.simulation.runs import Outcome, first_caught, run
from tests.simulation.world import CONSUMERS, WAITS_FOR, World

README = (Path(__file__).parents[2] / "README.md").read_text()
SEEDS = 200
FAULT_SEEDS_MAX = 500
BLOCK = 20
KNOWN = (383, 563, 795)
"""Seeds that meet something rare: a warehouse restored to a time before shards that have ended."""


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_whatever_fails_the_tables_and_sinks_end_as_the_oracle_says(first: int) -> None:
    wrong = {o.seed: o.wrong for o in map(run, range(first, first + BLOCK)) if o.wrong}
    assert not wrong


@pytest.mark.parametrize("seed", KNOWN)
def test_a_seed_that_was_hard_once_still_agrees(seed: int) -> None:
    outcome = run(seed)
    assert outcome.wrong is None
    assert {"restore", "split"} <= outcome.world.mishaps.keys()


@lru_cache
def catch(name: str) -> Outcome | None:
    return first_caught(FAULTS[name], FAULT_SEEDS_MAX)


def caught_by(name: str) -> int | None:
    outcome = catch(name)
    return outcome.seed if outcome else None


def guarantees() -> list[tuple[list[str], list[str]]]:
    """Read the README's table: the checkers and the faults of each guarantee."""
    rows = [line.split("|") for line in README.splitlines() if re.match(r"\| G\d ", line)]
    return [
        (re.findall(r"`(?:\w+\.)?(\w+)`", row[3]), re.findall(r'"(.+?)"', row[4])) for row in rows
    ]


CLAIMED = [(checkers, fault) for checkers, faults in guarantees() for fault in faults]


@pytest.mark.parametrize(("checkers", "fault"), CLAIMED, ids=[fault for _, fault in CLAIMED])
def test_the_checker_that_the_readme_names_catches_the_fault(
    checkers: list[str], fault: str
) -> None:
    outcome = catch(fault)
    assert outcome is not None
    assert outcome.found_by & set(checkers), outcome.found_by


def test_the_readme_names_a_guarantee_for_every_fault() -> None:
    assert len(guarantees()) == 7
    assert {fault for _, fault in CLAIMED} == {name for name in FAULTS if name[:2] != "P2"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(name: str) -> None:
    assert caught_by(name) is not None


@pytest.mark.parametrize("name", FAULTS)
def test_the_seed_that_catches_a_fault_agrees_without_it(name: str) -> None:
    seed = caught_by(name)
    assert seed is not None
    assert run(seed, FAULTS[name].directed).wrong is None


@pytest.mark.parametrize("seed", range(10))
def test_a_seed_tells_the_same_story_twice(seed: int) -> None:
    once, again = (run(seed, keep_trace=True).trace for _ in range(2))
    assert once
    assert once == again


def test_keeping_a_trace_changes_nothing() -> None:
    seeds = range(10)
    assert [run(s).world.steps for s in seeds] == [
        run(s, keep_trace=True).world.steps for s in seeds
    ]


def test_chaos_is_as_bad_as_it_says() -> None:
    worlds = [run(seed).world for seed in range(60)]
    mishaps = {what for world in worlds for what in world.mishaps}
    verdicts = {verdict for world in worlds for verdict in world.watch.counts}
    assert mishaps >= {
        *("crash", "lease lost", "frozen", "wakes"),
        *("outage", "split", "merge", "restore", "rebuild"),
    }
    assert verdicts == {"accepted", "duplicate", "conflict", "rejected"}


def test_everything_that_was_put_is_read_to_the_end() -> None:
    world = World(1, {})
    world.run()
    assert not world.script
    assert all(map(world.drained, CONSUMERS))


def test_a_failing_trace_ends_with_what_failed_and_says_who_did_what() -> None:
    fault = FAULTS["no revision guard"]
    outcome = run(caught_by("no revision guard") or 0, fault=fault, keep_trace=True)
    assert "went back" in (outcome.wrong or "")
    assert "Violation" in outcome.trace[-1]
    for word in ("claims.claim", "states.commit", "won", "begins", "accepted"):
        assert any(word in line for line in outcome.trace), word


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("down", WAITS_FOR)
def test_a_sink_that_is_down_holds_nobody_else_up(down: str, seed: int) -> None:
    outcome = run(seed, {"broken": down})
    assert (outcome.wrong, outcome.world.mishaps.get("mended")) == (None, 1)
