"""What kind of run a seed stands for: drawn once, before anything happens.

A run is small, so that there can be many; each profile is extreme in a few respects and ordinary in
the others. The directed ones fix some respects, for what chance alone would meet too rarely.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from random import Random  # noqa: TID251 - seeded: one integer decides the whole run
from typing import Any

from pipeline.core.changes import COMBO_IDS_MAX
from pipeline.core.keyed_state import ITEM_BYTES_MAX
from pipeline.settings import Settings

MINUTE_S = 60
FOREVER_S = 20 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Profile:
    """Durations are seconds; chances are per call, per step or per event, as named."""

    # the installation
    shards: int = 1
    change_shards: int = 1
    lateness_s: int = 3_600
    window_s: int = 600
    returns_s: int = 600
    scope: str = "global"
    entries_max: int = 1_000
    bytes_max: int = 96 * 1024
    effects_max: int = 500
    item_bytes_max: int = ITEM_BYTES_MAX
    ids_max: int = COMBO_IDS_MAX
    batch_max: int = 10
    retry_budget_s: int = 60
    # the traffic
    story: str = "any"
    size: int = 20
    locations: int = 1
    bases: int = 2
    units: tuple[int, ...] = (1, 1, 2, 3)
    disorder_s: int = 0
    by_key: bool = True
    returns: float = 0.15
    resent: float = 0.2
    elsewhere: float = 0.5
    conflicts: float = 0.05
    hostile: float = 0.05
    aggregates: float = 0.1
    reshards: int = 0
    rebuilds: int = 0
    restores: int = 0
    outages: int = 0
    broken: str = ""
    # the trouble
    trouble: float = 0.0
    torn: float = 0.1
    crash: float = 0.0
    steal: float = 0.0
    thaw: float = 0.02
    burst: int = 8
    readers: int = 0
    chaos_steps: int = 1_500

    def settings(self) -> Settings:
        """Write what the product is told of it."""
        return Settings(
            combo_window=timedelta(seconds=self.window_s),
            return_window=timedelta(seconds=self.returns_s),
            allowed_lateness=timedelta(seconds=self.lateness_s),
            dedupe_scope="location" if self.scope == "location" else "global",
            state_entries_max=self.entries_max,
            state_bytes_max=self.bytes_max,
            outbox_effects_max=self.effects_max,
            retry_budget=timedelta(seconds=self.retry_budget_s),
        )


def draw(rng: Random, directed: Mapping[str, Any]) -> Profile:
    """Draw a profile; what is directed replaces what was drawn."""
    fields = _installation(rng) | _traffic(rng) | _trouble(rng) | dict(directed)
    return Profile(**fields)


def _installation(rng: Random) -> dict[str, Any]:
    capped = rng.random() < 0.25
    return {
        "shards": rng.choice((1, 1, 2, 3)),
        "change_shards": rng.choice((1, 1, 2)),
        "lateness_s": rng.choice((0, 300, 1_800, 3_600, FOREVER_S)),
        "window_s": rng.choice((600, 600, 600, 0, 200)),
        "returns_s": rng.choice((600, 600, 0, 1_200)),
        "scope": rng.choice(("global", "global", "location")),
        "entries_max": rng.choice((1, 2, 3, 5, 8, 12)) if capped else 1_000,
        "bytes_max": rng.choice((512, 700, 96 * 1024)) if capped else 96 * 1024,
        "effects_max": rng.choice((1, 2, 5, 20, 500, 500)),
        "item_bytes_max": rng.choice((0, 1_500, *[ITEM_BYTES_MAX] * 6)),
        "ids_max": rng.choice((1, 2, *[COMBO_IDS_MAX] * 4)),
        "batch_max": rng.choice((1, 2, 5, 10, 30)),
        "retry_budget_s": rng.choice((1, 10, 60)),
    }


def _traffic(rng: Random) -> dict[str, Any]:
    return {
        "story": "settling" if rng.random() < 0.03 else "any",
        "size": rng.randint(3, 40),
        "locations": rng.choice((1, 1, 2)),
        "bases": rng.choice((1, 1, 2, 4)),
        "units": rng.choice(((1,), (1, 1, 2, 3), (1, 2, 100_000))),
        "disorder_s": rng.choice((0, 0, 100, 1_500, 9_000)),
        "by_key": rng.random() < 0.6,
        "returns": rng.choice((0.05, 0.15, 0.3)),
        "resent": rng.choice((0.0, 0.2, 0.5)),
        "conflicts": rng.choice((0.0, 0.05, 0.15)),
        "hostile": rng.choice((0.0, 0.05, 0.2)),
        "aggregates": rng.choice((0.0, 0.1, 0.4)),
        "reshards": rng.choice((0, 0, 0, 1, 2)),
        "rebuilds": int(rng.random() < 0.07),
        "restores": int(rng.random() < 0.1),
        "outages": rng.choice((0, 0, 1, 2)),
    }


def _trouble(rng: Random) -> dict[str, Any]:
    return {
        "trouble": rng.choice((0.0, 0.02, 0.08, 0.2)),
        "torn": rng.choice((0.0, 0.1, 0.5)),
        "crash": rng.choice((0.0, 0.01, 0.04)),
        "steal": rng.choice((0.0, 0.01, 0.04)),
        "thaw": rng.choice((0.005, 0.02, 0.1)),
        "burst": rng.choice((0, 2, 8, 30)),
        "readers": rng.choice((0, 0, 1, 2)),
    }
