"""The combo fold: jackets and pants that were sold together, whatever order their events arrive in.

`pairing` is a fold in event time, but the stream does not arrive in event time. So the body keeps
the fold's accumulator up to the *frontier* (the greatest instant seen for this key, less the
allowed lateness) and, as plain events, the suffix that stragglers may still change. New events go
into the suffix, the suffix is folded again, and what differs between the pairs before and after is
emitted: combos appear at once and are corrected when a straggler turns up. An event before the
frontier is late: it is annotated as such and pairs with nothing. The frontier is stored and never
moves back, so a quiet key waits for nobody and a wrong clock in one shop closes no window in
another.

Settling moves suffix events into the accumulator and drops from it what no later event can reach.
A dropped combo may belong to a transaction that can still be reached (a sale of three may lose one
combo and keep another), and its annotation must go on listing it: `settled` holds those.

`combo_state` holds the body and its bounds; this module holds what is shown of it.
"""

from collections.abc import Sequence
from typing import TypeAlias

from pipeline.core.changes import (
    COMBO_IDS_MAX,
    ChangeAnnotated,
    ComboChanged,
    ComboStatus,
    Effect,
    effect_key,
)
from pipeline.core.combo_state import ComboState, Settled, combo_id, naming_location
from pipeline.core.events import PosEvent
from pipeline.core.pairing import Move, Pairing
from pipeline.core.rules import Rules

COMBO_CATEGORIES = frozenset({"jacket", "pants"})

_Ids: TypeAlias = tuple[str, str]  # jacket transaction, pants transaction
_Shown: TypeAlias = tuple[int, int, int]  # paired_at, units made, units standing


class ComboFold:
    """Fold jackets and pants of one (location, base product) into combos."""

    name = "combos"
    table = "keyed_state"

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def key(self, event: PosEvent) -> tuple[str, str] | None:
        """Read customers' jackets and pants; a batch delivery is no customer."""
        if event.category in COMBO_CATEGORIES and event.source in self._rules.combo_sources:
            return event.location, event.base_product_id
        return None

    def apply(
        self, key: tuple[str, ...], body: bytes, events: Sequence[PosEvent], revision: int
    ) -> tuple[bytes, Sequence[Effect]]:
        """Fold events in arrival order; emit the difference of the combos before and after.

        The suffix is folded again once a call, and once more for each time that a cap acts: once
        per straggler would cost a hot key five times the time for the same result.
        """
        state = ComboState(self._rules, key[0], body)
        report = _Report(self._rules, key, revision)
        view = _View(state)
        for event in events:
            move = _move(event)
            if not state.insert(move):
                report.late(move)
                continue
            view.fresh.append(move)
            if state.exceeds():
                report.differences(view)  # before the cap settles what they list
                state.shrink()
                view = _View(state)
        report.differences(view)
        state.settle()
        return state.encode(), tuple(report.effects.values())


def _move(event: PosEvent) -> Move:
    return Move(
        event.instant,
        event.change > 0,
        event.transaction_id,
        event.product_id,
        event.category == "jacket",
        abs(event.change),
    )


class _View:
    """The combos as a state shows them, and the events that came since."""

    def __init__(self, state: ComboState) -> None:
        self._base, self._suffix, self.settled = state.share()
        self.fresh: list[Move] = []

    def before_and_after(self) -> tuple[dict[_Ids, _Shown], dict[_Ids, _Shown]]:
        """Fold the suffix without and with the fresh events.

        Go on where they come after it anyway.
        """
        pairing = self._base.copy()
        pairing.fold(self._suffix)
        before = _shown(pairing)
        fresh = sorted(self.fresh)
        if self._suffix and fresh[0] < self._suffix[-1]:
            pairing = self._base.copy()
            fresh = sorted([*self._suffix, *fresh])
        pairing.fold(fresh)
        return before, _shown(pairing)


def _shown(pairing: Pairing) -> dict[_Ids, _Shown]:
    return {
        pair.ids: (
            pair.paired_at,
            pair.made,
            pair.standing,
        )
        for pair in pairing.pairs
    }


class _Report:
    """The effects of one call; what is said later of a thing replaces what was said before."""

    def __init__(self, rules: Rules, key: tuple[str, ...], revision: int) -> None:
        self._location, self._base_product_id = key
        self._naming = naming_location(rules, self._location)
        self._revision = revision
        self.effects: dict[tuple[str, ...], Effect] = {}

    def late(self, move: Move) -> None:
        """Annotate an event that came after its frontier."""
        self._annotate(move.transaction_id, 0, (), late=True)

    def differences(self, view: _View) -> None:
        """Report every combo that changed, and the annotations of the transactions it joins."""
        if not view.fresh:
            return
        before, after = view.before_and_after()
        changed = [ids for ids in before.keys() | after.keys() if before.get(ids) != after.get(ids)]
        if not changed:
            return
        for ids in sorted(changed, key=lambda ids: _order(ids, after.get(ids) or before[ids])):
            self._combo(ids, after.get(ids) or (before[ids][0], 0, 0), retracted=ids not in after)
        touched = {transaction_id for ids in changed for transaction_id in ids}
        standing: dict[str, list[_Ids]] = {transaction_id: [] for transaction_id in touched}
        for ids in sorted(after, key=lambda ids: _order(ids, after[ids])):
            for transaction_id in ids if after[ids][2] else ():
                if transaction_id in standing:
                    standing[transaction_id].append(ids)
        for transaction_id in sorted(touched):
            settled = view.settled.get(transaction_id, Settled(0, ()))
            found = standing[transaction_id]
            room = max(COMBO_IDS_MAX - len(settled.combo_ids), 0)
            combo_ids = settled.combo_ids + tuple(map(self._combo_id, found[:room]))
            self._annotate(transaction_id, settled.total + len(found), combo_ids, late=False)

    def _combo(self, ids: _Ids, shown: _Shown, *, retracted: bool) -> None:
        paired_at, made, standing = shown
        status = ComboStatus.ACTIVE if standing else ComboStatus.CANCELLED
        self._put(
            ComboChanged(
                self._combo_id(ids),
                self._location,
                self._base_product_id,
                *ids,
                paired_at,
                standing,
                made - standing,
                ComboStatus.RETRACTED if retracted else status,
                self._revision,
            )
        )

    def _annotate(
        self, transaction_id: str, count: int, combo_ids: tuple[str, ...], *, late: bool
    ) -> None:
        self._put(
            ChangeAnnotated(self._location, transaction_id, combo_ids, count, late, self._revision)
        )

    def _put(self, effect: Effect) -> None:
        self.effects[effect_key(effect)] = effect

    def _combo_id(self, ids: _Ids) -> str:
        return combo_id(ids, self._naming)


def _order(ids: _Ids, shown: _Shown) -> tuple[int, _Ids]:
    return shown[0], ids
