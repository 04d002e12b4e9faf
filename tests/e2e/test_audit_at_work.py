"""Audits and repairs after crashes and skipped batches, beside consumers, and their limits."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from consumers.audit.report import report
from consumers.demo import demo_lines
from pipeline.core.instants import parse_instant
from pipeline.core.reconciling import Check, Part
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import Start
from tests.audits import LINES, Audited, installation
from tests.crashes import tables
from tests.damage import (
    alter_state,
    alter_stock,
    combo_row,
    invent_warehouse_row,
    lose_combo,
    lose_row,
    lose_warehouse_row,
)


@pytest.fixture
def audited() -> Audited:
    return installation(200)


# ------------------------------------------------------------------------------ skipped and crashed
def crashed(after: str, *, skipped: bool) -> Audited:
    """Break the work on one batch off after a step; go on behind it, or leave it to come again."""
    audited = installation(0)
    lines = demo_lines()[:300]
    audited.run.publish(lines, audited.by)
    steps = 0

    def stop(call: Callable[..., Any], *args: Any) -> Any:
        nonlocal steps
        answer = call(*args)
        if call.__name__ == after:
            steps += 1
            if steps == 2:
                raise Broken
        return answer

    audited.work(stop, Broken, skipped=skipped)
    audited.drain()
    return audited


class Broken(Exception):
    """The work on a batch ends here."""


@pytest.mark.parametrize("after", ["claim", "record", "commit"])
def test_skipped_batch_is_found_and_finished(after: str) -> None:
    audited, quiet = crashed(after, skipped=True), installation(300)
    assert not audited.audit().clean
    assert audited.mended().findings == []
    for name in ("claims", "rows", "notes", "combos", "bodies", "facts"):
        found, wanted = (_accepted(getattr(tables(e.ports), name)) for e in (audited, quiet))
        assert (name, found) == (name, wanted)


def _accepted(table: Mapping[Any, Any]) -> dict[Any, Any]:
    """Leave out what a skipped batch refused: that leaves no trace to finish it from."""
    return {key: value for key, value in table.items() if key[0] != "refused"}


@pytest.mark.parametrize("after", ["claim", "record", "commit"])
def test_batch_that_will_come_again_is_left_to_the_consumer(after: str) -> None:
    audited, quiet = crashed(after, skipped=False), installation(300)
    audited.mended()
    audited.work()
    audited.drain()
    assert audited.audit().findings == []
    found, wanted = (tables(each.ports) for each in (audited, quiet))
    assert (found.combos, found.bodies, found.rows) == (wanted.combos, wanted.bodies, wanted.rows)


def test_claim_that_may_come_again_is_named_as_unfinished() -> None:
    audited = crashed("claim", skipped=False)
    told = audited.audit(mend=True)
    assert {finding.check for finding in told.findings} == {Check.UNFINISHED}
    assert told.repaired is not None
    assert len(told.repaired.left) == len(told.findings)
    assert not told.clean


def test_checkpoint_tells_that_a_claim_will_not_come_again() -> None:
    audited = crashed("claim", skipped=False)
    for shard_id, log in audited.ports.events.records.items():
        ends = Checkpoint(Start("AFTER_SEQUENCE_NUMBER", len(log)))
        audited.ports.checkpoints.items["inventory", shard_id] = "local", ends
    checks = {finding.check for finding in audited.audit().findings}
    assert Check.UNFINISHED not in checks
    assert audited.mended().findings == []


# ------------------------------------------------------------------------------ a system at work
def test_difference_that_moves_is_a_fact_on_its_way(audited: Audited) -> None:
    lose_warehouse_row(audited)
    audited.clock.on_wait = lambda _: audited.drain()
    found = audited.audit()
    assert (found.findings, found.clean) == ([], True)


def test_consumer_may_work_on_while_states_are_rebuilt() -> None:
    audited, quiet = installation(200), installation(300)
    audited.run.publish(demo_lines()[:300], audited.by)
    for damage in (alter_stock, alter_state, lose_row, lose_combo):
        damage(audited)
    steps = iter(audited.working())
    log: Any = audited.ports.change_log
    scan = log.scan

    def scan_while_it_works(*args: Any) -> Iterator[Any]:
        next(steps, None)
        found: Iterator[Any] = scan(*args)
        return found

    log.scan = scan_while_it_works
    audited.audit(mend=True)
    for _ in steps:
        pass
    del log.scan
    audited.drain()
    audited.mended()
    assert tables(audited.ports).bodies == tables(quiet.ports).bodies
    assert audited.audit().findings == []


# ------------------------------------------------------------------------------ limits
def test_warehouse_of_another_installation_is_not_emptied(audited: Audited) -> None:
    other = installation(LINES)
    strangers = other.ports.warehouse.changes.keys() - audited.ports.warehouse.changes.keys()
    audited.ports.warehouse.changes.update(other.ports.warehouse.changes)
    repaired = audited.audit(mend=True).repaired
    assert repaired is not None
    reasons = {finding.key: reason for finding, reason in repaired.left}
    assert reasons.keys() == strangers
    assert strangers <= audited.ports.warehouse.changes.keys()


def test_row_is_not_removed_where_its_claim_may_have_expired(audited: Audited) -> None:
    audited.settings = audited.settings.model_copy(update={"claims_ttl": audited.long})
    invent_warehouse_row(audited)
    audited.audit(mend=True)
    assert any(key[1] == "invented" for key in audited.ports.warehouse.changes)


def test_listing_is_bounded_and_the_count_is_not(audited: Audited) -> None:
    audited.ports.warehouse.changes.clear()
    told = report(audited.audit())
    counted = told["by_check"][str(Check.WAREHOUSE_CHANGE)]
    listed = [row for row in told["listed"] if row["check"] == str(Check.WAREHOUSE_CHANGE)]
    assert (counted, len(listed)) == (len(audited.ports.change_log.rows), 20)


def test_location_bounds_what_is_looked_at(audited: Audited) -> None:
    row = combo_row(audited)
    lose_warehouse_row(audited)
    elsewhere = next(k[0] for k in audited.ports.change_log.rows if k[0] != row.location)
    assert audited.audit(Part(elsewhere)).clean
    assert not audited.audit(Part(row.location)).clean


def test_since_bounds_what_is_looked_at(audited: Audited) -> None:
    row = combo_row(audited)
    lose_warehouse_row(audited)
    assert not audited.audit(Part(since=row.instant)).clean
    assert audited.audit(Part(since=parse_instant("2020-01-01T00:00:00Z"))).clean
