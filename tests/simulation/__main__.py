"""`python -m tests.simulation SEED` tells what happened in one seed; `--seeds N` runs many."""

import argparse
import logging
import secrets
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from tests.simulation.planted import FAULTS
from tests.simulation.runs import first_caught, run

STOP_AFTER = 5
"""Failing seeds that one wants to see at most."""
WIDTH_MAX = 160
FRESH_BELOW = 10**9
"""Where fresh seeds are drawn from: short enough to be typed again."""
PER_TASK = 10
"""Seeds that a process runs before it tells of them."""


class Ran(NamedTuple):
    """One seed, in a form that travels between processes."""

    seed: int
    wrong: str | None
    counts: Counter[str]


def main() -> int:
    """Return 0 if every seed agreed."""
    # What a consumer says of an outage is no news here: outages are what is simulated.
    logging.getLogger("tillstream").addHandler(logging.NullHandler())
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="replay one seed and print its trace")
    parser.add_argument("--seeds", type=int, default=0, help="run this many seeds")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--fresh", action="store_true", help="start anywhere, and say where")
    parser.add_argument("--jobs", type=int, default=2, help="processes to run them in")
    parser.add_argument("--fault", choices=[*FAULTS, "all"], help="plant a fault")
    arguments = parser.parse_args()
    if arguments.fault:
        names = list(FAULTS) if arguments.fault == "all" else [arguments.fault]
        if arguments.seed is None:
            return max([_hunt(name, arguments.seeds or 500) for name in names])
    if arguments.seed is None:
        start = secrets.randbelow(FRESH_BELOW) if arguments.fresh else arguments.start
        return _many(range(start, start + (arguments.seeds or 200)), arguments.jobs)
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


def _ran(seed: int) -> Ran:
    outcome = run(seed)
    world = outcome.world
    counts = Counter(world.watch.counts) + Counter(world.mishaps)
    return Ran(seed, outcome.wrong, counts + Counter(steps=world.steps, calls=world.chaos.calls))


def _many(seeds: range, jobs: int) -> int:
    """Run seeds, telling of each that fails; every one of them is named before it runs."""
    _say(f"seeds {seeds.start} to {seeds.stop - 1}")
    began, total = time.monotonic(), Counter[str]()
    wrong: list[Ran] = []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with ProcessPoolExecutor(jobs) as pool, Progress(*columns) as progress:
        for ran in progress.track(pool.map(_ran, seeds, chunksize=PER_TASK), total=len(seeds)):
            total.update(ran.counts)
            if ran.wrong:
                wrong.append(ran)
                progress.print(f"seed {ran.seed}: {ran.wrong}", markup=False)
            if len(wrong) >= STOP_AFTER:
                pool.shutdown(cancel_futures=True)
                break
    for ran in wrong:
        _say(f"FAILED: make simulate SEED={ran.seed}")
    if len(wrong) < STOP_AFTER:
        seconds = time.monotonic() - began
        _say(f"{len(seeds) - len(wrong)} of {len(seeds)} seeds agree, in {seconds:.0f} s")
        _say("met: " + ", ".join(f"{n:,} {what}" for what, n in sorted(total.items())))
    return int(bool(wrong))


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
