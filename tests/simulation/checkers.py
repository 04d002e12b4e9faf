"""What must be true once everything is quiet.

The judge is the oracle of `tests.reference`, fed with the deliveries that hold the claims, in the
order in which the states took them in. It models no caps: where a cap may act, the judge is the
fold itself, fed one event at a time, since a cap must act after each event, however batches are
cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.changes import (
    ChangeAnnotated,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    Effect,
    RefusedAs,
    StockChanged,
    effect_key,
)
from pipeline.core.combos import ComboFold
from pipeline.core.keyed_state import StateKey
from pipeline.ports.change_log import RowKey
from pipeline.ports.warehouse import WarehouseRows
from tests.reference import Combo, Note, combos_of, stock_of
from tests.reference_events import Fact
from tests.simulation.ledger import Entry, Violation, flat, keys_of
from tests.simulation.traffic import FOREIGN

if TYPE_CHECKING:
    from tests.simulation.world import World

ROOMY_ENTRIES = 1_000
ROOMY_BYTES = 96 * 1024
SHOWN_MAX = 3
"""Differences that one wants to see at once."""


class Shown(NamedTuple):
    """What the tables show of combos: rows that are not retracted, notes that say something."""

    combos: dict[str, Combo]
    notes: dict[tuple[str, str], Note]


def verify(world: World) -> None:
    """Check everything, the most telling first. Raises Violation."""
    kept = world.ledger.kept()
    _same("claims", set(world.ports.claims.items), set(kept))
    _rows(world, kept.values())
    _quarantine(world)
    _stock(world, kept.values())
    _combos(world, kept.values())
    _warehouse(world)
    _cache(world)


def _same(what: str, found: Any, wanted: Any) -> None:
    if found == wanted:
        return
    if not isinstance(found, Mapping):
        raise Violation(f"{what}: found {found}, wanted {wanted}")
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    more = f"\n  and {len(keys) - SHOWN_MAX} more" if len(keys) > SHOWN_MAX else ""
    lines = [
        f"\n  {key}\n    found  {found.get(key)}\n    wanted {wanted.get(key)}"
        for key in keys[:SHOWN_MAX]
    ]
    raise Violation(f"{what} differ:{''.join(lines)}{more}")


def _fact(entry: Entry) -> Fact:
    assert isinstance(entry.meaning, Fact)
    return entry.meaning


# ----------------------------------------------------------------------------------- what was read
def _rows(world: World, kept: Iterable[Entry]) -> None:
    """One row per transaction, with the body and place of the delivery that holds it."""
    wanted = {}
    for entry in kept:
        fact = _fact(entry)
        wanted[fact.location, fact.transaction_id] = (*fact, *entry.position[1:], entry.arrival)
    _same("rows", {k: tuple(row) for k, row in world.ports.change_log.rows.items()}, wanted)


def _quarantine(world: World) -> None:
    """Every record that was refused, whole, and no other."""
    wanted = {}
    for entry in world.ledger.everything():
        verdict = world.ledger.verdict(entry)
        if verdict in ("rejected", "conflict"):
            reason = entry.meaning if isinstance(entry.meaning, str) else "conflict"
            wanted[verdict, entry.position] = (reason, entry.data)
    stream = world.ports.events.name
    items = world.ports.quarantine.items.items()
    found = {
        key: (str(refusal.reason), refusal.record.data)
        for key, refusal in items
        if key[1].stream == stream
    }
    _same("quarantine", found, wanted)
    for records in world.ports.changes.records.values():
        for record in records:
            strange = record.data in FOREIGN
            if strange != (("rejected", record.position) in world.ports.quarantine.items):
                raise Violation(f"quarantine of facts: {record}")


# ------------------------------------------------------------------------------------ what follows
def _stock(world: World, kept: Iterable[Entry]) -> None:
    states = world.ports.states.items
    found = {k.parts: int(state.body) for k, state in states.items() if k.fold == "stock"}
    _same("stock", found, stock_of(map(_fact, kept)))


def _combos(world: World, kept: Iterable[Entry]) -> None:
    keys: dict[tuple[str, str], set[Entry]] = {}
    for entry in kept:
        for fold, parts in keys_of(_fact(entry), world.rules):
            if fold == "combos":
                keys.setdefault(parts, set()).add(entry)
    wanted = Shown({}, {})
    capped = _is_capped(world)
    for parts, entries in keys.items():
        facts = _in_folded_order(world, parts, entries)
        judged = _fold_singly(world, parts, facts) if capped else _oracle(world, facts)
        wanted.combos.update(judged.combos)
        wanted.notes.update(judged.notes)
    for combo in world.ports.combos.scan():
        if combo.status is ComboStatus.RETRACTED and (combo.quantity or combo.voided):
            raise Violation(f"retracted, but it holds units: {combo}")
    found = _shown([*world.ports.combos.scan(), *world.ports.change_log.annotations.values()])
    _same("combos", found.combos, wanted.combos)
    _same("annotations", found.notes, wanted.notes)


def _is_capped(world: World) -> bool:
    roomy = (ROOMY_ENTRIES, ROOMY_BYTES)
    return (world.rules.state_entries_max, world.rules.state_bytes_max) != roomy


def _in_folded_order(world: World, parts: tuple[str, str], entries: set[Entry]) -> list[Entry]:
    """Order a key's events as its state took them in, each exactly once."""
    found = []
    for shard_id, behind, upto in world.watch.folded.get(StateKey("combos", parts), ()):
        for entry in flat(world.ledger.shard(shard_id)):
            if behind < entry.order <= upto and entry in entries:
                found.append(entry)
    if len(found) != len(entries):
        raise Violation(f"{parts}: folded {len(found)} events of {len(entries)}")
    return found


