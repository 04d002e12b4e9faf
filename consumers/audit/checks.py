"""The checks: what must hold between the things that one look has seen. Pure."""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from consumers.audit.look import Look
from consumers.contents import sink_findings
from pipeline.bootstrap import folds
from pipeline.core.changes import ChangeAnnotated, ChangeRecorded, ComboChanged, Effect
from pipeline.core.claims import Claim, claim_id
from pipeline.core.combos import ComboFold
from pipeline.core.fingerprint import fingerprint
from pipeline.core.keyed_state import Fold, KeyedState, StateKey
from pipeline.core.reconciling import (
    Check,
    Finding,
    Place,
    change_place,
    combo_place,
    find,
    stock_place,
)
from pipeline.core.refolding import (
    Certainty,
    History,
    Refolded,
    is_within,
    order_of,
    reach_of,
    refold,
    standing,
)
from pipeline.core.step import row_of
from pipeline.core.stock import StockFold

_NO_DAY = ""


class Judged(NamedTuple):
    """What a look amounts to: findings, and how many keys could not be folded again for certain."""

    findings: list[Finding]
    uncertain: int


def judge(look: Look, *, claims_expire: bool) -> Judged:
    """Make every check."""
    findings = list(_claims(look, claims_expire=claims_expire))
    uncertain = 0
    if look.history is not None:
        folding = _Folding(look, look.history)
        findings += folding.findings()
        uncertain = folding.uncertain
    findings += sink_findings(look.tables, look.warehouse)
    findings += _dimensions(look)
    findings += _cache(look)
    return Judged(findings, uncertain)


# -------------------------------------------------------------------------------------- the claims
def _claims(look: Look, *, claims_expire: bool) -> Iterator[Finding]:
    for claim in sorted(look.claims.values(), key=lambda claim: claim.claim_id):
        yield from _claim(look, claim)
    if claims_expire:
        return
    for key, row in sorted(look.tables.changes.items()):
        if claim_id(row, look.rules.dedupe_scope) not in look.claims:
            yield find(Check.ROW_WITHOUT_CLAIM, change_place(row), key, None, row)


def _claim(look: Look, claim: Claim) -> Iterator[Finding]:
    wanted = row_of(claim)
    key, place = (wanted.location, wanted.transaction_id), change_place(wanted)
    found = look.tables.changes.get(key)
    if claim.fingerprint != fingerprint(claim.event):
        yield find(Check.CLAIM_ALTERED, place, key, claim.fingerprint, fingerprint(claim.event))
    elif found is None:
        known = is_within(wanted, look.passed)
        check = Check.CLAIM_WITHOUT_ROW if known else Check.UNFINISHED
        yield find(check, place, key, None, wanted)
    elif found != wanted and _same_position(found, wanted):
        yield find(Check.ROW_ALTERED, place, key, found, wanted)


def _same_position(row: ChangeRecorded, other: ChangeRecorded) -> bool:
    """Compare places; a row of another delivery outlived its claim, and rightly holds."""
    return (row.shard_id, order_of(row)) == (other.shard_id, order_of(other))


