"""Checkpoints: how far a consumer has finished with a shard, and who may say so."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from pipeline.ports.streams import Start


class Checkpoint(NamedTuple):
    """A shard's progress: where to read on, or that the shard has ended and is finished."""

    start: Start
    finished: bool = False

    def order(self) -> tuple[bool, int]:
        """Compare progress: any record behind any start, the end behind any record."""
        return self.finished, self.start.at if self.start.kind == "AFTER_SEQUENCE_NUMBER" else -1


class CheckpointStore(Protocol):
    """One item per (consumer, shard), with one owner, who alone may move it.

    `take` makes the caller the owner and answers where to go on; for a shard never seen it stores
    `start` first, before a record is read, so that a crash before the first checkpoint does not
    move the start. `advance` raises LeaseLost once somebody else has taken the shard; it never
    moves backwards.
    """

    def take(self, consumer: str, shard_id: str, owner: str, start: Start) -> Checkpoint:
        """Become the owner of a shard and return where it stands."""

    def advance(self, consumer: str, shard_id: str, owner: str, to: Checkpoint) -> None:
        """Move the checkpoint. Raises LeaseLost."""

    def all(self, consumer: str) -> Mapping[str, Checkpoint]:
        """Read every checkpoint of a consumer, by shard."""
