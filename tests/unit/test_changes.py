"""Facts: what is written, on the stream or in an outbox, is read back as it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    Effect,
    Fact,
    FactRejected,
    RefusedAs,
    StockChanged,
    effect_key,
    fact_partition_key,
    from_wire,
    merge,
    to_wire,
)
from pipeline.core.instants import EARLIEST
from pipeline.core.outbox import pack, unpack
from pipeline.core.reasons import FactReason

_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
_COUNT = st.integers(0, 2**53)
_INSTANT = st.integers(EARLIEST, 253_402_300_799_999_999)
_UNITS = st.integers(0, 100_000)
_LEVEL = st.integers(-(10**12), 10**12)
recorded = st.builds(
    ChangeRecorded,
    *[_TEXT] * 5,
    st.integers(-100_000, 100_000),
    _INSTANT,
    _TEXT,
    _TEXT,
    st.integers(0, 10**129 - 1),
    _COUNT,
    _INSTANT,
)
annotated = st.builds(
    ChangeAnnotated,
    _TEXT,
    _TEXT,
    st.lists(_TEXT, max_size=4).map(tuple),
    _COUNT,
    st.booleans(),
    _COUNT,
)
combo = st.builds(
    ComboChanged, *[_TEXT] * 5, _INSTANT, _UNITS, _UNITS, st.sampled_from(ComboStatus), _COUNT
)
stock = st.builds(StockChanged, _TEXT, _TEXT, _LEVEL, _COUNT)
refused = st.builds(
    DeliveryRefused,
    st.sampled_from((RefusedAs.DUPLICATE, RefusedAs.CONFLICT)),
    st.just(""),
    *[_TEXT] * 3,
    _INSTANT,
    _TEXT,
    st.integers(0, 10**129 - 1),
    _COUNT,
    _INSTANT,
)
rejected = st.builds(
    DeliveryRefused,
    st.just(RefusedAs.REJECTED),
    _TEXT,
    *[st.none()] * 4,
    _TEXT,
    st.integers(0, 10**129 - 1),
    _COUNT,
    _INSTANT,
)
effects = st.lists(st.one_of(annotated, combo, stock), max_size=8)
facts = st.one_of(recorded, refused, rejected, annotated, combo, stock)

LEVEL = StockChanged("GB-1", "J1", -1, 1)
NOTE = ChangeAnnotated("GB-1", "t", ("c",), 1, False, 1)
REPEAT = DeliveryRefused(
    RefusedAs.DUPLICATE, "", "GB-1", "t", "POS", EARLIEST, "s0", 8, 0, EARLIEST
)
NO_EVENT = DeliveryRefused(
    RefusedAs.REJECTED, "empty", None, None, None, None, "s0", 9, 0, EARLIEST
)
ROW = ChangeRecorded("GB-1", "t", "J1", "1", "jacket", -1, EARLIEST, "POS", "s0", 7, 0, EARLIEST)


def altered(fact: Fact, **fields: object) -> bytes:
    """Write a fact with some of its wire fields replaced; None leaves one out."""
    written = json.loads(to_wire(fact)) | fields
    return json.dumps(
        {name: value for name, value in written.items() if value is not None}
    ).encode()


# ------------------------------------------------------------------------------- the wire
@given(facts)
def test_fact_is_read_back_from_the_wire(fact: Fact) -> None:
    assert from_wire(to_wire(fact)) == fact


@given(facts)
def test_fact_read_back_has_the_types_it_had(fact: Fact) -> None:
    assert [type(value) for value in from_wire(to_wire(fact))] == [type(value) for value in fact]


@given(st.binary(max_size=80))
def test_no_bytes_raise_out_of_the_reader(data: bytes) -> None:
    assert isinstance(from_wire(data), FactRejected)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(facts, st.data())
def test_fact_with_a_strange_field_never_raises(fact: Fact, choices: st.DataObject) -> None:
    name = choices.draw(st.sampled_from(sorted(json.loads(to_wire(fact)))))
    assert from_wire(altered(fact, **{name: choices.draw(_JSON)})) is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", FactReason.BAD_FACT),
        (b"[]", FactReason.BAD_FACT),
        (b"\xff", FactReason.BAD_FACT),
        (b"{}", FactReason.UNKNOWN_FACT),
        (altered(LEVEL, type="Elsewhere"), FactReason.UNKNOWN_FACT),
        (altered(LEVEL, type=["StockChanged"]), FactReason.UNKNOWN_FACT),
        (altered(LEVEL, schema_version=2), FactReason.UNSUPPORTED_SCHEMA),
        (altered(LEVEL, schema_version=None), FactReason.UNSUPPORTED_SCHEMA),
        (altered(LEVEL, schema_version="1"), FactReason.UNSUPPORTED_SCHEMA),
        (altered(LEVEL, on_hand=None), FactReason.BAD_FACT),
        (altered(LEVEL, on_hand="1"), FactReason.BAD_FACT),
        (altered(LEVEL, on_hand=1.0), FactReason.BAD_FACT),
        (altered(LEVEL, on_hand=True), FactReason.BAD_FACT),
        (altered(LEVEL, revision=2**64), FactReason.BAD_FACT),
        (altered(NOTE, combo_ids="abc"), FactReason.BAD_FACT),
        (altered(NOTE, combo_ids=[1]), FactReason.BAD_FACT),
        (altered(NOTE, combo_ids={"a": 1}), FactReason.BAD_FACT),
        (altered(NOTE, late=0), FactReason.BAD_FACT),
        (altered(LEVEL, product_id="a\0"), FactReason.BAD_FACT),
        (altered(LEVEL, product_id="\u00e9" * 129), FactReason.BAD_FACT),
        (altered(ROW, change=100_001), FactReason.BAD_FACT),
        (altered(ROW, sequence_number="9" * 130), FactReason.BAD_FACT),
        (altered(ROW, timestamp="2011-06-01"), FactReason.BAD_FACT),
        (altered(ROW, timestamp=5), FactReason.BAD_FACT),
        (altered(ROW, sequence_number="x"), FactReason.BAD_FACT),
        (altered(ROW, sequence_number=1.5), FactReason.BAD_FACT),
        (altered(ROW, sequence_number=True), FactReason.BAD_FACT),
        (altered(ROW, sequence_number="9" * 5_000), FactReason.BAD_FACT),
        (altered(REPEAT, verdict="accepted"), FactReason.BAD_FACT),
        (altered(REPEAT, location=None), FactReason.BAD_FACT),
        (altered(REPEAT, verdict=None), FactReason.BAD_FACT),
        (altered(NO_EVENT, reason=None), FactReason.BAD_FACT),
        (altered(NO_EVENT, sequence_number="-1"), FactReason.BAD_FACT),
    ],
)
def test_record_that_is_no_fact_is_named(data: bytes, reason: FactReason) -> None:
    assert from_wire(data) == FactRejected(reason)


def test_unknown_field_of_a_fact_is_ignored() -> None:
    assert from_wire(altered(LEVEL, since="next year")) == LEVEL


def test_wire_names_the_fields_that_readers_know() -> None:
    assert json.loads(to_wire(ROW)) == {
        "type": "ChangeRecorded",
        "schema_version": 1,
        "location": "GB-1",
        "transaction_id": "t",
        "product_id": "J1",
        "base_product_id": "1",
        "category": "jacket",
        "change": -1,
        "timestamp": "2000-01-01T00:00:00.000000Z",
        "source": "POS",
        "shard_id": "s0",
        "sequence_number": "7",
        "sub_sequence_number": 0,
        "ingested_at": "2000-01-01T00:00:00.000000Z",
    }


def test_rejected_record_says_nothing_that_it_did_not_say() -> None:
    assert json.loads(to_wire(NO_EVENT)) == {
        "type": "DeliveryRefused",
        "schema_version": 1,
        "verdict": "rejected",
        "reason": "empty",
        "shard_id": "s0",
        "sequence_number": "9",
        "sub_sequence_number": 0,
        "ingested_at": "2000-01-01T00:00:00.000000Z",
    }


@given(facts)
def test_partition_key_fits_kinesis(fact: Fact) -> None:
    assert len(fact_partition_key(fact)) == 32


# ------------------------------------------------------------------------------- the outbox
@given(effects)
def test_effects_are_read_back_from_the_outbox(written: list[Effect]) -> None:
    assert unpack(pack(written)) == tuple(written)


@given(effects)
def test_effects_read_back_have_the_types_they_had(written: list[Effect]) -> None:
    found = [[type(value) for value in effect] for effect in unpack(pack(written))]
    assert found == [[type(value) for value in effect] for effect in written]


def test_empty_outbox_weighs_nothing() -> None:
    assert (pack([]), unpack(b"")) == (b"", ())


def test_long_identifier_is_written_once() -> None:
    one = pack([StockChanged("x" * 256, "a", 1, 1)])
    assert len(pack([StockChanged("x" * 256, name, 1, 1) for name in "abcd"])) < len(one) + 100


# ------------------------------------------------------------------------------- merging
@given(effects, effects)
def test_merge_keeps_one_effect_of_the_highest_revision_for_each_key(
    older: list[Effect], newer: list[Effect]
) -> None:
    highest: dict[tuple[str, ...], int] = {}
    for effect in (*older, *newer):
        key = effect_key(effect)
        highest[key] = max(effect.revision, highest.get(key, 0))
    assert {effect_key(e): e.revision for e in merge(older, newer)} == highest


def test_of_equal_revisions_the_newer_effect_is_kept() -> None:
    other = LEVEL._replace(on_hand=5)
    assert merge([LEVEL], [other]) == (other,)


def test_stale_effect_does_not_replace_a_fresh_one() -> None:
    fresh = LEVEL._replace(revision=9)
    assert merge([fresh], [LEVEL]) == (fresh,)


def test_effects_of_different_kinds_never_share_a_key() -> None:
    note, level = ChangeAnnotated("a", "b", (), 0, False, 1), StockChanged("a", "b", 1, 1)
    assert len({effect_key(note), effect_key(level)}) == 2
