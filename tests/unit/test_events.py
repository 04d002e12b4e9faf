"""Events: every reason to refuse one, at its edge and in its order."""

import codecs
import json
from time import process_time

import pytest

from pipeline.core.events import PosEvent, Rejected, parse
from pipeline.core.instants import MINUTE, parse_instant
from pipeline.core.reasons import EXAMPLES, Reason
from pipeline.core.rules import Rules
from tests.unit.traffic import ARRIVAL, RULES, line, raw_line

TEXTS = (
    "location",
    "transaction_id",
    "product_id",
    "base_product_id",
    "category",
    "timestamp",
    "source",
)
IDENTIFIERS = TEXTS[:4]


def outcome(data: bytes, arrival: int = ARRIVAL) -> str:
    """Name the reason, or say ok."""
    found = parse(data, arrival, RULES)
    return found.reason.value if isinstance(found, Rejected) else "ok"


def nested(depth: int) -> bytes:
    """Write an event whose deepest container is this deep, the event itself being the first."""
    return raw_line(note="[" * (depth - 1) + "]" * (depth - 1))


# ------------------------------------------------------------------------------- what is accepted
def test_event_says_what_the_till_said() -> None:
    assert parse(line(change=-3), ARRIVAL, RULES) == PosEvent.model_construct(
        location="GB-1",
        transaction_id="t-1",
        product_id="J1",
        base_product_id="1",
        category="jacket",
        change=-3,
        instant=1_300_000_000_000_000,
        source="POS",
    )


def test_identifiers_are_never_folded_or_normalised() -> None:
    name = "e\u0301 \u00c9\u00a0 \u200b\u1e9e\U0001f454"
    found = parse(line(transaction_id=name), ARRIVAL, RULES)
    assert isinstance(found, PosEvent) and found.transaction_id == name


def test_unknown_field_called_instant_is_not_the_timestamp() -> None:
    found = parse(line(instant=1), ARRIVAL, RULES)
    assert isinstance(found, PosEvent) and found.instant == parse_instant("2011-03-13T07:06:40Z")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b" \t\r\n" + line() + b" \t\r\n", id="white space of JSON around it"),
        pytest.param(raw_line(change="1" + "0" * 5), id="100,000 units came in"),
        pytest.param(raw_line(change="-100000"), id="100,000 units left"),
        pytest.param(raw_line(note="9" * 5_000), id="5,000 digits in an unknown field"),
        pytest.param(raw_line(note="-" + "9" * 5_000), id="-5,000 digits in an unknown field"),
        pytest.param(raw_line(note="1e99999"), id="float beyond range in an unknown field"),
        pytest.param(raw_line(note="[1.5,-0.0,1E+2,null,true]"), id="any values in unknown field"),
        pytest.param(raw_line(note='"\\ud800"'), id="lone surrogate in an unknown field"),
        pytest.param(raw_line(note='{"\\udfff":"\\ud800\\u0041"}'), id="surrogate in unknown key"),
        pytest.param(raw_line(location='"\\ud83d\\udc54"'), id="surrogate pair by escapes"),
        pytest.param(raw_line(note='[{"a":1},{"a":1}]'), id="one key in two objects"),
        pytest.param(raw_line(note='{"a":{"a":1}}'), id="one key at two depths"),
        pytest.param(raw_line(**{"Location": "1"}), id="key in another case"),
        pytest.param(raw_line(note='"\\u0000"'), id="control character in an unknown field"),
        pytest.param(raw_line(note='"' + "[" * 300 + '"'), id="300 brackets inside a string"),
        pytest.param(raw_line(note="[" + "[]," * 300 + "[]]"), id="300 containers side by side"),
        pytest.param(line(category="tie", source="batch"), id="another category and source"),
    ],
)
def test_valid_event_is_accepted(data: bytes) -> None:
    assert outcome(data) == "ok"


# ------------------------------------------------------------------------------- every reason
@pytest.mark.parametrize("reason", [r for r in Reason if r is not Reason.BAD_AGGREGATE])
def test_documented_example_earns_its_reason(reason: Reason) -> None:
    assert outcome(EXAMPLES[reason]) == reason


