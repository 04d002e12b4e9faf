"""The ten steps over ports in memory: a crash, a zombie or a lost answer at every call.

One run of the scenario nobody interrupts; whatever befalls the others, they must leave the same
tables.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.bootstrap import MemoryPorts
from pipeline.core import keyed_state
from pipeline.core.changes import ComboStatus
from pipeline.core.records import Batch, HashRange, deaggregate
from pipeline.settings import Settings
from tests.crashes import (
    Crash,
    LostAnswers,
    Moment,
    Tripwire,
    half,
    steps_over,
    tables,
)
from tests.unit.scenario import (
    ONE_EFFECT_A_ROUND,
    SETTINGS,
    again,
    batches,
    calls_of,
    installation,
    run,
    uninterrupted,
)

EVERY_SETTING = pytest.mark.parametrize("settings", [SETTINGS, ONE_EFFECT_A_ROUND])


# ---------------------------------------------------------------------------- the scenario itself
def test_the_scenario_holds_every_outcome() -> None:
    ports = installation()
    steps = steps_over(ports, lambda call, *args: call(*args), SETTINGS)
    total: Counter[str] = sum((steps.process(batch).counts for batch in batches()), Counter())
    del total["facts"]
    assert total == Counter(read=19, accepted=13, duplicate=2, conflict=1, rejected=3, late=1)


def test_the_scenario_holds_every_status_of_a_combo() -> None:
    ports = installation()
    run(ports, batches())
    assert {combo.status for combo in ports.combos.scan()} == set(ComboStatus)


def test_every_record_is_accounted_for() -> None:
    steps = steps_over(installation(), lambda call, *args: call(*args), SETTINGS)
    for batch in batches():
        counts = steps.process(batch).counts
        settled = ("accepted", "duplicate", "conflict", "rejected")
        assert counts["read"] == sum(counts[name] for name in settled)


def test_what_was_published_is_what_the_tables_hold() -> None:
    left = uninterrupted()
    combos = {("combo", key): combo for key, combo in left.combos.items()}
    notes = {("annotation", *key): note for key, note in left.notes.items()}
    stock = {key: fact for key, fact in left.facts.items() if key[0] == "stock"}
    told = {key: fact for key, fact in left.facts.items() if key[0] != "refused"}
    assert told == {**left.rows, **combos, **notes, **stock}


def test_every_delivery_is_told_of_as_a_row_or_as_refused() -> None:
    left = uninterrupted()
    rows = {(row.shard_id, row.sequence, row.sub) for row in left.rows.values()}
    refused = {key[1:]: fact for key, fact in left.facts.items() if key[0] == "refused"}
    kept = {place[1:]: kind for kind, place in left.quarantine}
    deliveries = {
        record.position[1:]
        for batch in batches()
        for whole in batch.records
        for record in deaggregate(whole, HashRange()) or ()
    }
    assert rows | set(refused) == deliveries
    assert {place: str(fact.verdict) for place, fact in refused.items() if place in kept} == kept
    assert {str(f.verdict) for place, f in refused.items() if place not in kept} == {"duplicate"}


def test_stock_is_the_sum_of_what_was_accepted() -> None:
    left = uninterrupted()
    levels: Counter[str] = Counter()
    for row in left.rows.values():
        levels[row.product_id] += row.change
    stock = {key.parts[1]: int(body) for key, body in left.bodies.items() if key.fold == "stock"}
    assert stock == dict(levels)


@EVERY_SETTING
@pytest.mark.parametrize("cut", [1, 2, 3, 99])
def test_the_cut_of_batches_does_not_matter(settings: Settings, cut: int) -> None:
    ports = installation(settings)
    run(ports, batches(cut), settings)
    assert tables(ports) == uninterrupted(settings)


def test_rounds_of_one_effect_leave_the_same_tables() -> None:
    assert uninterrupted(ONE_EFFECT_A_ROUND) == uninterrupted(SETTINGS)


# ---------------------------------------------------------------------------------------- crashes
@EVERY_SETTING
@pytest.mark.parametrize("cut", [None, 1, 2, 99])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_call_changes_nothing(
    settings: Settings, cut: int | None, moment: Moment
) -> None:
    wanted, broken = uninterrupted(settings), []
    for at in range(calls_of(settings)):
        ports = installation(settings)
        done = run(ports, batches(), settings, Tripwire(at, moment).around)
        run(ports, again(done, cut), settings)
        if tables(ports) != wanted:
            broken.append(at)
    assert not broken


@EVERY_SETTING
def test_a_crash_in_the_repetition_of_a_crash_changes_nothing(settings: Settings) -> None:
    wanted, broken = uninterrupted(settings), []
    for first in range(calls_of(settings)):
        for second in range(0, 14, 2):
            ports = installation(settings)
            done = run(ports, batches(), settings, Tripwire(first, "after").around)
            left = again(done, 2)
            more = run(ports, left, settings, Tripwire(second, "after").around)
            run(ports, again([*done, *more], 3), settings)
            if tables(ports) != wanted:
                broken.append((first, second))
    assert not broken


@EVERY_SETTING
@pytest.mark.parametrize("cut", [None, 1, 99])
def test_a_zombie_that_wakes_at_any_call_changes_nothing(
    settings: Settings, cut: int | None
) -> None:
    wanted, broken = uninterrupted(settings), []
    for at in range(calls_of(settings)):
        ports = installation(settings)
        Zombie(ports, settings, at, cut).live()
        if tables(ports) != wanted:
            broken.append(at)
    assert not broken


class Zombie:
    """A worker that loses its lease before one of its calls, and wakes when all is done.

    It finishes the batch that it was at; then its checkpoint would be refused.
    """

    def __init__(self, ports: MemoryPorts, settings: Settings, at: int, cut: int | None) -> None:
        self._ports, self._settings, self._at, self._cut = ports, settings, at, cut
        self._calls, self._done = 0, list[Batch]()
        self._lost = False

    def live(self) -> None:
        steps = steps_over(self._ports, self._call, self._settings)
        for batch in batches():
            steps.process(batch)
            if self._lost:
                return
            self._done.append(batch)

    def _call(self, call: Callable[..., Any], *args: Any) -> Any:
        if self._calls == self._at:
            self._lost = True
            run(self._ports, again(self._done, self._cut), self._settings)
        self._calls += 1
        return call(*args)


class Intruder:
    """Before one call of the owner, a zombie does the owner's batch, and dies behind a commit."""

    def __init__(self, ports: MemoryPorts, settings: Settings, at: int, commits: int) -> None:
        self._ports, self._settings, self._at, self._commits = ports, settings, at, commits
        self._calls = 0
        self.batch = Batch("", [])

    def __call__(self, call: Callable[..., Any], *args: Any) -> Any:
        if self._calls == self._at:
            run(self._ports, [self.batch], self._settings, self._die)
        self._calls += 1
        return call(*args)

    def _die(self, call: Callable[..., Any], *args: Any) -> Any:
        answer = call(*args)
        self._commits -= call.__name__ == "commit"
        if not self._commits:
            raise Crash("behind a commit")
        return answer


