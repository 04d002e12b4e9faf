"""The etl consumer: facts from the internal stream into the warehouse.

A batch is handled in three steps, each of which may be repeated:

1. Read the records as facts; those that are none are refused.
2. Quarantine the refused.
3. Load the facts and the position of the last record, in one transaction of the warehouse.

A fact with a value that the warehouse refuses for good would hold up its shard for ever. So a batch
that meets one is loaded in halves, and halves of halves, each with the position of its own last
record; what is refused alone goes to the quarantine, and the position moves on behind it. Some
twenty loads for one in five hundred: it is not meant to happen (`from_wire` lets nothing through
that a sink cannot hold), and a refused value is no reason to look at each fact of each batch.

The position covers refused records too, so that a batch of rubbish moves on. It makes the warehouse
itself say how far it is, in the same breath as its rows: restored from yesterday's snapshot it says
so, and `resume` goes back, whatever the checkpoint believes. A warehouse that is restored under a
running consumer refuses the next batch, since that does not join on.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from pipeline.core.changes import Fact, FactRejected, from_wire
from pipeline.core.errors import ValueRefused
from pipeline.core.positions import Order
from pipeline.core.reasons import FactReason
from pipeline.core.records import Batch, Record
from pipeline.core.step import Refusal
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.quarantine import Quarantine
from pipeline.ports.streams import TRIM_HORIZON, Start
from pipeline.ports.warehouse import FactBatch, Warehouse
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport
from pipeline.runtime.health import Health, Waiting

Answer = TypeVar("Answer")
_log = logging.getLogger("tillstream.etl")


class _Found(NamedTuple):
    fact: Fact
    record: Record


class EtlHandler:
    """Load facts, batch by batch. Safe to call again, late, and from several workers at once.

    `loaded` is told after each batch that something is new; it must return at once.
    """

    name = "etl"

    def __init__(
        self,
        warehouse: Warehouse,
        quarantine: Quarantine,
        backoff: Backoff,
        loaded: Callable[[], None] = lambda: None,
    ) -> None:
        self._warehouse = warehouse
        self._quarantine = quarantine
        self._backoff = backoff
        self._loaded = loaded
        self._waiting = Waiting("warehouse", backoff.clock)
        self._reached: dict[str, Order] = {}

    def health(self) -> Health:
        """Say which shards wait for the warehouse, why and how long; safe from any thread."""
        return self._waiting.health()

    def handle(self, batch: Batch) -> BatchReport:
        """Make a batch's facts and its position durable.

        Raises SystemFault or Stopping; FellBehind if the warehouse has lost what was loaded before.
        """
        if not batch.records:
            return BatchReport()
        found, refusals = _read(batch)
        self._backoff.drain("quarantine", self._quarantine.put, refusals)
        refused = self._load(batch.shard_id, found, batch.records[-1].position.order)
        self._loaded()
        rejected = len(refusals) + refused
        return BatchReport(
            Counter(read=len(batch.records), facts=len(found) - refused, rejected=rejected)
        )

    def _load(self, shard_id: str, found: Sequence[_Found], last: Order) -> int:
        """Load facts and position, in parts if need be; return how many facts were refused."""
        try:
            self._offer(shard_id, [fact for fact, _ in found], last)
            return 0
        except ValueRefused as fault:
            if not found:
                raise
            if len(found) == 1:
                self._refuse(found[0], fault)
                self._offer(shard_id, [], last)
                return 1
        half = len(found) // 2
        before, behind = found[:half], found[half:]
        refused = self._load(shard_id, before, before[-1].record.position.order)
        return refused + self._load(shard_id, behind, last)

    def _offer(self, shard_id: str, facts: Sequence[Fact], last: Order) -> None:
        load = FactBatch(self.name, shard_id, last, facts, self._reached.get(shard_id))
        self._call(shard_id, lambda: self._warehouse.load(load))
        self._reached[shard_id] = last

    def _refuse(self, found: _Found, fault: ValueRefused) -> None:
        position = found.record.position
        _log.error("%s %s goes to the quarantine: %s", type(found.fact).__name__, position, fault)
        refusal = Refusal("rejected", FactReason.REFUSED_VALUE, "", found.record)
        self._backoff.drain("quarantine", self._quarantine.put, [refusal])

    def _call(self, shard_id: str, attempt: Callable[[], Answer]) -> Answer:
        """Wait for the warehouse while it is down, and say so in the health."""
        return self._backoff.call("warehouse", lambda: self._waiting.watch(shard_id, attempt))

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Return the older of the checkpoint and the warehouse's own position.

        Everything up to the warehouse's position is in it, so going on behind it loses nothing even
        where the two cannot be compared.
        """
        position = self._call(shard_id, lambda: self._warehouse.position(self.name, shard_id))
        if position is None:
            self._reached.pop(shard_id, None)
            return Checkpoint(TRIM_HORIZON)
        self._reached[shard_id] = position
        return checkpoint if _covers(position, checkpoint) else _behind(position)


def _covers(position: Order, checkpoint: Checkpoint) -> bool:
    """Say whether the checkpoint claims nothing that the warehouse lacks."""
    start = checkpoint.start
    if start.kind == "AFTER_SEQUENCE_NUMBER":
        return position[0] >= start.at
    # An instant, and the end of a shard without a number, say nothing of sequence numbers.
    return start.kind == "TRIM_HORIZON" and not checkpoint.finished


def _behind(position: Order) -> Checkpoint:
    return Checkpoint(Start("AFTER_SEQUENCE_NUMBER", position[0]))


def _read(batch: Batch) -> tuple[list[_Found], list[Refusal]]:
    found: list[_Found] = []
    refusals: list[Refusal] = []
    for record in batch.records:
        fact = from_wire(record.data)
        if isinstance(fact, FactRejected):
            refusals.append(Refusal("rejected", fact.reason, "", record))
        else:
            found.append(_Found(fact, record))
    return found, refusals
