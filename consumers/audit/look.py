"""One look at everything: what is read, and in which order, so that as little as possible moves.

Downstream first. Facts flow from the claims to the log, to the states, to the sinks; whoever reads
a sink before its source finds in the source whatever had reached the sink. What the inventory
consumer has passed is read before anything else: whatever lies behind it was finished before the
look began. States are read before the log, so that every event that a state says it has folded in
has its row in what is read of the log.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from consumers.contents import Contents, gather, levels, read_warehouse
from pipeline.bootstrap import Ports, folds
from pipeline.core.changes import ChangeRecorded
from pipeline.core.claims import Claim
from pipeline.core.keyed_state import Fold, KeyedState, StateKey
from pipeline.core.positions import SEQUENCE_DIGITS_MAX, Order
from pipeline.core.reconciling import Part
from pipeline.core.refolding import Reach, keys_of
from pipeline.core.rules import Rules
from pipeline.core.stock import StockFold
from pipeline.ports.cache import CachedStock, StockId
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.warehouse_repair import Orphan

_END: Order = (10**SEQUENCE_DIGITS_MAX, 0)
"""Behind every record of a shard."""
_ANY_SUB = 2**63
"""Behind every user record of an aggregate."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was there, each side within the part.

    `passed` is how far each shard is known to be dealt with: the inventory consumer will bring no
    event from there that it has not brought before. `history` has every row of each key, as long as
    the part leaves no day out; else it is None, and what needs a key's whole history cannot be
    judged.
    """

    part: Part
    rules: Rules
    passed: Reach
    tables: Contents
    warehouse: Contents
    claims: dict[str, Claim]
    states: dict[StateKey, KeyedState]
    history: dict[StateKey, list[ChangeRecorded]] | None
    cache: dict[StockId, CachedStock]
    orphans: list[Orphan]


def _checkpoints(ports: Ports) -> dict[str, Order]:
    """Read what the local engine says of how far the inventory consumer has finished."""
    held = ports.checkpoints.all("inventory")
    found = {shard_id: _passed(checkpoint) for shard_id, checkpoint in held.items()}
    return {shard_id: order for shard_id, order in found.items() if order is not None}


def _with_marks(passed: dict[str, Order], states: Iterable[KeyedState]) -> dict[str, Order]:
    """Add what the states prove, on whatever engine.

    A mark was committed after every row of its batch had been written, and the batches before it
    were finished or skipped. So each event up to the mark has its row by now, or never gets one.
    """
    found = dict(passed)
    for state in states:
        for shard_id, mark in state.marks.items():
            found[shard_id] = max(mark.order, found.get(shard_id, mark.order))
    return found


def known_to_be_passed(ports: Ports, derived: Iterable[Fold]) -> dict[str, Order]:
    """Read how far each shard is known to be dealt with, from checkpoints and from all states."""
    passed = _checkpoints(ports)
    return _with_marks(passed, (state for f in derived for state in ports.states.scan(f.name)))


def _passed(checkpoint: Checkpoint) -> Order | None:
    if checkpoint.finished:
        return _END
    start = checkpoint.start
    return (start.at, _ANY_SUB) if start.kind == "AFTER_SEQUENCE_NUMBER" else None


def look(ports: Ports, rules: Rules, part: Part) -> Look:
    """Read everything of a part once."""
    passed = _checkpoints(ports)
    warehouse, orphans = read_warehouse(ports, part), _orphans(ports, part)
    combos = list(ports.combos.scan())
    derived = folds(rules)
    everywhere = [state for fold in derived for state in ports.states.scan(fold.name)]
    states = {state.key: state for state in everywhere if part.holds(_location(state.key))}
    stock = (state for key, state in states.items() if key.fold == StockFold.name)
    tables = gather(ports.change_log.scan(), combos, levels(stock), part)
    history: defaultdict[StateKey, list[ChangeRecorded]] = defaultdict(list)
    for row in tables.changes.values() if part.since is None else ():
        for key in keys_of(row, derived):
            history[key].append(row)
    return Look(
        part=part,
        rules=rules,
        passed=_with_marks(passed, everywhere),
        tables=tables,
        warehouse=warehouse,
        claims=_claims(ports, part),
        states=states,
        history=None if part.since is not None else dict(history),
        cache=_cache(ports, tables),
        orphans=orphans,
    )


def _location(key: StateKey) -> str:
    """Every fold so far begins its keys with the location."""
    return key.parts[0]


def _claims(ports: Ports, part: Part) -> dict[str, Claim]:
    return {
        claim.claim_id: claim
        for claim in ports.claims.scan()
        if part.holds(claim.event.location, claim.event.instant)
    }


def _cache(ports: Ports, tables: Contents) -> dict[StockId, CachedStock]:
    found: dict[StockId, CachedStock] = {}
    for level in tables.stock.values():
        entry = level.location, level.product_id
        held = ports.cache.get(entry)
        if held is not None:
            found[entry] = held
    return found


def _orphans(ports: Ports, part: Part) -> list[Orphan]:
    """Products and dates belong to no location: a part of one location leaves them out."""
    found = ports.warehouse_repair.orphans()
    if part.location is None:
        return list(found)
    return [o for o in found if o.dimension == "location" and o.key == part.location]
