"""The step: every record of a batch is accounted for, once, and grouped by the keys it touches."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.changes import RefusedAs
from pipeline.core.claims import Claim, Holder, Verdict
from pipeline.core.combos import ComboFold
from pipeline.core.events import PosEvent
from pipeline.core.fingerprint import fingerprint
from pipeline.core.keyed_state import StateKey
from pipeline.core.positions import Position
from pipeline.core.records import Batch, HashRange, Record, UserRecord, write_aggregate
from pipeline.core.step import (
    Settlement,
    by_key,
    claim_of,
    first_claims,
    holder_of,
    read,
    refused_record,
    row_of,
    settle_all,
)
from pipeline.core.stock import StockFold
from tests.reference import expected
from tests.unit.traffic import ARRIVAL, RULES, SHOP, line, raw_line

BROKEN = b"\xf3\x89\x9a\xc2 no aggregate"


def record(data: bytes, sequence: int = 1) -> Record:
    """Put bytes at a place in the stream."""
    return Record(data, Position("pos-events", "s0", sequence), ARRIVAL)


def batch(*lines: bytes, owned: HashRange = HashRange()) -> Batch:  # noqa: B008 - immutable
    """Number lines from 1."""
    return Batch("s0", [record(data, number) for number, data in enumerate(lines, 1)], owned)


def settled(*lines: bytes) -> Settlement:
    """Read a batch and settle it against claims that it makes itself."""
    deliveries = read(batch(*lines), RULES).deliveries
    holders = {
        name: Holder(claim.fingerprint, claim.position, fresh=True)
        for name, claim in first_claims(deliveries).items()
    }
    return settle_all(deliveries, holders, lambda claim: claim.claim_id)


def claim(data: bytes) -> Claim:
    """Claim one event."""
    return read(batch(data), RULES).deliveries[0].claim


# ------------------------------------------------------------------------------- reading
def test_valid_event_becomes_a_delivery() -> None:
    assert [d.claim.claim_id for d in read(batch(line()), RULES).deliveries] == ["t-1"]


def test_unusable_record_is_refused_whole_with_its_reason_and_place() -> None:
    (refusal,) = read(batch(line(), b"{"), RULES).refusals
    assert refusal == ("rejected", "malformed_json", "", record(b"{", 2))


def test_one_bad_record_does_not_stop_those_behind_it() -> None:
    reading = read(batch(BROKEN, b"\xff", line()), RULES)
    assert (len(reading.deliveries), len(reading.refusals)) == (1, 2)


def test_broken_aggregate_is_refused_raw() -> None:
    (refusal,) = read(batch(BROKEN), RULES).refusals
    assert (refusal.reason, refusal.record.data) == ("bad_aggregate", BROKEN)


def test_bad_member_of_an_aggregate_is_refused_alone() -> None:
    data = write_aggregate([UserRecord("a", line()), UserRecord("a", b"{")])
    reading = read(batch(data), RULES)
    assert [r.record.position.order for r in reading.refusals] == [(1, 1)]


def test_aggregate_inside_an_aggregate_is_refused_as_it_is() -> None:
    inner = write_aggregate([UserRecord("a", line())])
    (refusal,) = read(batch(write_aggregate([UserRecord("a", inner)])), RULES).refusals
    assert (refusal.reason, refusal.record.data) == ("bad_encoding", inner)


def test_size_of_the_aggregate_is_no_reason_to_refuse_its_members() -> None:
    data = write_aggregate([UserRecord("a", line(note="x" * 40_000)) for _ in range(3)])
    assert len(read(batch(data), RULES).deliveries) == 3


def test_aggregate_of_another_shard_is_dropped_and_counted() -> None:
    data = write_aggregate([UserRecord("a", line(), 5)])
    assert read(batch(data, owned=HashRange(0, 4)), RULES) == ([], [], 1)


@given(st.lists(st.sampled_from([line(), line(change=2), b"", BROKEN, raw_line(change="0")])))
def test_everything_read_is_a_delivery_or_a_refusal(lines: list[bytes]) -> None:
    reading = read(batch(*lines), RULES)
    assert len(reading.deliveries) + len(reading.refusals) == len(lines)


# ------------------------------------------------------------------------------- settling
def test_only_the_first_claim_of_a_transaction_may_be_inserted() -> None:
    deliveries = read(batch(line(), line(change=-2), line()), RULES).deliveries
    assert [c.position.sequence for c in first_claims(deliveries).values()] == [1]


def test_repeat_inside_a_batch_is_a_duplicate() -> None:
    assert settled(line(), line()).verdicts[Verdict.DUPLICATE] == 1


def test_other_body_inside_a_batch_is_a_conflict_and_is_kept_whole() -> None:
    (refusal,) = settled(line(), line(change=-2)).refusals
    assert refusal == ("conflict", "conflict", "", record(line(change=-2), 2))


def test_every_delivery_that_is_not_accepted_is_told_of_under_its_own_place() -> None:
    found = settled(line(), line(source="batch"), line(change=-2))
    assert [(f.verdict, f.sequence, f.source) for f in found.refused] == [
        (RefusedAs.DUPLICATE, 2, "batch"),
        (RefusedAs.CONFLICT, 3, "POS"),
    ]


def test_rejected_record_is_told_of_with_its_reason_and_nothing_else() -> None:
    (refusal,) = read(batch(line(), b"{"), RULES).refusals
    place = ("s0", 2, 0, refusal.record.arrival)
    assert refused_record(refusal) == (
        *(RefusedAs.REJECTED, "malformed_json", None, None, None, None),
        *place,
    )


def test_redelivered_event_is_carried_on_as_if_new() -> None:
    deliveries = read(batch(line()), RULES).deliveries
    mine = deliveries[0].claim
    holders = {"t-1": Holder(mine.fingerprint, mine.position)}
    assert settle_all(deliveries, holders, lambda c: c.claim_id).accepted == deliveries


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from((-1, 2)), st.sampled_from(("POS", "batch"))
        )
    )
)
def test_verdicts_of_a_batch_are_those_of_the_oracle(said: list[tuple[str, int, str]]) -> None:
    lines = [line(transaction_id=name, change=n, source=source) for name, n, source in said]
    verdicts = settled(*lines).verdicts
    outcomes = [verdict.outcome for verdict in expected(lines, ARRIVAL, RULES).verdicts]
    assert [verdicts[v] for v in (Verdict.NEW, Verdict.DUPLICATE, Verdict.CONFLICT)] == [
        outcomes.count(outcome) for outcome in ("accepted", "duplicate", "conflict")
    ]


# ------------------------------------------------------------------------------- rows and keys
def test_row_of_an_event_says_where_and_when_it_arrived() -> None:
    assert row_of(claim(line()))[8:] == ("s0", 1, 0, ARRIVAL)


def test_row_has_the_fingerprint_of_its_event() -> None:
    assert fingerprint(row_of(claim(line()))) == claim(line()).fingerprint


def test_row_that_is_there_names_its_holder() -> None:
    mine = claim(line())
    assert holder_of(row_of(mine), "pos-events", fresh=False) == (
        mine.fingerprint,
        mine.position,
        False,
    )


def test_jacket_touches_its_style_and_its_product() -> None:
    deliveries = read(batch(line()), RULES).deliveries
    assert set(by_key([ComboFold(RULES), StockFold()], deliveries)) == {
        StateKey("combos", (SHOP, "1")),
        StateKey("stock", (SHOP, "J1")),
    }


def test_batch_delivery_touches_stock_alone() -> None:
    deliveries = read(batch(line(source="batch")), RULES).deliveries
    assert [key.fold for key in by_key([ComboFold(RULES), StockFold()], deliveries)] == ["stock"]


def test_events_of_a_key_keep_their_order() -> None:
    lines = [line(transaction_id=name) for name in "cab"]
    (items,) = by_key([StockFold()], read(batch(*lines), RULES).deliveries).values()
    assert [(order, event.transaction_id) for order, event in items] == [
        ((1, 0), "c"),
        ((2, 0), "a"),
        ((3, 0), "b"),
    ]


def test_claim_holds_the_whole_event_with_its_place() -> None:
    found = claim_of(
        PosEvent.model_construct(**claim(line()).event.model_dump()), record(line()), RULES
    )
    assert found == claim(line())
