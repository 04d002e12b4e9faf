"""`python -m tests.simulation SEED` tells what happened in one seed; `--seeds N` runs many."""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.planted import FAULTS
from tests.simulation.runs import first_caught, run

STOP_AFTER = 5
"""Failing seeds that one wants to see at most."""
WIDTH_MAX = 160


def main() -> int:
    """Return 0 if every seed agreed."""
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="replay one seed and print its trace")
    parser.add_argument("--seeds", type=int, default=0, help="run this many seeds")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--fault", choices=[*FAULTS, "all"], help="plant a fault")
    arguments = parser.parse_args()
    if arguments.fault:
        names = list(FAULTS) if arguments.fault == "all" else [arguments.fault]
        if arguments.seed is None:
            return max([_hunt(name, arguments.seeds or 500) for name in names])
    if arguments.seed is None:
        return _many(arguments.start, arguments.seeds or 200)
    return _one(arguments.seed, arguments.fault)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _one(seed: int, fault: str | None) -> int:
    outcome = run(seed, fault=FAULTS[fault] if fault else None, keep_trace=True)
    _say(f"seed {seed}: {outcome.world.profile}")
    for line in outcome.trace:
        _say(line)
    _say(f"FAILED: {outcome.wrong}" if outcome.wrong else "every check holds")
    return int(outcome.wrong is not None)


def _many(start: int, count: int) -> int:
    began, wrong = time.monotonic(), 0
    total: Counter[str] = Counter()
    for seed in range(start, start + count):
        outcome = run(seed)
        world = outcome.world
        total.update(world.watch.counts)
        total.update(world.mishaps)
        total.update(steps=world.steps, calls=world.chaos.calls)
        if outcome.wrong:
            wrong += 1
            _say(f"seed {seed}: {outcome.wrong}")
            if wrong >= STOP_AFTER:
                break
    seconds = time.monotonic() - began
    done = seed - start + 1
    _say(f"{done - wrong} of {done} seeds agree; {done / seconds:.1f} a second; {dict(total)}")
    return int(wrong > 0)


def _hunt(name: str, seeds: int) -> int:
    outcome = first_caught(FAULTS[name], seeds)
    if outcome is None:
        _say(f"{name}: NOT CAUGHT in {seeds} seeds")
        return 1
    wrong = " ".join((outcome.wrong or "").split())
    _say(f"{name}: caught by seed {outcome.seed}: {wrong[:WIDTH_MAX]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
