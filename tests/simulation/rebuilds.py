"""Worlds in which somebody keeps rebuilding states while everything goes on, and goes wrong.

The keys are drawn at random, sound ones for the most part: to rebuild what is sound must do no harm
either. Whoever rebuilds may die in the middle of it. So an audit with repair comes at the end,
once all is calm, as its operator would run it again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from consumers.audit.auditing import audit
from consumers.audit.look import known_to_be_passed
from consumers.cache import CacheHandler
from consumers.contents import in_words
from consumers.etl import EtlHandler
from pipeline.bootstrap import backoff, folds
from pipeline.core.errors import SystemFault
from pipeline.core.keyed_state import Fold, StateKey
from pipeline.core.reconciling import EVERYTHING, Check
from pipeline.core.records import Batch
from pipeline.core.refolding import Reach
from pipeline.runtime.folding import FoldTables
from pipeline.runtime.rebuilding import Damaged, Rebuilding
from tests.clocks import VirtualClock
from tests.simulation.checkers import verify
from tests.simulation.ledger import Violation
from tests.simulation.world import World, limits

ONE_ORDER: tuple[Mapping[str, Any], ...] = (
    {"shards": 1, "reshards": 0, "rebuilds": 0},
    {"lateness_s": 10**7, "entries_max": 1_000, "bytes_max": 96 * 1024, "rebuilds": 0},
)
"""Worlds where a rebuilt state has one lawful answer: one shard, or nothing late and no caps."""
AT_ONCE_MAX = 3
_OF_STATES = (Check.STOCK_AND_LOG, Check.STATE_AND_LOG, Check.ROW_UNFOLDED)
"""What a rebuild that dies in the middle may leave behind is in the tables, never in the states."""


class RebuiltWorld(World):
    """A world with an operator who rebuilds states."""

    rebuilt = 0

    def passed(self, ports: Any) -> Reach:
        """Find out how far the consumer is, as the audit does."""
        return known_to_be_passed(ports, folds(self.rules))

    def _rebuild(self) -> None:
        ports, patience = self.outside, backoff(self.settings, self.clock)
        derived = folds(self.rules)
        try:
            passed = patience.call("passed", lambda: self.passed(ports))
            keys = patience.call("keys", lambda: _keys(ports, derived))
            chosen = self.rng.sample(keys, min(len(keys), self.rng.randint(1, 4)))
            tables = FoldTables(ports.states, ports.change_log, ports.combos)
            rebuilding = Rebuilding(derived, self.rules, tables, ports.changes, patience)
            busy = rebuilding.run(Damaged(dict.fromkeys(chosen, 0), passed))
            self.rebuilt += len(chosen) - len(busy)
        except SystemFault:  # its operator will try again
            return

    def _misfortune(self) -> None:
        super()._misfortune()
        at_work = sum(task.name.startswith("operator") for task in self.scheduler.tasks)
        if at_work < AT_ONCE_MAX and self.rng.random() < 0.02:
            self._count += 1
            self.scheduler.spawn(f"operator#{self._count}", self._rebuild)


def _keys(ports: Any, derived: Iterable[Fold]) -> list[StateKey]:
    return sorted(state.key for fold in derived for state in ports.states.scan(fold.name))


def run(seed: int, directed: Mapping[str, Any], kind: type[RebuiltWorld]) -> tuple[str | None, int]:
    """Run a seed to rest, repair, and check; return what is wrong and how many were rebuilt."""
    world = kind(seed, directed)
    try:
        with limits(world.profile):
            world.run()
            _repair(world)
            verify(world)
    except Violation as violation:
        return str(violation), world.rebuilt
    return None, world.rebuilt


def _repair(world: World) -> None:
    clock, ports, settings = VirtualClock(), world.ports, world.settings
    patience = backoff(settings, clock)
    found = audit(ports, settings, clock, EVERYTHING, mend=True)
    for finding in found.findings:
        if finding.check in _OF_STATES:
            raise Violation(f"a state was harmed: {in_words(finding)}")
    for shard_id, records in ports.changes.records.items():
        for handler in (
            EtlHandler(ports.warehouse, ports.quarantine, patience),
            CacheHandler(ports.cache, ports.quarantine, patience),
        ):
            handler.handle(Batch(shard_id, list(records)))
    again = audit(ports, settings, clock, EVERYTHING, mend=False)
    if again.findings:
        raise Violation(f"after the repair: {in_words(again.findings[0])}")