def test_every_reason_has_an_example() -> None:
    assert set(EXAMPLES) == set(Reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="nothing"),
        pytest.param(b"\x0b", "malformed_json", id="vertical tab is not JSON white space"),
        pytest.param(b"\xc2\xa0", "malformed_json", id="no-break space is not JSON white space"),
        pytest.param(b"\x00", "malformed_json", id="NUL"),
        pytest.param(b"\x0c" + line(), "malformed_json", id="form feed before it"),
        pytest.param(line() + b"\x00", "malformed_json", id="NUL behind it"),
        pytest.param(codecs.BOM_UTF8 + line(), "bad_encoding", id="BOM"),
        pytest.param(codecs.BOM_UTF8, "bad_encoding", id="nothing but a BOM"),
        pytest.param(b" " + codecs.BOM_UTF8 + line(), "malformed_json", id="BOM not in front"),
        pytest.param(line().decode().encode("utf-16"), "bad_encoding", id="UTF-16 with BOM"),
        pytest.param(line().decode().encode("utf-16-le"), "malformed_json", id="UTF-16 without"),
        pytest.param(raw_line(note='"\ud800"'), "bad_encoding", id="surrogate in bytes"),
        pytest.param(line()[:-1] + b',"\xc0\x80":1}', "bad_encoding", id="overlong UTF-8"),
        pytest.param(raw_line(note="NaN"), "malformed_json", id="NaN"),
        pytest.param(raw_line(note="Infinity"), "malformed_json", id="Infinity"),
        pytest.param(raw_line(change="-Infinity"), "malformed_json", id="-Infinity"),
        pytest.param(raw_line(note="01"), "malformed_json", id="leading zero"),
        pytest.param(raw_line(note="1."), "malformed_json", id="no digit behind the point"),
        pytest.param(raw_line(note="+1"), "malformed_json", id="plus sign"),
        pytest.param(raw_line(note='"\t"'), "malformed_json", id="raw tab in a string"),
        pytest.param(raw_line(note='"\\x41"'), "malformed_json", id="unknown escape"),
        pytest.param(raw_line(note='"\\u12"'), "malformed_json", id="short escape"),
        pytest.param(raw_line(note="[1,]"), "malformed_json", id="comma before a bracket"),
        pytest.param(line() + line(), "malformed_json", id="two events"),
        pytest.param(line()[:-1], "malformed_json", id="no end"),
        pytest.param(b"null", "not_object", id="null"),
        pytest.param(b'"text"', "not_object", id="string"),
        pytest.param(b"9" * 5_000, "not_object", id="5,000 digits"),
    ],
)
def test_bytes_that_are_no_event_are_named(data: bytes, reason: str) -> None:
    assert outcome(data) == reason


@pytest.mark.parametrize(
    "text",
    [
        '"location":"GB-1"',
        '"\\u006cocation":"GB-1"',
        '"note":{"a":1,"\\u0061":1}',
        '"note":[[{"b":{"a":1,"a":1}}]]',
        '"\\ud800":1,"\\ud800":2',
        '"":1,"":1',
    ],
)
def test_repeated_key_is_refused_wherever_and_however_written(text: str) -> None:
    assert outcome(line()[:-1] + f",{text}}}".encode()) == "duplicate_key"


def test_repeated_key_is_refused_even_if_the_values_are_equal() -> None:
    assert outcome(line()[:-1] + b',"change":-1}') == "duplicate_key"


@pytest.mark.parametrize("name", [*TEXTS, "change"])
def test_missing_field_is_named(name: str) -> None:
    assert parse(raw_line(**{name: ""}), ARRIVAL, RULES) == Rejected(Reason.MISSING_FIELD, name)


