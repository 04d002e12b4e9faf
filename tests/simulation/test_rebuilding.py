"""States are rebuilt beside a fleet at work, through crashes and zombies, and nothing is harmed."""

from typing import Any

import pytest

from consumers.audit.auditing import audit
from consumers.contents import in_words
from pipeline.core import refolding
from pipeline.core.reconciling import EVERYTHING
from pipeline.core.refolding import Reach
from pipeline.runtime import rebuilding
from tests.clocks import VirtualClock
from tests.simulation.rebuilds import ONE_ORDER, RebuiltWorld, run
from tests.simulation.world import World, limits

SEEDS, FAULTY_SEEDS = 30, 100
HARD = {"trouble": 0.02, "torn": 0.9, "batch_max": 30, "bases": 1, "locations": 1, "burst": 0}
"""One key, written a row at a time while others run: where a rebuild has most to get wrong."""


@pytest.mark.parametrize("directed", ONE_ORDER, ids=["one shard", "nothing late"])
def test_rebuilding_beside_a_fleet_harms_nothing(directed: dict[str, Any]) -> None:
    outcomes = [run(seed, directed, RebuiltWorld) for seed in range(SEEDS)]
    assert [(seed, wrong) for seed, (wrong, _) in enumerate(outcomes) if wrong] == []
    assert sum(rebuilt for _, rebuilt in outcomes) > SEEDS


def test_audit_accuses_no_installation_that_came_to_rest() -> None:
    accused = {}
    for seed in range(SEEDS):
        world = World(seed, {"broken": ""})
        with limits(world.profile):
            world.run()
            found = audit(world.ports, world.settings, VirtualClock(), EVERYTHING, mend=False)
        if found.findings:
            accused[seed] = in_words(found.findings[0])
    assert accused == {}


class Overconfident(RebuiltWorld):
    """Take everything in the log for passed, also what the consumer has yet to bring."""

    def passed(self, ports: Any) -> Reach:
        return {f"shardId-{n:012d}": (10**9, 0) for n in range(20)}


def test_passing_more_than_is_known_would_be_caught() -> None:
    assert _first_caught(Overconfident)


def test_keeping_the_epoch_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "next_epoch", lambda *seen: 1)
    assert _first_caught(RebuiltWorld)


def test_taking_in_rows_behind_the_marks_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (rebuilding, refolding):
        monkeypatch.setattr(module, "is_within", lambda row, reach: True)
    assert _first_caught(RebuiltWorld)


def _first_caught(kind: type[RebuiltWorld]) -> str | None:
    for seed in range(FAULTY_SEEDS):
        wrong, _ = run(seed, {**ONE_ORDER[seed % 2], **HARD}, kind)
        if wrong:
            return wrong
    return None
