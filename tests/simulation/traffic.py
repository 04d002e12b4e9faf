"""Traffic that hurts: what tills, uploads and strangers put on the stream, and what befalls it.

A script is drawn before the run: what is put, in order, and between the puts the acts of an
operator (reshards, a restored warehouse, a rebuild of the states) and outages.
"""

import json
from random import Random  # noqa: TID251 - seeded: one integer decides the whole run
from typing import Any, NamedTuple, TypeAlias

from pipeline.core.instants import SECOND, format_instant
from pipeline.core.records import KPL_MAGIC
from tests.simulation.profile import Profile
from tests.simulation.scheduler import CLOCK_START
from tests.unit.traffic import START

Event: TypeAlias = dict[str, Any]
GAPS_S = (0, 0, 0, 30, 200, 300, 600, 900)
HOSTILE = (
    b"",
    b" \n",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"location": 1, "location": 1}',
    b'{"transaction_id": "nobody"}',
    KPL_MAGIC,
    KPL_MAGIC + b"no aggregate, but its magic and some bytes",
    b"[" * 500,
)
FOREIGN = (
    b"{}",
    b"no fact",
    b'{"type": "ComboChanged", "schema_version": 99}',
    b'{"type": "StockChanged", "schema_version": 1}',
)
"""What a stranger may put on the stream of facts."""


class Put(NamedTuple):
    """User records that go to one shard: the one of the key, or wherever `place` (0 to 1) falls.

    Several of them, or a lone one that says so, travel as an aggregate. A `stale` one names a hash
    key of another shard, as a producer does who has not seen a reshard.
    """

    data: tuple[bytes, ...]
    key: str
    place: float | None = None
    aggregated: bool = False
    stale: bool = False


class Act(NamedTuple):
    """Something that is done to the installation."""

    name: str


Step: TypeAlias = Put | Act


def script(rng: Random, profile: Profile) -> list[Step]:
    """Draw everything that will be put or done, in order."""
    events = _settling() if profile.story == "settling" else _events(rng, profile)
    arrived = sorted(events, key=lambda e: e["at"] + rng.random() * profile.disorder_s)
    steps = _pack(rng, profile, _resend(rng, profile, arrived))
    for name in ("reshard", "rebuild", "restore", "outage"):
        for _ in range(getattr(profile, f"{name}s")):
            steps.insert(rng.randint(0, len(steps)), Act(name))
    if profile.restores:
        steps.insert(0, Act("snapshot"))
        steps.insert(rng.randint(0, len(steps)), Act("snapshot"))
    return steps


def _events(rng: Random, profile: Profile) -> list[Event]:
    found, at = [], 0
    for number in range(profile.size):
        at += rng.choice(GAPS_S)
        category = rng.choice(("jacket", "pants", "jacket", "pants", "jacket", "pants", "tie"))
        base = str(rng.randrange(profile.bases))
        units = rng.choice(profile.units)
        found.append(
            {
                "at": at,
                "location": f"L{rng.randrange(profile.locations)}",
                "transaction_id": f"{rng.randrange(1_000):03d}-{number}",
                "product_id": category[0].upper() + base + rng.choice("ab"),
                "base_product_id": base,
                "category": category,
                "change": units if rng.random() < profile.returns else -units,
                "source": "batch" if rng.random() < 0.08 else "POS",
            }
        )
    return found


def _settling() -> list[Event]:
    """Tell of two jackets on one ticket: one combo settles, then a return undoes the other."""
    told = (
        (0, "w", "P1b", -1),
        (500, "x", "J1b", -2),
        (1_000, "y", "P1b", -1),
        (1_200, "k", "J1b", -1),
        (1_300, "r", "P1b", 1),
    )
    names = {"J": "jacket", "P": "pants"}
    return [
        {
            "at": at,
            "location": "L0",
            "transaction_id": name,
            "product_id": product,
            "base_product_id": "1",
            "category": names[product[0]],
            "change": change,
            "source": "POS",
        }
        for at, name, product, change in told
    ]


def _resend(rng: Random, profile: Profile, events: list[Event]) -> list[Event | bytes]:
    """Add what producers send again, what contradicts itself, and what is no event."""
    found: list[Event | bytes] = []
    sent: list[Event] = []
    for event in events:
        found.append(event)
        sent.append(event)
        if rng.random() < profile.resent:
            source = rng.choice(("POS", "batch"))
            found.append({**rng.choice(sent), "source": source, "again": True})
        if rng.random() < profile.conflicts:
            other = rng.choice(({"change": -7}, {"location": "L9"}, {"product_id": "X"}))
            found.append({**rng.choice(sent), **other, "again": True})
        if rng.random() < profile.hostile:
            ahead = (CLOCK_START - START) // SECOND + rng.choice((100, 400, 9_999))
            fast = {**event, "at": ahead, "transaction_id": f"fast-{event['transaction_id']}"}
            found.append(rng.choice((*HOSTILE, encode(fast))))
    return found


def _pack(rng: Random, profile: Profile, items: list[Event | bytes]) -> list[Step]:
    """Choose what travels together, and through which shard."""
    steps: list[Step] = []
    while items:
        count = rng.randint(1, 4) if rng.random() < profile.aggregates else 0
        taken, items = items[: max(count, 1)], items[max(count, 1) :]
        first = taken[0]
        place = None if profile.by_key else rng.random()
        if isinstance(first, bytes):
            key = "stranger"
        else:
            key = f"{first['location']}|{first['base_product_id']}"
            if first.get("again") and rng.random() < profile.elsewhere:
                place = rng.random()
        data = tuple(item if isinstance(item, bytes) else encode(item) for item in taken)
        stale = count > 0 and rng.random() < 0.1
        steps.append(Put(data, key, place, count > 0, stale))
    return steps


def encode(event: Event) -> bytes:
    """Write an event as a till does."""
    fields = {name: value for name, value in event.items() if name not in ("at", "again")}
    fields["timestamp"] = format_instant(START + event["at"] * SECOND)
    return json.dumps(fields).encode()
