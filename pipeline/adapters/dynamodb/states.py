"""Keyed states: two tables, one mechanism.

A fold whose body is only an accumulator lives in `keyed_state`, one binary attribute under
`fold#key`. The stock fold's body is the answer itself, so its states are the rows of
`stock_levels`. A layout says how a state becomes an item; everything else is the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import unquote

from pipeline.adapters._aws import Aws
from pipeline.adapters.dynamodb.items import Item, number, text
from pipeline.adapters.dynamodb.reads import get_all, get_batch, scan
from pipeline.adapters.dynamodb.writes import (
    Attributes,
    ConditionalWriter,
    Guard,
    Outcome,
    Write,
)
from pipeline.core.claims import composite
from pipeline.core.errors import TransientFault
from pipeline.core.keyed_state import KeyedState, ShardMark, StateKey
from pipeline.ports.scans import WHOLE, Segment
from pipeline.ports.states import Commit, PinnedRules

RULES_KEY = "meta#rules"


class Layout(Protocol):
    """How the states of one fold are laid out in a table."""

    table: str
    partition_key: str

    def key(self, key: StateKey) -> Item: ...

    def parts(self, item: Attributes) -> tuple[str, ...]: ...

    def body(self, body: bytes) -> Item: ...

    def read_body(self, item: Attributes) -> bytes: ...


class AccumulatorLayout:
    """`keyed_state`: PK `fold#key` with percent-encoded parts, the body as bytes."""

    partition_key = "state_key"

    def __init__(self, table: str) -> None:
        self.table = table

    def key(self, key: StateKey) -> Item:
        """Join fold and parts."""
        return {"state_key": text(composite(key.fold, *key.parts))}

    def parts(self, item: Attributes) -> tuple[str, ...]:
        """Split a key again."""
        return tuple(map(unquote, item["state_key"]["S"].split("#")[1:]))

    def body(self, body: bytes) -> Item:
        """Keep the body as it is."""
        return {"body": {"B": body}}

    def read_body(self, item: Attributes) -> bytes:
        """Return the body."""
        body: bytes = item["body"]["B"]
        return body


class StockLayout:
    """`stock_levels`: PK location, SK product_id, the body as the number on_hand."""

    partition_key = "location"

    def __init__(self, table: str) -> None:
        self.table = table

    def key(self, key: StateKey) -> Item:
        """Spread the parts over partition and sort key."""
        location, product_id = key.parts
        return {"location": text(location), "product_id": text(product_id)}

    def parts(self, item: Attributes) -> tuple[str, ...]:
        """Read location and product."""
        return item["location"]["S"], item["product_id"]["S"]

    def body(self, body: bytes) -> Item:
        """Store the level as a number."""
        return {"on_hand": {"N": body.decode()}}

    def read_body(self, item: Attributes) -> bytes:
        """Return the level as text."""
        on_hand: str = item["on_hand"]["N"]
        return on_hand.encode()


class DynamoStates:
    """`ports.states.StateStore`; `layouts` by fold, `rules_table` holds the `meta#rules` item."""

    def __init__(
        self, aws: Aws, writer: ConditionalWriter, layouts: Mapping[str, Layout], rules_table: str
    ) -> None:
        self._aws, self._writer = aws, writer
        self._layouts, self._rules_table = layouts, rules_table

    def load(self, keys: Sequence[StateKey]) -> Mapping[StateKey, KeyedState]:
        """Read the states of each fold's table in batches."""
        answers: dict[StateKey, KeyedState] = {}
        for fold, layout in self._layouts.items():
            wanted = {key: layout.key(key) for key in keys if key.fold == fold}
            found, unprocessed = get_all(self._aws, layout.table, list(wanted.values()))
            states = {state.key: state for item in found for state in [_state(fold, layout, item)]}
            for key, attributes in wanted.items():
                if key in states:
                    answers[key] = states[key]
                elif attributes not in unprocessed:
                    answers[key] = KeyedState(key)
        return answers

    def commit(self, commits: Sequence[Commit]) -> Mapping[StateKey, bool]:
        """Compare and set."""
        outcomes = self._writer.write([self._write(commit) for commit in commits])
        return {
            commit.state.key: outcome is Outcome.WRITTEN
            for commit, outcome in zip(commits, outcomes, strict=True)
            if outcome is not None
        }

    def _write(self, commit: Commit) -> Write:
        state, layout = commit.state, self._layouts[commit.state.key.fold]
        values = {
            **layout.body(state.body),
            "version": number(state.version),
            "positions": {"M": {shard: _mark_item(m) for shard, m in state.marks.items()}},
        }
        guard = Guard("equals", "version", commit.expected)
        if not commit.expected:
            guard = Guard("absent", layout.partition_key)
        return Write(layout.table, layout.key(state.key), values, guard)

    def pin(self, rules: PinnedRules) -> PinnedRules:
        """Insert the rules if none are there; read back what holds."""
        key = {"state_key": text(RULES_KEY)}
        values = {
            "application": text(rules.application),
            "digest": text(rules.digest),
            "rules": text(rules.rules),
            "epoch": number(rules.epoch),
        }
        write = Write(self._rules_table, key, values, Guard("absent", "state_key"))
        self._writer.write([write])
        answer = get_batch(self._aws, self._rules_table, [key])  # whose fault says what is wrong
        found = answer["Responses"].get(self._rules_table, [])
        if not found:
            raise TransientFault("the rules could be neither stored nor read")
        (item,) = found
        return PinnedRules(
            item["application"]["S"],
            item["digest"]["S"],
            item["rules"]["S"],
            int(item["epoch"]["N"]),
        )

    def scan(self, fold: str, segment: Segment = WHOLE) -> Iterator[KeyedState]:
        """Read every state of a fold; the rules item is none."""
        layout = self._layouts[fold]
        for item in scan(self._aws, layout.table, segment):
            if item.get("state_key", {}).get("S", f"{fold}#").startswith(f"{fold}#"):
                yield _state(fold, layout, item)


def _state(fold: str, layout: Layout, item: Attributes) -> KeyedState:
    marks = {shard: _mark(mark["M"]) for shard, mark in item["positions"]["M"].items()}
    key = StateKey(fold, layout.parts(item))
    return KeyedState(key, int(item["version"]["N"]), layout.read_body(item), marks)


def _mark_item(mark: ShardMark) -> Item:
    sequence, sub = mark.order
    return {"M": {"position": text(f"{sequence}/{sub}"), "outbox": {"B": mark.outbox}}}


def _mark(item: Any) -> ShardMark:
    sequence, sub = item["position"]["S"].split("/")
    return ShardMark((int(sequence), int(sub)), item["outbox"]["B"])