@pytest.mark.parametrize("value", ["null", "1", "true", "[]", "{}", '["GB-1"]'])
@pytest.mark.parametrize("name", TEXTS)
def test_text_field_of_another_type_is_named(name: str, value: str) -> None:
    assert parse(raw_line(**{name: value}), ARRIVAL, RULES) == Rejected(Reason.BAD_TYPE, name)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1e2", "bad_type"),
        ("-1.0", "bad_type"),
        ("1.0e0", "bad_type"),
        ("-0.0", "bad_type"),
        ("1e99999", "bad_type"),
        ('"-1"', "bad_type"),
        ("true", "bad_type"),
        ("false", "bad_type"),
        ("null", "bad_type"),
        ("[-1]", "bad_type"),
        ("0", "zero_change"),
        ("-0", "zero_change"),
        ("100001", "out_of_range"),
        ("-100001", "out_of_range"),
        (str(2**63), "out_of_range"),
        (str(-(2**64)), "out_of_range"),
        ("9" * 5_000, "out_of_range"),
        ("-" + "9" * 5_000, "out_of_range"),
    ],
)
def test_change_is_a_small_integer_and_not_zero(value: str, reason: str) -> None:
    assert outcome(raw_line(change=value)) == reason


_TEXT_FAULTS = {
    "empty": ('""', "empty_field"),
    "lone surrogate": ('"a\\udc00"', "bad_unicode"),
    "escaped control": ('"a\\u0000b"', "control_char"),
    "escaped delete": ('"a\\u007fb"', "control_char"),
    "C1 control": ('"a\x9fb"', "control_char"),
    "next line at the end": ('"a\x85"', "control_char"),
    "leading space": ('" a"', "padded"),
    "trailing no-break space": ('"a\u00a0"', "padded"),
    "trailing ideographic space": ('"a\u3000"', "padded"),
    "leading line separator": ('"\u2028a"', "padded"),
    "a space alone": ('" "', "padded"),
    "257 bytes": ('"' + "x" * 257 + '"', "too_long"),
    "257 bytes of two-byte characters": ('"' + "\u00e9" * 128 + 'x"', "too_long"),
    "260 bytes of four-byte characters": ('"' + "\U0001f454" * 65 + '"', "too_long"),
    "260 bytes by escapes": ('"' + "\\ud83d\\udc54" * 65 + '"', "too_long"),
}


@pytest.mark.parametrize("fault", _TEXT_FAULTS)
@pytest.mark.parametrize("name", TEXTS)
def test_fault_of_a_text_is_named_with_its_field(name: str, fault: str) -> None:
    value, reason = _TEXT_FAULTS[fault]
    found = parse(raw_line(**{name: value}), ARRIVAL, RULES)
    assert found == Rejected(Reason(reason), name)


@pytest.mark.parametrize("text", ["x" * 256, "\u00e9" * 128, "\U0001f454" * 64, "\u20ac" * 85])
@pytest.mark.parametrize("name", IDENTIFIERS)
def test_identifier_may_have_256_bytes(name: str, text: str) -> None:
    assert outcome(line(**{name: text})) == "ok"


@pytest.mark.parametrize(
    "text", ["a\u200b", "\ufeffa", "a\u00adb", "a b", "\u200e", "\ufffd", "\ue000"]
)
def test_what_is_neither_control_nor_white_space_at_an_end_is_allowed(text: str) -> None:
    assert outcome(raw_line(location=json.dumps(text, ensure_ascii=False))) == "ok"


def test_category_in_another_case_is_unknown() -> None:
    assert outcome(line(category="Jacket")) == "unknown_category"


def test_source_in_another_case_is_unknown() -> None:
    assert outcome(line(source="pos")) == "unknown_source"


def test_categories_are_those_of_the_rules() -> None:
    rules = Rules(categories=frozenset({"hat"}))
    assert isinstance(parse(line(category="hat"), ARRIVAL, rules), PosEvent)


# ------------------------------------------------------------------------------- sizes and depths
@pytest.mark.parametrize(("size", "reason"), [(65_536, "ok"), (65_537, "too_large")])
def test_event_may_have_exactly_64_kib(size: int, reason: str) -> None:
    room = size - len(line(note=""))
    assert outcome(line(note="x" * room)) == reason


def test_white_space_counts_towards_the_size() -> None:
    assert outcome(line() + b" " * 65_536) == "too_large"


