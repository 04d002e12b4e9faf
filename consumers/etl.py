"""The etl consumer: facts from the internal stream into the warehouse.

A batch is handled in three steps, each of which may be repeated:

1. Read the records as facts; those that are none are refused.
2. Quarantine the refused.
3. Load the facts and the position of the last record, in one transaction of the warehouse.

The position covers refused records too, so that a batch of rubbish moves on. It makes the warehouse
itself say how far it is, in the same breath as its rows: restored from yesterday's snapshot it says
so, and `resume` goes back, whatever the checkpoint believes. A warehouse that is restored under a
running consumer refuses the next batch, since that does not join on.
"""

from collections import Counter

from pipeline.core.changes import Fact, FactRejected, from_wire
from pipeline.core.positions import Order
from pipeline.core.records import Batch
from pipeline.core.step import Refusal
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.quarantine import Quarantine
from pipeline.ports.streams import TRIM_HORIZON, Start
from pipeline.ports.warehouse import FactBatch, Warehouse
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport


class EtlHandler:
    """Load facts, batch by batch. Safe to call again, late, and from several workers at once."""

    name = "etl"

    def __init__(self, warehouse: Warehouse, quarantine: Quarantine, backoff: Backoff) -> None:
        self._warehouse = warehouse
        self._quarantine = quarantine
        self._backoff = backoff
        self._reached: dict[str, Order] = {}

    def handle(self, batch: Batch) -> BatchReport:
        """Make a batch's facts and its position durable.

        Raises SystemFault or Stopping; FellBehind if the warehouse has lost what was loaded before.
        """
        if not batch.records:
            return BatchReport()
        facts, refusals = _read(batch)
        self._backoff.drain("quarantine", self._quarantine.put, refusals)
        last = batch.records[-1].position.order
        load = FactBatch(self.name, batch.shard_id, last, facts, self._reached.get(batch.shard_id))
        self._backoff.call("warehouse", lambda: self._warehouse.load(load))
        self._reached[batch.shard_id] = last
        counts = Counter(read=len(batch.records), facts=len(facts), rejected=len(refusals))
        return BatchReport(counts)

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Return the older of the checkpoint and the warehouse's own position.

        Everything up to the warehouse's position is in it, so going on behind it loses nothing even
        where the two cannot be compared.
        """
        position = self._backoff.call(
            "warehouse", lambda: self._warehouse.position(self.name, shard_id)
        )
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


def _read(batch: Batch) -> tuple[list[Fact], list[Refusal]]:
    facts: list[Fact] = []
    refusals: list[Refusal] = []
    for record in batch.records:
        fact = from_wire(record.data)
        if isinstance(fact, FactRejected):
            refusals.append(Refusal("rejected", fact.reason, "", record))
        else:
            facts.append(fact)
    return facts, refusals