# --------------------------------------------------------------------------------------- the folds
class _Folding:
    """Compare every state, and what follows from it, with its part of the log folded anew."""

    def __init__(self, look: Look, history: dict[StateKey, list[ChangeRecorded]]) -> None:
        self._look, self._history = look, history
        self.uncertain = 0
        self._combos: dict[StateKey, list[Effect]] = {}
        for combo in look.tables.combos.values():
            key = StateKey(ComboFold.name, (combo.location, combo.base_product_id))
            self._combos.setdefault(key, []).append(combo)

    def findings(self) -> Iterator[Finding]:
        """Go through all keys of all folds."""
        by_name = {fold.name: fold for fold in folds(self._look.rules)}
        for key in sorted(self._history.keys() | self._look.states.keys() | self._combos.keys()):
            yield from self._key(by_name[key.fold], key)

    def _key(self, fold: Fold, key: StateKey) -> Iterator[Finding]:
        state = self._look.states.get(key, KeyedState(key))
        rows = self._history.get(key, [])
        reach = reach_of(state, {})
        within = [row for row in rows if is_within(row, reach)]
        yield from self._beyond(key, [row for row in rows if not is_within(row, reach)])
        notes = self._notes(within) if fold.name == ComboFold.name else []
        late = {note.transaction_id for note in notes if note.late}
        anew = refold(fold, key, History(within, late), self._look.rules)
        if fold.name == StockFold.name:
            yield from _stock(state, within, anew)
        elif anew.certainty is Certainty.NONE:
            self.uncertain += 1
        else:
            yield from _state(state, within, anew)
            yield from self._shown(key, [*notes, *self._combos.get(key, [])], anew)

    def _beyond(self, key: StateKey, rows: Iterable[ChangeRecorded]) -> Iterator[Finding]:
        for row in rows:
            known = is_within(row, self._look.passed)
            check = Check.ROW_UNFOLDED if known else Check.UNFINISHED
            name = *key.parts, row.transaction_id
            yield find(check, change_place(row), (key.fold, *name), None, row)

    def _notes(self, rows: Iterable[ChangeRecorded]) -> list[ChangeAnnotated]:
        notes = self._look.tables.notes
        found = (notes.get((row.location, row.transaction_id)) for row in rows)
        return [note for note in found if note is not None]

    def _shown(self, key: StateKey, found: list[Effect], anew: Refolded) -> Iterator[Finding]:
        mine, theirs = standing(found), standing(anew.effects)
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                effect = theirs.get(name) or mine[name]
                note = isinstance(effect, ChangeAnnotated)
                check = Check.NOTE_AND_LOG if note else Check.COMBO_AND_LOG
                place = self._place(effect)
                yield find(check, place, (*key.parts, *name[1:]), mine.get(name), theirs.get(name))

    def _place(self, effect: Effect) -> Place:
        if isinstance(effect, ComboChanged):
            return combo_place(effect)
        if isinstance(effect, ChangeAnnotated):
            return change_place(self._look.tables.changes[effect.location, effect.transaction_id])
        return stock_place(effect)


def _stock(
    state: KeyedState, within: Collection[ChangeRecorded], anew: Refolded
) -> Iterator[Finding]:
    found = int(state.body) if state.version else None
    wanted = int(anew.body) if within else None
    if found != wanted:
        yield find(
            Check.STOCK_AND_LOG, (state.key.parts[0], _NO_DAY), state.key.parts, found, wanted
        )


def _state(
    state: KeyedState, within: Collection[ChangeRecorded], anew: Refolded
) -> Iterator[Finding]:
    if anew.certainty is not Certainty.ALL:
        return
    found = state.body.decode("utf-8", "replace") if state.version else None
    wanted = anew.body.decode() if within else None
    if found != wanted:
        yield find(
            Check.STATE_AND_LOG, (state.key.parts[0], _NO_DAY), state.key.parts, found, wanted
        )


# --------------------------------------------------------------------------------------- the sinks
def _dimensions(look: Look) -> Iterator[Finding]:
    for orphan in look.orphans:
        place = (orphan.key if orphan.dimension == "location" else "", _NO_DAY)
        sides = (None, orphan) if orphan.missing else (orphan, None)
        yield find(Check.DIMENSION, place, (orphan.dimension, orphan.key), *sides)


def _cache(look: Look) -> Iterator[Finding]:
    """A tombstone of a later revision does no harm: it makes readers ask the table."""
    for entry, held in sorted(look.cache.items()):
        level = look.tables.stock[entry]
        behind = held.revision < level.revision
        wrong = held.on_hand is not None and held != (level.on_hand, level.revision)
        if behind or wrong:
            yield find(Check.CACHE, stock_place(level), entry, held, level)