@pytest.mark.parametrize(("depth", "reason"), [(200, "ok"), (201, "malformed_json")])
def test_containers_may_nest_200_deep(depth: int, reason: str) -> None:
    assert outcome(nested(depth)) == reason


@pytest.mark.parametrize("data", [b"[" * 65_536, b'{"a":' * 13_000, b"]" * 65_536, b"[{" * 30_000])
def test_bottomless_nesting_is_malformed(data: bytes) -> None:
    assert outcome(data) == "malformed_json"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'"' + b'\\"' * 32_000, id="escaped quotes without end"),
        pytest.param(b'"' * 65_535, id="quotes"),
        pytest.param(b'"' + b"\\" * 65_000, id="backslashes"),
        pytest.param(b"[" * 199 + b'"' + b"\\\\" * 32_000, id="escaped backslashes"),
        pytest.param(raw_line(note="9" * 60_000), id="60,000 digits"),
        pytest.param(raw_line(note="1." + "9" * 60_000 + "e9"), id="60,000 decimals"),
        pytest.param(raw_line(note="[" + "{}," * 20_000 + "{}]"), id="20,000 objects"),
        pytest.param(line(location=" " * 60_000 + "x"), id="60,000 spaces in an identifier"),
        pytest.param(line(location="x" + " " * 60_000), id="60,000 spaces behind an identifier"),
        pytest.param(line(timestamp="2011-06-01T07:45:46." + "0" * 60_000), id="60,000 fractions"),
    ],
)
def test_one_spiteful_record_cannot_hold_up_its_shard(data: bytes) -> None:
    start = process_time()
    parse(data, ARRIVAL, RULES)
    assert process_time() - start < 1


# ------------------------------------------------------------------------------- timestamps
@pytest.mark.parametrize(
    ("timestamp", "reason"),
    [
        ("2011-06-01T07:45:46z", "bad_timestamp"),
        ("2011-06-01t07:45:46Z", "bad_timestamp"),
        ("2016-12-31T23:59:60Z", "bad_timestamp"),
        ("0000-06-01T07:45:46Z", "bad_timestamp"),
        ("2011-06-01T07:45:46+24:00", "bad_timestamp"),
        ("1999-12-31T23:59:59.999999Z", "bad_timestamp"),
        ("2000-01-01T00:00:00Z", "ok"),
        ("2000-01-01T00:00:00-00:00", "ok"),
        ("2011-03-01T07:45:46", "naive_timestamp"),
        ("2011-02-31T07:45:46", "bad_timestamp"),
        ("9999-12-31T23:59:59", "naive_timestamp"),
        ("9999-12-31T23:59:59-23:59", "future_timestamp"),
        ("2011-03-01T07:45:46." + "1" * 300 + "Z", "too_long"),
    ],
)
def test_timestamp_fault_is_named(timestamp: str, reason: str) -> None:
    assert outcome(line(timestamp=timestamp)) == reason


@pytest.mark.parametrize(("ahead", "reason"), [(0, "ok"), (1, "future_timestamp")])
def test_till_may_be_five_minutes_ahead_and_no_microsecond_more(ahead: int, reason: str) -> None:
    arrival = parse_instant("2011-03-13T07:06:40Z") - 5 * MINUTE - ahead
    assert outcome(line(), arrival) == reason


def test_digits_below_the_microsecond_are_cut_before_the_future_is_judged() -> None:
    arrival = parse_instant("2011-03-13T07:06:40Z") - 5 * MINUTE
    assert outcome(line(timestamp="2011-03-13T07:06:40.0000009Z"), arrival) == "ok"


def test_old_event_is_no_fault_however_long_ago() -> None:
    assert outcome(line(timestamp="2000-01-01T00:00:00Z"), arrival=10**18) == "ok"


# ------------------------------------------------------------------------------- the order
_LONG = '"' + "x" * 257 + '"'


