"""Seeded POS traffic with everything that real tills do to a pipeline. For trying things out.

Sales of a few shops, some as jacket and pants of one suit within minutes; returns; the nightly
batch that resends; repeats by the till's own retries; arrival out of order; and now and then a
record that is broken.
"""

import heapq
import random  # noqa: TID251 - seeded by the caller, so the traffic is a function of the seed
from collections.abc import Iterator
from itertools import count

import orjson

from pipeline.core.instants import MINUTE, SECOND, format_instant

SHOPS, SUITS = 3, 12
STEP_US = 10 * SECOND
"""Between two customers, on average."""
RETURNS = 0.15
"""Share of line items that come back, as fashion bought without trying on does."""
DISORDER_US = 3 * MINUTE
"""How far the arrival of neighbours may be swapped; well within the default allowed lateness."""
_BROKEN = (
    b"",
    b"not json",
    b'{"location":"S-1"}',
    b'{"location":"S-1","location":"S-2"}',
    b"\xff\xfe",
    b"[]",
)


def traffic(seed: int, start: int, step_us: int = STEP_US) -> Iterator[bytes]:
    """Yield lines without end; `start` is the first sale's instant.

    The same arguments, the same lines.
    """
    rng = random.Random(seed)
    waiting: list[tuple[int, int, bytes]] = []  # by arrival
    tie = count()
    now = start
    for number in count():
        now += rng.randint(1, 2 * step_us)
        for line in _lines(rng, f"{seed}-{number:08d}", now):
            heapq.heappush(waiting, (now + rng.randint(0, DISORDER_US), next(tie), line))
        while waiting and waiting[0][0] <= now:
            yield heapq.heappop(waiting)[2]


def _lines(rng: random.Random, stamp: str, now: int) -> Iterator[bytes]:
    if rng.random() < 0.01:
        yield rng.choice(_BROKEN)
        return
    shop, suit = f"S-{rng.randrange(SHOPS)}", f"{rng.randrange(SUITS):03d}"
    parts = rng.choice([["jacket"], ["pants"], ["jacket", "pants"], ["shirt"], ["tie"]])
    for part, category in enumerate(parts):
        units = rng.choice([1, 1, 1, 2, 5])
        change = units if rng.random() < RETURNS else -units
        event = {
            "location": shop,
            "transaction_id": f"{stamp}-{part}",
            "product_id": f"{category[0].upper()}{suit}",
            "base_product_id": suit,
            "category": category,
            "change": change,
            "timestamp": format_instant(now - rng.randint(0, 2 * MINUTE)),
            "source": "POS" if rng.random() < 0.95 else "batch",
        }
        yield from [orjson.dumps(event)] * (2 if rng.random() < 0.03 else 1)
