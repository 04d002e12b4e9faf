"""Steps 4 to 7: bring events into keyed states, in rounds, and write what changed.

One round loads every key that has work, folds, commits, and writes the effects of what was
committed. Most batches need one round. A key needs another when its commit lost a race (load and
fold again, from what the winner left) or when its effects outgrow one outbox; then this round's
effects are delivered in full, written and published, before the next commit overwrites the outbox
that holds them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.changes import ChangeAnnotated, ComboChanged, Effect
from pipeline.core.keyed_state import Advanced, Fold, KeyedState, Sequenced, StateKey, Work, advance
from pipeline.core.records import Batch
from pipeline.ports.change_log import ChangeLog
from pipeline.ports.combos import ComboTable
from pipeline.ports.states import Commit, StateStore
from pipeline.runtime.backoff import Backoff

Publish = Callable[[Sequence[Effect]], None]


@dataclass(frozen=True, slots=True)
class FoldTables:
    """Where states live, and where their effects are written."""

    states: StateStore
    change_log: ChangeLog
    combos: ComboTable


class Folding:
    """Fold grouped events into their states. Holds nothing between batches."""

    def __init__(
        self,
        folds: Sequence[Fold],
        epoch: int,
        outbox_effects_max: int,
        tables: FoldTables,
        backoff: Backoff,
    ) -> None:
        self.folds = folds
        self._by_name = {fold.name: fold for fold in folds}
        self._epoch, self._effects_max = epoch, outbox_effects_max
        self._tables, self._backoff = tables, backoff

    def run(
        self, batch: Batch, grouped: Mapping[StateKey, Sequence[Sequenced]], publish: Publish
    ) -> list[Effect]:
        """Commit everything; return the effects that are written but still to be published."""
        start = batch.records[0].position.order
        todo = {key: Work(batch.shard_id, start, items) for key, items in grouped.items()}
        unpublished: list[Effect] = []
        lost_races = self._backoff.tries("commit")
        while todo:
            rounds = self._round(todo, publish)
            lost = {key: todo[key] for key in todo if key not in rounds}
            unfinished: dict[StateKey, Work] = {}
            for key, done in rounds.items():
                if done.state is not None and done.rest:
                    publish(done.effects)
                    delivered = done.state.marks[batch.shard_id].order
                    fitted = len(todo[key].events) - len(done.rest)
                    work = Work(batch.shard_id, start, done.rest, delivered, fitted + 1)
                    unfinished[key] = work
                else:
                    unpublished.extend(done.effects)
            todo = unfinished | lost
            if lost:
                lost_races.pause(None, progress=len(rounds) > 0)
        return unpublished

    def _round(self, todo: Mapping[StateKey, Work], publish: Publish) -> dict[StateKey, Advanced]:
        """Load, fold, commit, write. Keys that lost their race are missing from the answer."""
        asked = {key: key for key in todo}
        states = self._backoff.gather("load", self._tables.states.load, asked)
        advanced = {key: self._advance(states[key], work) for key, work in todo.items()}
        before = [effect for step in advanced.values() for effect in step.before]
        self._write(before)
        publish(before)
        commits = {
            key: Commit(step.state, states[key].version)
            for key, step in advanced.items()
            if step.state is not None
        }
        won = self._backoff.gather("commit", self._tables.states.commit, commits)
        done = {key: step for key, step in advanced.items() if won.get(key, True)}
        self._write([effect for step in done.values() for effect in step.effects])
        return done

    def _advance(self, state: KeyedState, work: Work) -> Advanced:
        fold = self._by_name[state.key.fold]
        return advance(fold, state, work, self._epoch, self._effects_max)

    def _write(self, effects: Sequence[Effect]) -> None:
        """Write effects to their tables; a stock level needs none, for its state is its row."""
        combos = [effect for effect in effects if isinstance(effect, ComboChanged)]
        annotations = [effect for effect in effects if isinstance(effect, ChangeAnnotated)]
        self._backoff.drain("combos", self._tables.combos.upsert, combos)
        self._backoff.drain("annotations", self._tables.change_log.annotate, annotations)
