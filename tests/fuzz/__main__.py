"""`python -m tests.fuzz --seconds N --seed S` feeds the parser hostile bytes for N seconds.

What breaks a claim is printed and added to `tests/fuzz/regressions`, which the tests replay.
"""

import argparse
import os
import sys
import time

from tests.fuzz.hunt import TARGETS, Finding, Hunt
from tests.fuzz.planted import MISTAKES
from tests.fuzz.seeds import store

PROGRESS_S = 5
SHOWN_MAX = 2_000
"""Bytes of an input that one wants to see on a screen."""


def main() -> int:
    """Return 0 if every input kept every claim."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long; 300 by default")
    parser.add_argument("--seed", type=int, help="the same inputs again; by default new ones")
    parser.add_argument("--mistake", choices=[*MISTAKES], help="plant a mistake and look for it")
    parser.add_argument("--learn", action="store_true", help="add new kinds of input to the corpus")
    arguments = parser.parse_args()
    seed = arguments.seed
    if seed is None:
        seed = int.from_bytes(os.urandom(4))  # a run by hand looks where none has looked before
    _say(f"seed {seed}, {arguments.seconds:g} seconds")
    hunt = Hunt(seed)
    if arguments.mistake:
        with MISTAKES[arguments.mistake].planted():
            return _outcome(_run(hunt, arguments.seconds), keep=False)
    found = _run(hunt, arguments.seconds)
    if arguments.learn:
        for name in TARGETS:
            _say(f"learned: {store('corpus', name, hunt.new_kinds(name))}")
    return _outcome(found, keep=True)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _run(hunt: Hunt, seconds: float) -> Finding | None:
    """Go from target to target, a round each, until something is found or the time is up."""
    began = said = time.monotonic()
    while True:
        for name in TARGETS:
            found = hunt.round(name)
            now = time.monotonic()
            if found or now - began >= seconds:
                _say(_progress(hunt, now - began))
                return found
            if now - said >= PROGRESS_S:
                said = now
                _say(_progress(hunt, now - began))


def _progress(hunt: Hunt, seconds: float) -> str:
    counts = ", ".join(
        f"{hunt.executions[name]:,} {name}s of {len(hunt.traits[name])} traits" for name in TARGETS
    )
    return f"{seconds:4.0f} s: {counts}; {sum(hunt.executions.values()) / seconds:,.0f} a second"


def _outcome(found: Finding | None, *, keep: bool) -> int:
    if found is None:
        _say("every claim holds")
        return 0
    _say(f"BROKEN by an input of {found.target}: {found.claim}")
    _say(ascii(found.data[:SHOWN_MAX]))
    if keep:
        path = store("regressions", found.target, [found.data], found.claim[:200])
        _say(f"kept in {path}; pytest tests/fuzz replays it")
    return 1


if __name__ == "__main__":
    sys.exit(main())
