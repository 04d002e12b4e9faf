"""The fuzz: rounds of Hypothesis over programs of bytes, and a pool that grows between them.

Why Hypothesis and not atheris. atheris is kept up, but has wheels for Linux on x86-64 alone, and
its newest release has none for Python 3.11; anywhere else one builds it with a clang of one's own.
What it would add is coverage of Python bytecode, and the parser that takes nearly all events is
Rust (jiter, pydantic), the protobuf decoder C: it would be led by the small part that the unit
tests already cover. HypoFuzz is kept up too, but brings a web server and a formatter along, and is
led by the same bytecode. Hypothesis is here already, works wherever Python does, shrinks what it
finds and replays a seed.

Its own cost is half a millisecond an example, several times what a judgement takes. So an example
is one *sheet* of bytes, cut into programs of a fixed size that `dice` reads as choices. (Lists of
programs of any size were tried: Hypothesis repeats parts of lists on purpose, and two in three
programs were repeats.) `hypothesis.target` climbs towards greater numbers, and what is new here is
a kind, not a number; so an input that shows a new trait (see `claims`) joins the pool that the next
round starts from.
"""

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import aggregates, shapes
from tests.fuzz.claims import Broken, Trait, check_event, check_record
from tests.fuzz.dice import Dice
from tests.fuzz.seeds import first_pool, replayed
from tests.fuzz.shapes import Pool

PROGRAMS = 16
"""In one example: more would make it slow to shrink."""
EXAMPLES = 64
"""In one round, which ends before anybody waits for it: about a thousand inputs."""
POOL_BYTES_MAX = 2_048
"""A larger input is judged, but not kept: it would slow everything that is made from it."""
PROGRAM_BYTES = 40
_SHEETS = st.binary(min_size=PROGRAMS * PROGRAM_BYTES, max_size=PROGRAMS * PROGRAM_BYTES)


class Target(NamedTuple):
    """How inputs are made, and what is claimed of them."""

    made: Callable[[Dice, Pool], bytes]
    check: Callable[[bytes], Trait]


TARGETS = {
    "event": Target(shapes.event, check_event),
    "record": Target(aggregates.record, check_record),
}


class Finding(NamedTuple):
    """An input that breaks a claim, as small as it could be made, and the claim."""

    target: str
    data: bytes
    claim: str


class Hunt:
    """One run: the same for the same seed, round by round."""

    def __init__(self, seed: int, *, shrinks: bool = True) -> None:
        phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
        self._seed, self._round = seed, 0
        self._settings = settings(
            max_examples=EXAMPLES,
            phases=phases,
            database=None,
            deadline=None,
            derandomize=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        self.pool = first_pool()
        self.executions = dict.fromkeys(TARGETS, 0)
        self.traits: dict[str, dict[Trait, bytes]] = {name: {} for name in TARGETS}

    def round(self, name: str) -> Finding | None:
        """Judge a thousand inputs or so of one target; stop at the first that breaks a claim."""
        self._round += 1
        target, pool, found = TARGETS[name], self.pool, list[Finding]()
        fresh: dict[Trait, bytes] = {}

        def judge(sheet: bytes) -> None:
            for at in range(0, len(sheet), PROGRAM_BYTES):
                data = target.made(Dice(sheet[at : at + PROGRAM_BYTES]), pool)
                self.executions[name] += 1
                try:
                    fresh.setdefault(target.check(data), data)
                except Broken as broken:
                    found.append(Finding(name, data, str(broken)))
                    raise

        test = self._settings(given(_SHEETS)(judge))
        try:
            seed(f"{self._seed} {self._round}")(test)()
        except Broken:
            return found[-1]  # Hypothesis ends with the smallest
        self._learn(name, fresh)
        return None

    def _learn(self, name: str, fresh: dict[Trait, bytes]) -> None:
        known = self.traits[name]
        new = {trait: data for trait, data in fresh.items() if trait not in known}
        known |= new
        small = tuple(data for data in new.values() if len(data) <= POOL_BYTES_MAX)
        more = {f"{name}s": getattr(self.pool, f"{name}s") + small}
        self.pool = self.pool._replace(**more)

    def new_kinds(self, name: str) -> list[bytes]:
        """List the shortest input of every kind of verdict that no kept input shows."""
        known = {TARGETS[name].check(data).kind for data in replayed(name)}
        found: dict[str, bytes] = {}
        for trait, data in self.traits[name].items():
            if trait.kind not in known and len(data) <= POOL_BYTES_MAX:
                found[trait.kind] = min(found.get(trait.kind, data), data, key=len)
        return sorted(found.values(), key=lambda data: (len(data), data))


def hunt(name: str, rounds: int, seed: int) -> Finding | None:
    """Run some rounds of one target, for a test that does not care for the smallest input."""
    running = Hunt(seed, shrinks=False)
    return next(filter(None, (running.round(name) for _ in range(rounds))), None)
