"""Claims: of all deliveries of a transaction one holds, and everybody can tell which."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.claims import Claim, Holder, Verdict, claim_id, composite, settle
from pipeline.core.events import PosEvent
from pipeline.core.fingerprint import fingerprint, partition_key, raw_partition_key
from pipeline.core.positions import Position
from tests.unit.traffic import jacket

HERE = Position("pos-events", "s0", 7, 0)
ELSEWHERE = [
    HERE._replace(stream="other"),
    HERE._replace(shard_id="s1"),
    HERE._replace(sequence=8),
    HERE._replace(sub=1),
]


def claimed(event: PosEvent) -> Claim:
    """Claim an event at HERE."""
    return Claim(event.transaction_id, event, fingerprint(event), HERE, 0)


# ------------------------------------------------------------------------------- settling
def test_claim_that_was_just_inserted_is_new() -> None:
    claim = claimed(jacket(0, "j"))
    assert settle(claim, Holder(claim.fingerprint, HERE, fresh=True)) is Verdict.NEW


def test_claim_of_the_same_position_is_our_own_earlier_try() -> None:
    claim = claimed(jacket(0, "j"))
    assert settle(claim, Holder(claim.fingerprint, HERE)) is Verdict.REDELIVERED


@pytest.mark.parametrize("place", ELSEWHERE)
def test_same_facts_at_another_position_are_a_duplicate(place: Position) -> None:
    claim = claimed(jacket(0, "j"))
    assert settle(claim, Holder(claim.fingerprint, place)) is Verdict.DUPLICATE


@pytest.mark.parametrize("fresh", [True, False])
def test_other_facts_at_another_position_are_a_conflict(fresh: bool) -> None:
    holder = Holder(fingerprint(jacket(1, "j")), ELSEWHERE[2], fresh)
    assert settle(claimed(jacket(0, "j")), holder) is Verdict.CONFLICT


def test_repeat_behind_a_first_that_was_just_inserted_is_a_duplicate() -> None:
    claim = claimed(jacket(0, "j"))
    assert settle(claim, Holder(claim.fingerprint, ELSEWHERE[2], fresh=True)) is Verdict.DUPLICATE


# ------------------------------------------------------------------------------- identity
def test_transaction_counts_once_wherever_it_is_reported() -> None:
    there = jacket(0, "j").model_copy(update={"location": "GB-2"})
    assert claim_id(there, "global") == claim_id(jacket(0, "j"), "global")


def test_transaction_counts_once_in_each_location_where_the_rules_say_so() -> None:
    there = jacket(0, "j").model_copy(update={"location": "GB-2"})
    assert claim_id(there, "location") != claim_id(jacket(0, "j"), "location")


_PARTS = st.lists(st.text("a#%23\u00e9", max_size=4), min_size=2, max_size=2)


@given(_PARTS, _PARTS)
@example(["a#", "b"], ["a", "#b"])
@example(["a%23", "b"], ["a#", "b"])
def test_no_part_can_forge_a_separator(parts: list[str], other: list[str]) -> None:
    assert (composite(*parts) == composite(*other)) == (parts == other)


# ------------------------------------------------------------------------------- fingerprints
def test_fingerprint_is_stable_for_ever() -> None:
    assert fingerprint(jacket(0, "j")) == "v1:01c0fb963a8ddbda78dab8216b0abc83"


@pytest.mark.parametrize("field", ["source", "transaction_id"])
def test_fingerprint_does_not_read(field: str) -> None:
    other = jacket(0, "j").model_copy(update={field: "batch"})
    assert fingerprint(other) == fingerprint(jacket(0, "j"))


@pytest.mark.parametrize(
    "changed",
    [
        {"location": "x"},
        {"product_id": "x"},
        {"base_product_id": "x"},
        {"category": "pants"},
        {"change": 1},
        {"instant": 1},
    ],
)
def test_fingerprint_reads(changed: dict[str, object]) -> None:
    assert fingerprint(jacket(0, "j").model_copy(update=changed)) != fingerprint(jacket(0, "j"))


# ------------------------------------------------------------------------------- partition keys
def test_partition_key_is_the_one_that_publishers_compute() -> None:
    assert partition_key("GB-1", "1") == "40a9bde338502a9e37910252f38d732f"


def test_partition_key_tells_parts_apart() -> None:
    assert partition_key("ab", "c") != partition_key("a", "bc")


def test_bytes_that_are_no_event_are_spread_by_themselves() -> None:
    assert raw_partition_key(b"") == "e3b0c44298fc1c149afbf4c8996fb924"