@EVERY_SETTING
@pytest.mark.parametrize("commits", [1, 2, 3])
def test_a_zombie_that_dies_behind_a_commit_changes_nothing(
    settings: Settings, commits: int
) -> None:
    wanted, broken = uninterrupted(settings), []
    for at in range(calls_of(settings)):
        ports = installation(settings)
        intruder = Intruder(ports, settings, at, commits)
        steps = steps_over(ports, intruder, settings)
        for batch in batches():
            intruder.batch = batch
            steps.process(batch)
        if tables(ports) != wanted:
            broken.append(at)
    assert not broken


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_where_outboxes_have_no_room_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, moment: Moment
) -> None:
    wanted, broken = uninterrupted(), []
    monkeypatch.setattr(keyed_state, "ITEM_BYTES_MAX", 0)
    for at in range(calls_of(SETTINGS)):
        ports = installation()
        done = run(ports, batches(), around=Tripwire(at, moment).around)
        run(ports, again(done, 2))
        if tables(ports) != wanted:
            broken.append(at)
    assert not broken


def test_a_zombie_where_outboxes_have_no_room_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted, broken = uninterrupted(), []
    monkeypatch.setattr(keyed_state, "ITEM_BYTES_MAX", 0)
    for at in range(calls_of(SETTINGS)):
        ports = installation()
        Zombie(ports, SETTINGS, at, 1).live()
        if tables(ports) != wanted:
            broken.append(at)
    assert not broken


# ---------------------------------------------------------------------- partial and lost answers
@EVERY_SETTING
def test_ports_that_do_half_of_every_call_change_nothing(settings: Settings) -> None:
    ports = installation(settings)
    run(ports, batches(), settings, half)
    assert tables(ports) == uninterrupted(settings)


@EVERY_SETTING
def test_ports_that_lose_every_other_answer_change_nothing(settings: Settings) -> None:
    ports = installation(settings)
    run(ports, batches(), settings, LostAnswers())
    assert tables(ports) == uninterrupted(settings)


@EVERY_SETTING
def test_a_crash_among_lost_answers_changes_nothing(settings: Settings) -> None:
    wanted, broken = uninterrupted(settings), []
    for at in range(0, 2 * calls_of(settings), 2):
        ports, wire, losing = installation(settings), Tripwire(at, "after"), LostAnswers()

        def around(
            call: Callable[..., Any],
            *args: Any,
            wire: Tripwire = wire,
            losing: LostAnswers = losing,
        ) -> Any:
            return wire.around(losing, call, *args)

        done = run(ports, batches(), settings, around)
        run(ports, again(done, 2), settings)
        if tables(ports) != wanted:
            broken.append(at)
    assert not broken


# -------------------------------------------------------------------------------------- lost races
class Rival:
    """Another shard's worker that is quicker by a record, just before a commit of ours."""

    def __init__(self, ports: MemoryPorts, settings: Settings, commits: int) -> None:
        self._ports, self._settings, self._left = ports, settings, commits
        self._theirs = [b for b in batches(1) if b.shard_id == "shard-1"]

    def __call__(self, call: Callable[..., Any], *args: Any) -> Any:
        if call.__name__ == "commit" and self._left:
            self._left -= 1
            run(self._ports, [self._theirs.pop(0)], self._settings)
        return call(*args)

    def finish(self) -> None:
        run(self._ports, self._theirs, self._settings)


@EVERY_SETTING
@pytest.mark.parametrize("commits", [1, 2, 3])
@pytest.mark.parametrize("cut", [1, 99])
def test_a_race_that_is_lost_to_another_shard_changes_nothing(
    settings: Settings, commits: int, cut: int
) -> None:
    ports = installation(settings)
    rival = Rival(ports, settings, commits)
    run(ports, [b for b in batches(cut) if b.shard_id == "shard-0"], settings, rival)
    rival.finish()
    assert tables(ports) == uninterrupted(settings)
