"""Rebuilding states from the change log, beside a fleet at work.

When is it needed? A state is wrong, or lost; or an event has its row but not its place in the
state, since the batch that held it was skipped. Offering that event to `advance` once more cannot
mend it: as soon as a later event of its shard was folded in, the mark stands behind it, and the
event counts as folded. And where no later one was, moving the mark over it would be a lie if an
earlier one were still to come. So the whole key is folded anew:

    1. load     the states: their marks say how far each shard is folded in
    2. read     the log, and take the rows at or before the marks; further rows only as far as
                the consumer has passed them, and will not be offered them again
    3. refold   them (pure)
    4. commit   compare-and-set on the version that was loaded, at the first revision of the epoch
                behind every revision that was ever seen of the key; a lost race goes back to 1
    5. write    all that the key shows now, and that whatever else was found of it is not so
    6. publish  the same

Why nobody needs to stop. Every event at or before a mark had its row before the mark was committed,
and step 2 comes after step 1, so none of them is missed; one that is not there yet stands behind
the mark, and the consumer will bring it. If the consumer commits in between, step 4 fails. If it
commits after, its own compare-and-set fails, and it folds its events into what is written here.
Effects of its older commits that are still on their way, or come again from an outbox, have older
revisions, and are ignored everywhere. A crash between 4 and 6 leaves a state that is right and
tables that are not: the next audit finds that and rebuilds the key again, an epoch further on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    Effect,
    TableFact,
)
from pipeline.core.combos import ComboFold
from pipeline.core.keyed_state import Fold, StateKey
from pipeline.core.outbox import unpack
from pipeline.core.refolding import (
    History,
    Reach,
    all_effects,
    is_within,
    keys_of,
    next_epoch,
    reach_of,
    rebuilt,
    refold,
)
from pipeline.core.rules import Rules
from pipeline.ports.states import Commit
from pipeline.ports.streams import Publisher
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.facts import publish_facts
from pipeline.runtime.folding import FoldTables

ROUNDS_MAX = 5
"""Races lost in a row before a key is left for a quieter hour: each round reads the log again."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """Keys to rebuild, each with the highest revision that was seen of it anywhere.

    `passed` is how far the inventory consumer has finished with each shard, as far as that is
    known. Saying too little leaves events to the consumer; saying too much loses them.
    """

    keys: Mapping[StateKey, int]
    passed: Reach


class _Evidence:
    """What the tables hold of one key."""

    def __init__(self) -> None:
        self.rows: list[ChangeRecorded] = []
        self.effects: list[Effect] = []

    def add_committed(self, effects: Sequence[Effect]) -> None:
        """Take in effects that may not be written yet; an annotation only if its row is there."""
        rows = {row.transaction_id for row in self.rows}
        for effect in effects:
            if not isinstance(effect, ChangeAnnotated) or effect.transaction_id in rows:
                self.effects.append(effect)

    def history(self, reach: Reach) -> History:
        """Take what belongs into the state."""
        rows = [row for row in self.rows if is_within(row, reach)]
        notes = (effect for effect in self.effects if isinstance(effect, ChangeAnnotated))
        return History(rows, {note.transaction_id for note in notes if note.late})


class Rebuilding:
    """Rebuild keyed states, and whatever follows from them."""

    def __init__(
        self,
        folds: Sequence[Fold],
        rules: Rules,
        tables: FoldTables,
        publisher: Publisher,
        backoff: Backoff,
    ) -> None:
        self._folds = {fold.name: fold for fold in folds}
        self._rules, self._tables = rules, tables
        self._publisher, self._backoff = publisher, backoff

    def run(self, damaged: Damaged) -> Sequence[StateKey]:
        """Rebuild keys; return those that were too busy.

        Safe while consumers run, and safe to do again. Rows that the log lacks must have been put
        back before: what is not in the log will not be in the state.
        """
        todo = dict(damaged.keys)
        for _ in range(ROUNDS_MAX):
            if not todo:
                break
            won = self._round(Damaged(todo, damaged.passed))
            todo = {key: seen for key, seen in todo.items() if key not in won}
        return sorted(todo)

    def _round(self, damaged: Damaged) -> set[StateKey]:
        asked = {key: key for key in damaged.keys}
        states = self._backoff.gather("load", self._tables.states.load, asked)
        evidence = self._read(asked)
        commits: dict[StateKey, Commit] = {}
        effects: dict[StateKey, list[Effect]] = {}
        for key, state in states.items():
            found = evidence[key]
            for mark in state.marks.values():
                found.add_committed(unpack(mark.outbox))
            history = found.history(reach_of(state, damaged.passed))
            seen = [effect.revision for effect in found.effects]
            revision = next_epoch(state.version, damaged.keys[key], *seen)
            anew = refold(self._folds[key.fold], key, history, self._rules, revision)
            commits[key] = Commit(rebuilt(state, anew, history.rows, revision), state.version)
            effects[key] = all_effects(anew, found.effects, revision)
        won = self._backoff.gather("commit", self._tables.states.commit, commits)
        done = {key for key, committed in won.items() if committed}
        self._deliver([effect for key in sorted(done) for effect in effects[key]])
        return done

    def _read(self, keys: Iterable[StateKey]) -> dict[StateKey, _Evidence]:
        """Read everything of some keys in one pass over log and combos."""
        found = {key: _Evidence() for key in keys}
        for row, note in self._tables.change_log.scan():
            for key in keys_of(row, self._folds.values()):
                if key in found:
                    found[key].rows.append(row)
                    if note is not None and key.fold == ComboFold.name:
                        found[key].effects.append(note)
        for combo in self._tables.combos.scan():
            key = StateKey(ComboFold.name, (combo.location, combo.base_product_id))
            if key in found:
                found[key].effects.append(combo)
        return found

    def _deliver(self, effects: Sequence[Effect]) -> None:
        combos = [effect for effect in effects if isinstance(effect, ComboChanged)]
        notes = [effect for effect in effects if isinstance(effect, ChangeAnnotated)]
        self._backoff.drain("combos", self._tables.combos.upsert, combos)
        self._backoff.drain("annotations", self._tables.change_log.annotate, notes)
        facts: list[TableFact] = list(effects)
        publish_facts(facts, self._publisher, self._backoff)