@pytest.mark.parametrize(
    ("data", "first"),
    [
        pytest.param(b" " * 70_000, "empty", id="empty, too large"),
        pytest.param(b"\xff" * 70_000, "too_large", id="too large, bad encoding"),
        pytest.param(codecs.BOM_UTF8 + b"x" * 70_000, "too_large", id="too large, BOM"),
        pytest.param(codecs.BOM_UTF8 + b"{", "bad_encoding", id="BOM, malformed"),
        pytest.param(b'{"\xff', "bad_encoding", id="bad encoding, malformed"),
        pytest.param(b'{"a":1,"a":2', "malformed_json", id="malformed, duplicate key"),
        pytest.param(b'[{"a":1,"a":NaN}]', "malformed_json", id="NaN, duplicate, not object"),
        pytest.param(b"[" * 201 + b"]" * 201, "malformed_json", id="too deep, not object"),
        pytest.param(
            b'[{"a":1,"a":2},' + b"[" * 200 + b"]" * 201,
            "malformed_json",
            id="too deep, duplicate key",
        ),
        pytest.param(b'[{"a":1,"a":2}]', "duplicate_key", id="duplicate key, not object"),
        pytest.param(b'{"change":1,"change":2}', "duplicate_key", id="duplicate, missing"),
        pytest.param(raw_line(source="", location="1"), "missing_field", id="missing, bad type"),
        pytest.param(raw_line(change="", location="1"), "missing_field", id="change missing"),
        pytest.param(raw_line(change="1.5", location='""'), "bad_type", id="bad type, empty"),
        pytest.param(raw_line(source="null", location=_LONG), "bad_type", id="bad type, too long"),
        pytest.param(raw_line(location='"\\ud800\\u0000"'), "bad_unicode", id="unicode, control"),
        pytest.param(raw_line(location='" \\ud800"'), "bad_unicode", id="unicode, padded"),
        pytest.param(raw_line(location='" a\\u0000"'), "control_char", id="control, padded"),
        pytest.param(raw_line(location='"\\n"'), "control_char", id="control that strip removes"),
        pytest.param(raw_line(location=_LONG[:-1] + ' "'), "padded", id="padded, too long"),
        pytest.param(
            raw_line(location=_LONG[:-1] + '\\u0000"'), "control_char", id="control, too long"
        ),
    ],
)
def test_first_failed_check_of_the_whole_names_the_reason(data: bytes, first: str) -> None:
    assert outcome(data) == first


@pytest.mark.parametrize("later", range(1, 7))
def test_earlier_text_field_is_judged_in_full_before_the_next(later: int) -> None:
    data = raw_line(**{TEXTS[later - 1]: _LONG, TEXTS[later]: '""'})
    assert parse(data, ARRIVAL, RULES) == Rejected(Reason.TOO_LONG, TEXTS[later - 1])


@pytest.mark.parametrize(
    ("overrides", "first"),
    [
        ({"category": '" jacket"'}, "padded"),
        ({"category": '"socks"', "source": '""'}, "empty_field"),
        ({"category": '"socks"', "source": '"POS "'}, "padded"),
        ({"category": '"socks"', "timestamp": '" "'}, "padded"),
        ({"source": '"POS\\u0000"', "change": "0"}, "control_char"),
        ({"category": '"socks"', "source": '"fax"'}, "unknown_category"),
        ({"category": '"socks"', "change": "0"}, "unknown_category"),
        ({"source": '"fax"', "change": "0"}, "unknown_source"),
        ({"source": '"fax"', "change": "100001"}, "unknown_source"),
        ({"change": "0", "timestamp": '"never"'}, "zero_change"),
        ({"change": "-100001", "timestamp": '"never"'}, "out_of_range"),
        ({"change": "0", "timestamp": '"2011-06-01T07:45:46"'}, "zero_change"),
        ({"change": "0", "timestamp": '"9999-01-01T00:00:00Z"'}, "zero_change"),
        ({"category": '"socks"', "timestamp": '"9999-01-01T00:00:00Z"'}, "unknown_category"),
    ],
)
def test_first_failed_check_of_the_values_names_the_reason(
    overrides: dict[str, str], first: str
) -> None:
    assert outcome(raw_line(**overrides)) == first
