"""The ten steps and what is already there: duplicates, conflicts, rows that outlive claims."""

from collections import Counter

import pytest

from pipeline.bootstrap import MemoryPorts
from pipeline.core.changes import ChangeAnnotated, RefusedAs
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record
from pipeline.core.step import Refusal
from tests.crashes import (
    Tripwire,
    steps_over,
    sunk,
    tables,
)
from tests.unit.scenario import (
    EVENTS,
    ONE_EFFECT_A_ROUND,
    SETTINGS,
    batches,
    installation,
    run,
    sale,
    uninterrupted,
)
from tests.unit.traffic import ARRIVAL

EVERY_SETTING = pytest.mark.parametrize("settings", [SETTINGS, ONE_EFFECT_A_ROUND])


def delivered(ports: MemoryPorts, sequence: int, *data: bytes) -> Counter[str]:
    """Deliver records to one shard and return the counts."""
    records = [
        Record(one, Position(EVENTS, "shard-7", sequence + n), ARRIVAL)
        for n, one in enumerate(data)
    ]
    steps = steps_over(ports, lambda call, *args: call(*args), SETTINGS)
    return steps.process(Batch("shard-7", records)).counts


def kept(ports: MemoryPorts) -> list[Refusal]:
    return list(ports.quarantine.scan())


def test_a_transaction_that_is_sent_again_is_a_duplicate() -> None:
    ports = installation()
    delivered(ports, 1, sale("t", 0, "J1"))
    assert delivered(ports, 2, sale("t", 0, "J1"))["duplicate"] == 1


def test_a_duplicate_changes_no_stock() -> None:
    ports = installation()
    for sequence in (1, 2):
        delivered(ports, sequence, sale("t", 0, "J1"), sale("t", 0, "J1"))
    levels = {key.parts: s.body for key, s in ports.states.items.items() if key.fold == "stock"}
    assert levels == {("GB-1", "J1"): b"-1"}


def test_a_redelivery_is_no_duplicate() -> None:
    ports = installation()
    delivered(ports, 1, sale("t", 0, "J1"))
    counts = delivered(ports, 1, sale("t", 0, "J1"))
    assert (counts["accepted"], counts["redelivered"], counts["duplicate"]) == (1, 1, 0)


def test_another_body_is_quarantined_whole() -> None:
    ports, other = installation(), sale("t", 0, "J1", 2)
    delivered(ports, 1, sale("t", 0, "J1"))
    delivered(ports, 2, other)
    (refusal,) = kept(ports)
    assert (refusal.kind, refusal.record.data) == ("conflict", other)


def test_the_first_body_stays() -> None:
    ports = installation()
    delivered(ports, 1, sale("t", 0, "J1"), sale("t", 0, "J1", 2))
    assert [row.change for row in ports.change_log.rows.values()] == [-1]


def test_a_batch_of_nothing_but_refusals_is_kept() -> None:
    ports = installation()
    delivered(ports, 1, b"{", b"", b"\xff")
    assert [refusal.record.data for refusal in kept(ports)] == [b"{", b"", b"\xff"]


def test_a_row_that_outlived_its_claim_makes_a_resend_a_duplicate() -> None:
    ports = installation()
    delivered(ports, 1, sale("t", 0, "J1"))
    before = tables(ports)
    ports.claims.items.clear()
    counts = delivered(ports, 2, sale("t", 0, "J1"))
    after = tables(ports)
    assert (counts["accepted"], counts["duplicate"]) == (0, 1)
    refused = after.facts["refused", "shard-7", 2, 0]
    assert refused.verdict is RefusedAs.DUPLICATE
    assert after == before._replace(
        claims=after.claims, facts={**before.facts, ("refused", "shard-7", 2, 0): refused}
    )


def test_a_row_that_outlived_its_claim_makes_another_body_a_conflict() -> None:
    ports = installation()
    delivered(ports, 1, sale("t", 0, "J1"))
    ports.claims.items.clear()
    delivered(ports, 2, sale("t", 0, "J1", 2))
    assert [(r.kind, r.record.position.sequence) for r in kept(ports)] == [("conflict", 2)]


def test_a_claim_without_its_row_is_finished_by_the_redelivery() -> None:
    ports = installation()
    records = [Record(sale("t", 0, "J1"), Position(EVENTS, "shard-7", 1), ARRIVAL)]
    run(ports, [Batch("shard-7", records)], SETTINGS, Tripwire(0, "after").around)
    assert (len(ports.claims.items), len(ports.change_log.rows)) == (1, 0)
    run(ports, [Batch("shard-7", records)])
    assert len(ports.change_log.rows) == 1


def test_a_redelivery_publishes_its_facts_again() -> None:
    ports = installation()
    delivered(ports, 1, sale("j", 0, "J1"), sale("p", 9, "P1"))
    before = sunk(ports.changes)
    for records in ports.changes.records.values():
        records.clear()
    delivered(ports, 1, sale("j", 0, "J1"), sale("p", 9, "P1"))
    assert sunk(ports.changes) == before


def test_a_late_event_is_annotated_as_such() -> None:
    ports = installation()
    run(ports, batches())
    notes = {n.transaction_id for n in ports.change_log.annotations.values() if n.late}
    assert notes == {"x2"}
    assert ChangeAnnotated("GB-1", "x2", (), 0, True, 0) in uninterrupted().notes.values()
