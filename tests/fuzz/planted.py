"""Planted mistakes: each is one that somebody could make, and the fuzz must find it in its budget.

A mistake replaces a few lines of the product. One that nothing finds means that inputs or claims
are missing: mend those, never this list.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import jiter
from google.protobuf.message import DecodeError

from pipeline.core import events, instants, records, step
from pipeline.core.records import BadAggregate, HashRange, Record

_deaggregate = records.deaggregate
_user_record = records._user_record


class Mistake(NamedTuple):
    """What is replaced, and the target that must show it."""

    target: str
    module: Any
    name: str
    replacement: Any

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Plant it; take it out again."""
        with patch.object(self.module, self.name, self.replacement):
            yield


def _keep_last_of_two_keys(data: bytes, **_: bool) -> Any:
    return jiter.from_json(data, allow_inf_nan=False)


def _checksum_ignored(data: bytes) -> list[records.UserRecord]:
    message: Any = records._Aggregate()
    try:
        message.ParseFromString(data[4:-16])
        return [_user_record(message, entry) for entry in message.records]
    except (DecodeError, ValueError) as fault:
        raise BadAggregate from fault


def _opened_again(record: Record, owned: HashRange) -> list[Record] | None:
    members = _deaggregate(record, owned)
    if members is None or members == [record]:
        return members
    return [inner for member in members for inner in _opened_again(member, owned) or ()]


def _all_in_one_place(record: Record, owned: HashRange) -> list[Record] | None:
    members = _deaggregate(record, owned)
    return members and [member._replace(position=record.position) for member in members]


def _members_out_of_range_dropped(record: Record, owned: HashRange) -> list[Record] | None:
    members = _deaggregate(record, HashRange())
    if members is None or members == [record]:
        return members
    hash_keys = [member.hash_key for member in records.read_aggregate(record.data)]
    return [member for member, key in zip(members, hash_keys, strict=True) if owned.holds(key)]


def _last_of_the_table(table: Any, index: int) -> bytes:
    found: bytes = table[min(index, len(table) - 1)]
    return found


MISTAKES = {
    "the last of two keys is kept": Mistake(
        "event", events, "jiter", SimpleNamespace(from_json=_keep_last_of_two_keys)
    ),
    "a field may have a byte too many": Mistake("event", events, "FIELD_BYTES_MAX", 257),
    "upper control characters pass": Mistake(
        "event", events, "_CONTROL", re.compile("[\x00-\x1f\x7f]")
    ),
    "brackets in strings count as containers": Mistake(
        "event", events, "_JSON_STRING", re.compile("(?!)")
    ),
    "numbers of any length are read": Mistake("event", events, "_bounded_int", int),
    "fields are checked in another order": Mistake(
        "event", events, "_TEXT_FIELDS", tuple(sorted(events._TEXT_FIELDS))
    ),
    "the future begins a microsecond late": Mistake(
        "event", events, "FUTURE_ALLOWANCE_US", events.FUTURE_ALLOWANCE_US + 1
    ),
    "any digits make a timestamp": Mistake(
        "event", instants, "_RFC3339", re.compile(instants._RFC3339.pattern)
    ),
    "the checksum is not compared": Mistake("record", records, "read_aggregate", _checksum_ignored),
    "an aggregate inside an aggregate is opened": Mistake(
        "record", step, "deaggregate", _opened_again
    ),
    "members share a sub-sequence number": Mistake(
        "record", step, "deaggregate", _all_in_one_place
    ),
    "only the members out of range are dropped": Mistake(
        "record", step, "deaggregate", _members_out_of_range_dropped
    ),
    "an index beyond its table means the last": Mistake(
        "record", records, "_at", _last_of_the_table
    ),
}
