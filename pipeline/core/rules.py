"""The rules that decide what a state means. They are hashed and kept beside the state
(precondition P2).

A state folded under one window cannot be continued under another: the answer would be neither the
old nor the new. So a consumer whose rules differ from the stored ones refuses to start.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

import orjson

from pipeline.core.instants import HOUR, MINUTE

DedupeScope = Literal["global", "location"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that can change a result, and nothing else. Durations are microseconds."""

    categories: frozenset[str] = frozenset({"pants", "jacket", "shirt", "tie"})
    sources: frozenset[str] = frozenset({"POS", "batch"})
    combo_sources: frozenset[str] = frozenset({"POS"})
    combo_window_us: int = 10 * MINUTE
    return_window_us: int = 10 * MINUTE
    allowed_lateness_us: int = HOUR
    dedupe_scope: DedupeScope = "global"
    state_entries_max: int = 1_000
    state_bytes_max: int = 96 * 1024

    def canonical(self) -> str:
        """Write the rules as one line of JSON, the same for equal rules on every machine."""
        plain = {k: sorted(v) if isinstance(v, frozenset) else v for k, v in asdict(self).items()}
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()

    def digest(self) -> str:
        """Hash the canonical form."""
        return hashlib.blake2b(self.canonical().encode(), digest_size=16).hexdigest()
