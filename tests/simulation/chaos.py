"""The outside, as bad as it may lawfully be.

Every call of a port goes through here. It may fail before it acts, act and lose its answer, take
the caller down before or after, be slow, do some of its items and leave the rest out, or do them
one by one in any order while others run in between. Systems can be down for a stretch.
"""

from collections.abc import Callable, Sequence
from random import Random  # noqa: TID251 - seeded: one integer decides the whole run
from typing import Any

from pipeline.core.errors import LeaseLost, TransientFault
from pipeline.ports.streams import IteratorExpired, Page
from tests.simulation.ledger import Violation
from tests.simulation.narrate import narrate
from tests.simulation.profile import Profile
from tests.simulation.scheduler import Crash, Scheduler
from tests.simulation.watch import Watch

BULK = frozenset(
    {
        "claims.claim",
        "change_log.record",
        "change_log.annotate",
        "combos.upsert",
        "states.load",
        "states.commit",
        "quarantine.put",
        "changes.publish",
        "cache.invalidate",
    }
)
KEYED = frozenset({"claims.claim", "change_log.record", "states.load", "states.commit"})
"""Those of them that answer by key; the others return what is left."""
CURSOR_LIFE_S = 300
FATES = ("refused", "lost", "slow", "partial", "partial and lost", "died before", "died after")

Tell = Callable[[str, str], None]


class Port:
    """A port whose every method goes through the chaos."""

    def __init__(self, chaos: "Chaos", name: str, port: Any) -> None:
        self._chaos, self._name, self._port = chaos, name, port

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._port, name)
        return lambda *args: self._chaos.call(f"{self._name}.{name}", method, args)


class Outside:
    """All ports of an installation behind the chaos."""

    def __init__(self, chaos: "Chaos", ports: Any) -> None:
        self._chaos, self._ports = chaos, ports

    def __getattr__(self, name: str) -> Port:
        return Port(self._chaos, name, getattr(self._ports, name))


class Chaos:
    """Decide what becomes of each call, from the seed."""

    telling = False
    """Whether a trace is kept; descriptions cost more than the calls."""

    def __init__(self, scheduler: Scheduler, profile: Profile, watch: Watch, tell: Tell) -> None:
        self._scheduler, self._profile = scheduler, profile
        self._watch, self._tell = watch, tell
        self._rng: Random = scheduler.rng
        self._opened: dict[str, float] = {}
        self.calm = False
        self.down_until: dict[str, float] = {}
        self.broken = {profile.broken}
        """Down until everybody who can do without has come to rest."""
        self.calls = 0

    def call(self, name: str, method: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Make one call of a port, or something worse."""
        self._scheduler.pause()
        self.calls += 1
        port = name.partition(".")[0]
        out = self.down_until.get(port, 0.0) > self._scheduler.now_s and not self.calm
        if out or port in self.broken:
            self._say(name, args, "down")
            raise TransientFault(f"{port} is down")
        fate = self._fate()
        if name in ("events.read", "changes.read") and fate in ("acts", "torn"):
            return self._read(name, method, args)
        if name in BULK and fate in ("partial", "partial and lost", "torn") and args[0]:
            return self._bulk(name, method, args[0], fate)
        return self._whole(name, method, args, fate)

    def _fate(self) -> str:
        drawn = self._rng.random()
        if self.calm:
            return "acts"
        if drawn < self._profile.trouble:
            deadly = self._rng.random() < 0.3
            return self._rng.choice(FATES if deadly else FATES[:5])
        return "torn" if drawn < self._profile.trouble + self._profile.torn else "acts"

    def _whole(
        self, name: str, method: Callable[..., Any], args: tuple[Any, ...], fate: str
    ) -> Any:
        if fate in ("refused", "died before"):
            self._say(name, args, fate)
            raise TransientFault(fate) if fate == "refused" else Crash(fate)
        if fate == "slow":
            self._say(name, args, fate)
            self._scheduler.sleep(self._rng.choice((0.1, 5.0, 90.0)))
        try:
            answer = self._watch.act(name, method, args)
        except (LeaseLost, Violation) as told:
            self._say(name, args, type(told).__name__)
            raise
        self._say(name, args, "acts" if fate in ("torn", "partial") else fate, answer)
        if fate == "died after":
            raise Crash(fate)
        if fate in ("lost", "partial and lost"):
            raise TransientFault("acted, but the answer was lost")
        return answer

    def _bulk(self, name: str, method: Callable[..., Any], items: Sequence[Any], fate: str) -> Any:
        """Do some items, or all in any order; others may run in between."""
        order = list(range(len(items)))
        self._rng.shuffle(order)
        if fate != "torn":
            order = order[: self._rng.randrange(len(order) + 1)]
        answers: dict[int, Any] = {}
        for number, at in enumerate(order):
            if number:
                self._scheduler.pause()
            answers[at] = self._watch.act(name, method, ([items[at]],))
            self._say(name, ([items[at]],), f"{fate}, {number + 1} of {len(items)}", answers[at])
        if fate == "partial and lost":
            raise TransientFault("some of it was done, but the answer was lost")
        if name == "changes.publish":
            return [answers[at][0] if at in answers else None for at in range(len(items))]
        if name in KEYED:
            return {key: value for answer in answers.values() for key, value in answer.items()}
        return [item for at, item in enumerate(items) if at not in answers]

    def _read(self, name: str, method: Callable[..., Any], args: tuple[Any, ...]) -> Page:
        """Cut batches anywhere; let cursors expire; answer with nothing now and then."""
        shard_id, cursor, limit = args
        opened = self._opened.setdefault(name + shard_id + cursor, self._scheduler.now_s)
        old = self._scheduler.now_s - opened > CURSOR_LIFE_S
        if not self.calm and (old or self._rng.random() < self._profile.trouble / 4):
            self._opened.pop(name + shard_id + cursor)
            self._say(name, args, "iterator expired")
            raise IteratorExpired("the cursor is too old")
        if not self.calm and self._rng.random() < self._profile.trouble:
            self._say(name, args, "an empty page")
            return Page([], cursor, 1)
        page: Page = method(shard_id, cursor, self._rng.randint(1, limit))
        if page.records:
            self._say(name, args, f"{len(page.records)} records")
        return page

    def _say(self, name: str, args: tuple[Any, ...], outcome: str, answer: Any = None) -> None:
        if self.telling and not (name.endswith(".read") and outcome == "acts"):
            self._tell(name, f"{outcome:<14}  {narrate(name, args, answer)}".rstrip())