def _oracle(world: World, entries: Iterable[Entry]) -> Shown:
    facts = [_fact(entry) for entry in entries]
    combos, notes = combos_of(facts, world.rules)
    return Shown(
        {combo.combo_id: combo for combo in combos},
        {(facts[0].location, name): note for name, note in notes.items()},
    )


def _fold_singly(world: World, parts: tuple[str, str], entries: Iterable[Entry]) -> Shown:
    fold, body = ComboFold(world.rules), b""
    effects: list[Effect] = []
    claims = {claim.position: claim.event for claim in world.ports.claims.items.values()}
    for revision, entry in enumerate(entries, start=1):
        body, produced = fold.apply(parts, body, [claims[entry.position]], revision)
        effects.extend(produced)
    return _shown(effects)


def _shown(effects: Iterable[Any]) -> Shown:
    """Take what was said last of each thing, without the trace of arrival."""
    shown = Shown({}, {})
    for effect in effects:
        if isinstance(effect, ComboChanged):
            shown.combos.pop(effect.combo_id, None)
            if effect.status is not ComboStatus.RETRACTED:
                status = effect.status.value
                shown.combos[effect.combo_id] = Combo(*effect[:8], status)
        elif isinstance(effect, ChangeAnnotated):
            note = Note(effect.combo_ids, effect.combo_count, effect.late)
            shown.notes.pop((effect.location, effect.transaction_id), None)
            if note != Note():
                shown.notes[effect.location, effect.transaction_id] = note
    return shown


# --------------------------------------------------------------------------------------- the sinks
def _warehouse(world: World) -> None:
    warehouse = world.ports.warehouse
    same_warehouse(warehouse.rows(), world)
    notes = [e for e in warehouse.effects.values() if isinstance(e, ChangeAnnotated)]
    for note in notes:  # one that has no row is in no answer of `rows`
        if (note.location, note.transaction_id) not in warehouse.changes:
            raise Violation(f"annotation without its row: {note}")


def same_warehouse(held: WarehouseRows, world: World) -> None:
    """A warehouse holds what the tables hold, each thing once, revisions included."""
    ports = world.ports
    rows, effects = _by_key(held)
    _same("warehouse rows", rows, ports.change_log.rows)
    refused: dict[tuple[str, int, int], DeliveryRefused] = {}
    for fact in held.refusals:
        if refused.setdefault((fact.shard_id, fact.sequence, fact.sub), fact) is not fact:
            raise Violation(f"twice in the warehouse: {fact}")
    _same("warehouse refusals", refused, _refused(world))
    wanted: dict[tuple[str, ...], Any] = {("combo", c.combo_id): c for c in ports.combos.scan()}
    for key, note in ports.change_log.annotations.items():
        wanted["annotation", *key] = note
    for state_key, state in ports.states.items.items():
        if state_key.fold == "stock":
            location, product_id = state_key.parts
            stock = StockChanged(location, product_id, int(state.body), state.version)
            wanted[effect_key(stock)] = stock
    _same("warehouse", effects, wanted)


def _by_key(held: WarehouseRows) -> tuple[dict[RowKey, Any], dict[tuple[str, ...], Any]]:
    rows: dict[RowKey, Any] = {}
    effects: dict[tuple[str, ...], Any] = {}
    for row, note in held.changes:
        if rows.setdefault((row.location, row.transaction_id), row) is not row:
            raise Violation(f"twice in the warehouse: {row}")
        if note is not None:
            effects[effect_key(note)] = note
    effects.update((effect_key(combo), combo) for combo in held.combos)
    effects.update((effect_key(level), level) for level in held.stock)
    return rows, effects


def _refused(world: World) -> dict[tuple[str, int, int], DeliveryRefused]:
    """Every delivery that became no change, as the ledger has it."""
    found = {}
    for entry in world.ledger.everything():
        verdict, place = world.ledger.verdict(entry), entry.position[1:]
        if verdict == "accepted":
            continue
        said: tuple[Any, Any, Any, Any] = (None, None, None, None)
        if isinstance(entry.meaning, Fact):
            fact = entry.meaning
            said = (fact.location, fact.transaction_id, fact.source, fact.instant)
        reason = entry.meaning if isinstance(entry.meaning, str) else ""
        found[place] = DeliveryRefused(RefusedAs(verdict), reason, *said, *place, entry.arrival)
    return found


def _cache(world: World) -> None:
    """No cached value is older than its row, and every change has left its mark."""
    for entry, cached in world.ports.cache.items.items():
        state = world.ports.states.items[StateKey("stock", entry)]
        if cached.revision != state.version or cached.on_hand not in (None, int(state.body)):
            raise Violation(f"stale: {entry} is {cached}, its row {state.body!r} {state.version}")
