"""The planted faults: each is a plausible mistake, and some seed must catch it.

A fault replaces a few lines of the product for one run. `directed` fixes part of the profile, for
what chance alone would meet too rarely; the rest stays drawn from the seed. A fault that nothing
catches means that a checker or some chaos is missing: mend those, never this list.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

from consumers import inventory
from consumers.engines.local import ShardReader
from pipeline.adapters import memory, memory_warehouse
from pipeline.core import combo_state, combos, keyed_state, positions, step
from pipeline.core.claims import Verdict
from pipeline.ports.warehouse import FactBatch
from pipeline.runtime import folding
from pipeline.runtime import inventory as runtime_inventory
from tests.simulation import mistakes
from tests.simulation.profile import FOREVER_S

Patch = tuple[Any, str, Any]
ROUGH = MappingProxyType({"crash": 0.04, "trouble": 0.08, "torn": 0.5, "burst": 2, "size": 30})
ZOMBIES = MappingProxyType({"steal": 0.04, "thaw": 0.02, "torn": 0.5, "burst": 2, "size": 30})
CROWDED = ZOMBIES | {"shards": 3, "by_key": False, "bases": 1, "disorder_s": 1_500}
CAPPED = MappingProxyType({"entries_max": 3, "size": 40, "bases": 1, "disorder_s": 1_500})


class Fault(NamedTuple):
    """What is replaced, and the profile that shows it."""

    directed: Mapping[str, Any]
    patches: tuple[Patch, ...]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Plant it; take it out again."""
        with ExitStack() as stack:
            for target, name, replacement in self.patches:
                stack.enter_context(patch.object(target, name, replacement, create=True))
            yield


def _fault(directed: Mapping[str, Any], *patches: Patch) -> Fault:
    return Fault(directed, patches)


FAULTS: dict[str, Fault] = {
    "effects before state": _fault(
        CROWDED, (folding.Folding, "_round", mistakes.effects_before_state)
    ),
    "facts after state": _fault(
        {}, (runtime_inventory.InventorySteps, "process", mistakes.facts_after_state)
    ),
    "outbox dropped": _fault(ROUGH, (keyed_state, "pack", lambda effects: b"")),
    "positions ignored": _fault(ROUGH, (folding, "advance", mistakes.positions_ignored)),
    "claims skipped on redelivery": _fault(
        ROUGH, (runtime_inventory.InventorySteps, "_claim", mistakes.claims_skipped)
    ),
    "seen means skip": _fault(ROUGH, (step, "_CARRY_ON", (Verdict.NEW,))),
    "a refused delivery that nobody is told of": _fault({"resent": 0.5}, (step, "_REFUSED", {})),
    "no revision guard": _fault(
        ZOMBIES,
        (memory, "newer", mistakes.keep_latest),
        (memory_warehouse, "newer", mistakes.keep_latest),
    ),
    "no version check on commit": _fault(
        ZOMBIES, (memory.MemoryStates, "commit", mistakes.commit_anyway)
    ),
    "checkpoint before publish": _fault(
        ROUGH,
        (runtime_inventory.InventorySteps, "process", mistakes.publish_with_the_next_batch),
    ),
    "quarantine after checkpoint": _fault(
        {"hostile": 0.2},
        (runtime_inventory.InventorySteps, "process", mistakes.quarantine_with_the_next_batch),
    ),
    "an LRU instead of claims": _fault(
        {"resent": 0.5, "conflicts": 0.15}, (memory.MemoryClaims, "claim", mistakes.lately_seen)
    ),
    "arrival-order pairing": _fault(
        {"disorder_s": 1_500, "lateness_s": FOREVER_S, "bases": 1},
        (combo_state, "insort", list.append),
        (combos, "sorted", mistakes.moves_unsorted),
    ),
    "settled combo dropped from its annotation": _fault(
        {"story": "settling", "lateness_s": 0, "shards": 1, "by_key": True, "entries_max": 1_000},
        (combo_state.ComboState, "_remember", mistakes.forget_settled),
    ),
    "position not in the ETL transaction": _fault(
        {"restores": 2, "size": 30},
        (memory_warehouse.MemoryWarehouse, "position", mistakes.position_elsewhere),
    ),
    "a batch loaded that does not join on": _fault(
        ZOMBIES | {"restores": 2, "size": 40, "change_shards": 1},
        (FactBatch, "joins", lambda self, stored: True),
    ),
    "a cache filled without comparing revisions": _fault(
        {"readers": 6, "torn": 0.0, "size": 40, "bases": 1, "trouble": 0.2},
        (memory.MemoryCache, "fill", mistakes.fill_anyway),
    ),
    "positions compared as text": _fault(
        {"size": 40, "shards": 1}, (positions.Position, "order", mistakes.order_as_text)
    ),
    "a sub-sequence ignored": _fault(
        {"aggregates": 0.6, "effects_max": 1, "bases": 1},
        (positions.Position, "order", property(lambda self: (self.sequence, 0))),
    ),
    "a skipped batch": _fault(ROUGH, (ShardReader, "_handle", mistakes.skip_what_fails)),
    "two batches of one shard in parallel": _fault(
        {"bases": 1}, (ShardReader, "_handle", mistakes.later_half_first)
    ),
    "the frontier recomputed instead of stored": _fault(
        CAPPED, (combo_state.ComboState, "_decode", mistakes.frontier_recomputed)
    ),
    "a cap applied per batch instead of per event": _fault(
        CAPPED | {"batch_max": 30}, (combos.ComboFold, "apply", mistakes.cap_per_batch)
    ),
    "revisions starting again after a rebuild": _fault(
        {"rebuilds": 1, "size": 40}, (keyed_state, "EPOCH_REVISIONS", 0)
    ),
    "one bad record stops its shard": _fault(
        {"hostile": 0.2},
        (runtime_inventory.InventorySteps, "process", mistakes.choke_on_refusals),
    ),
    "the inventory waits for a sink": _fault(
        {"broken": "warehouse"},
        (inventory, "build", mistakes.build_that_asks_for_the_warehouse),
    ),
    "P2: other rules under a state, refused at the start": _fault(
        ROUGH, (inventory, "build", mistakes.build_under_other_rules)
    ),
    "P2: other rules under a state, with nobody to refuse": _fault(
        ROUGH | {"window_s": 600, "lateness_s": FOREVER_S},
        (inventory, "build", mistakes.build_unchecked),
    ),
    "P4: claims that expire before their resends": _fault(
        {"resent": 0.5, "conflicts": 0.15}, (memory.MemoryClaims, "claim", mistakes.soon_expired)
    ),
}
