"""Events: the two parsers agree with each other, and both with the contract read a second time."""

import json

from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.core.events import PosEvent, Rejected, _diagnose, parse
from pipeline.core.fingerprint import fingerprint
from pipeline.core.instants import format_instant
from tests import reference_events as reference
from tests.unit.traffic import ARRIVAL, RULES, fact, line, raw_line

_STRANGE = st.sampled_from(
    [
        '""',
        '" x"',
        '"x\u00a0"',
        '"\\u0000"',
        '"\x85"',
        '"\\ud800"',
        '"\\ud83d\\udc54"',
        '"' + "\u00e9" * 128 + '"',
        '"' + "\u00e9" * 129 + '"',
        '"' + "x" * 257 + '"',
        "null",
        "true",
        "-1",
        "-1.5",
        "0",
        "-0",
        "1e2",
        "100000",
        "100001",
        "9" * 25,
        "9" * 4_301,
        "1e999",
        "NaN",
        "01",
        "{}",
        "[1,]",
        '{"a":1,"\\u0061":2}',
        "[" * 199 + "]" * 199,
        "[" * 200 + "]" * 200,
        '"POS"',
        '"jacket"',
        '"socks"',
        '"2011-06-01T07:45:46"',
        '"2011-03-01T07:45:46.1234567+01:00"',
        '"9999-01-01T00:00:00Z"',
    ]
)
_NAMES = st.sampled_from(
    [*reference.TEXTS, "change", "note", "Location", "\\u0063hange", "a", "\\u0061", "\\ud800"]
)
_SPACES = st.sampled_from(["", "", "", " ", "\n\t", "\r", "\x0b", "\u00a0", "\ufeff"])


@st.composite
def near_valid(draw: st.DrawFn) -> bytes:
    """Draw a valid event with a few strange values, keys, spaces and bytes."""
    good = json.loads(line())
    pairs = [(name, json.dumps(value)) for name, value in good.items()]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(pairs) - 1))
        pairs[at] = pairs[at][0], draw(_STRANGE)
    extra = st.tuples(_NAMES, _STRANGE)
    pairs += draw(st.lists(extra, max_size=2))
    space, comma, colon = draw(_SPACES), draw(_SPACES) + ",", draw(_SPACES) + ":"
    body = comma.join(f'"{name}"{colon}{value}' for name, value in draw(st.permutations(pairs)))
    data = f"{space}{{{body}}}{draw(_SPACES)}".encode()
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 2)) :]
    return data


_STAMPED = st.integers(0, 9_999_999).map(
    lambda fraction: line(timestamp=f"2011-03-01T07:45:46.{fraction:07}+01:00")
)


def _agree(data: bytes) -> None:
    found, wanted = parse(data, ARRIVAL, RULES), reference.read(data, ARRIVAL, RULES)
    said = found.reason.value if isinstance(found, Rejected) else fact(found)
    assert said == wanted


@given(st.binary(max_size=300))
def test_no_bytes_raise_out_of_the_parser(data: bytes) -> None:
    assert isinstance(parse(data, ARRIVAL, RULES), Rejected)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_no_json_raises_out_of_the_parser(value: object) -> None:
    data = json.dumps(value).encode()
    assert isinstance(parse(data, ARRIVAL, RULES), Rejected)


@given(near_valid())
@example(raw_line(category='" pants"'))
@example(raw_line(category='"socks"', source='" POS"'))
def test_parser_agrees_with_the_contract_read_a_second_time(data: bytes) -> None:
    _agree(data)


@given(near_valid() | _STAMPED)
def test_fast_parser_agrees_with_the_careful_one(data: bytes) -> None:
    assert parse(data, ARRIVAL, RULES) == _diagnose(data, ARRIVAL, RULES)


@given(st.sampled_from([line(), line(location="\u00e9\U0001f454")]), st.data())
def test_mutated_event_never_raises_and_is_judged_by_the_contract(
    valid: bytes, choices: st.DataObject
) -> None:
    data = bytearray(valid)
    for _ in range(choices.draw(st.integers(1, 4))):
        at = choices.draw(st.integers(0, len(data) - 1))
        data[at : at + choices.draw(st.integers(0, 2))] = choices.draw(st.binary(max_size=2))
    _agree(bytes(data))


@given(st.text(max_size=6), st.sampled_from(reference.TEXTS))
def test_every_text_is_judged_by_the_contract(text: str, name: str) -> None:
    _agree(line(**{name: text}))


@given(
    st.lists(
        st.text(st.characters(categories=["L", "N", "S"]), min_size=1, max_size=60), min_size=4
    ),
    st.integers(-100_000, 100_000).filter(bool),
    st.integers(946_684_800_000_000, ARRIVAL),
)
def test_event_written_again_is_read_as_the_same_event(
    names: list[str], change: int, instant: int
) -> None:
    fields = dict(zip(reference.TEXTS[:4], names, strict=False))
    written = line(**fields, change=change, timestamp=format_instant(instant))
    event = parse(written, ARRIVAL, RULES)
    assert isinstance(event, PosEvent)
    again = event.model_dump(exclude={"instant"}) | {"timestamp": format_instant(event.instant)}
    assert parse(line(**again), ARRIVAL, RULES) == event


@given(near_valid() | _STAMPED)
def test_what_is_accepted_is_the_same_event_in_its_plainest_form(data: bytes) -> None:
    event = parse(data, ARRIVAL, RULES)
    assume(isinstance(event, PosEvent))
    assert isinstance(event, PosEvent)
    fields = event.model_dump(exclude={"instant"}) | {"timestamp": format_instant(event.instant)}
    for plain in (json.dumps(fields), json.dumps(fields, ensure_ascii=False)):
        again = parse(plain.encode(), ARRIVAL, RULES)
        assert isinstance(again, PosEvent)
        assert (again, fingerprint(again)) == (event, fingerprint(event))
