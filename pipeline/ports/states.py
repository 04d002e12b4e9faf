"""The keyed states of all folds, and the rules under which they were folded."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pipeline.core.keyed_state import KeyedState, StateKey
from pipeline.ports.scans import WHOLE, Segment


class Commit(NamedTuple):
    """A state to be written if the stored version is still `expected` (0: nothing is stored)."""

    state: KeyedState
    expected: int


class PinnedRules(NamedTuple):
    """What a set of tables belongs to: one application, one stream, one set of rules, one epoch."""

    application: str
    digest: str
    rules: str
    epoch: int


class StateStore(Protocol):
    """States by key; the only coordination between workers is the version.

    `load` is consistent: it sees every commit that was answered. `commit` is a compare-and-set per
    state, atomic with its outbox. True: written. False: somebody else was first, or this very
    write was, on an earlier try whose answer was lost; the caller loads again and finds out from
    the positions. Left out: not known, offered again. The caller offers each key once per call.
    """

    def load(self, keys: Sequence[StateKey]) -> Mapping[StateKey, KeyedState]:
        """Read states; an absent one comes back with version 0.

        Keys left out are asked for again.
        """

    def commit(self, commits: Sequence[Commit]) -> Mapping[StateKey, bool]:
        """Write each state whose version is as expected."""

    def pin(self, rules: PinnedRules) -> PinnedRules:
        """Store the rules if none are, and return the ones that hold."""

    def scan(self, fold: str, segment: Segment = WHOLE) -> Iterator[KeyedState]:
        """Read every state of a fold in a segment of its table, in no order."""
