"""Run seeds, with or without a planted fault."""

from collections.abc import Mapping
from contextlib import nullcontext
from traceback import extract_tb
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.simulation.checkers import verify
from tests.simulation.ledger import Violation
from tests.simulation.planted import Fault
from tests.simulation.world import World, limits

AS_DRAWN: Mapping[str, Any] = MappingProxyType({})


class Outcome(NamedTuple):
    """How one run ended: what is wrong, if anything is, and the functions that led to finding it;
    what happened, if it was asked for.
    """

    seed: int
    wrong: str | None
    trace: list[str]
    world: World
    found_by: frozenset[str] = frozenset()


def run(
    seed: int,
    directed: Mapping[str, Any] = AS_DRAWN,
    fault: Fault | None = None,
    *,
    keep_trace: bool = False,
) -> Outcome:
    """Run one seed to rest and check it. A planted fault is gone before the last checks."""
    world = World(seed, {**(fault.directed if fault else {}), **directed}, keep_trace)
    wrong, found_by = None, frozenset[str]()
    try:
        with limits(world.profile):
            with fault.planted() if fault else nullcontext():
                world.run()
            verify(world)
    except Violation as violation:
        wrong = str(violation)
        found_by = frozenset(frame.name for frame in extract_tb(violation.__traceback__))
    return Outcome(seed, wrong, world.trace or [], world, found_by)


def first_caught(fault: Fault, seeds: int) -> Outcome | None:
    """Return the first seed that catches a planted fault."""
    for seed in range(seeds):
        outcome = run(seed, fault=fault)
        if outcome.wrong:
            return outcome
    return None
