"""The inventory consumer's steps: from a batch of one shard to durable effects, once, whatever
crashes.

    1. read       open aggregates, parse every record into an event or a refusal
    2. claim      insert-if-absent; settle every delivery against the claim that holds
    3. record     insert the change-log rows of what was accepted
    4. load       the keyed states that these events touch
    5. fold       each key's new events into its state (pure)
    6. commit     state and outbox, compare-and-set; a lost race goes back to 4
    7. write      the effects, each guarded by its revision
    8. quarantine what was refused
    9. publish    rows, effects and what was refused to `inventory-changes`
   10. return     only now may the engine checkpoint

Every step may be repeated, and after a crash every step will be. Facts (3) come before anything
derived from them (7), since an annotation must find its row; state (6) comes before effects (7,
9), and the outbox in it is what brings them back after a crash in between. Rejected: writing
effects before state, and skipping what was seen before; `core.keyed_state` says why.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.changes import ChangeAnnotated, Fact
from pipeline.core.claims import Claim, Verdict
from pipeline.core.records import Batch
from pipeline.core.rules import Rules
from pipeline.core.step import (
    Delivery,
    Settlement,
    by_key,
    first_claims,
    read,
    refused_record,
    row_of,
    settle_all,
)
from pipeline.ports.change_log import ChangeLog, RowKey
from pipeline.ports.claims import ClaimStore
from pipeline.ports.quarantine import Quarantine
from pipeline.ports.streams import Publisher
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.facts import publish_facts
from pipeline.runtime.folding import Folding
from pipeline.runtime.handler import BatchReport


@dataclass(frozen=True, slots=True)
class InventoryPorts:
    """What the steps themselves touch; the folds' tables belong to `Folding`."""

    claims: ClaimStore
    change_log: ChangeLog
    quarantine: Quarantine
    publisher: Publisher


class InventorySteps:
    """Run the ten steps on one batch.

    Holds no state between batches; safe to share between shards.
    """

    def __init__(
        self, rules: Rules, ports: InventoryPorts, folding: Folding, backoff: Backoff
    ) -> None:
        self._rules, self._ports, self._folding, self._backoff = rules, ports, folding, backoff

    def process(self, batch: Batch) -> BatchReport:
        """Make everything that a batch implies durable; raises if it could not."""
        reading = read(batch, self._rules)
        claimed = self._claim(reading.deliveries)
        recorded = self._record(claimed.accepted)
        grouped = by_key(self._folding.folds, recorded.accepted)
        effects = self._folding.run(batch, grouped, self._publish)
        refusals = [*reading.refusals, *claimed.refusals, *recorded.refusals]
        self._backoff.drain("quarantine", self._ports.quarantine.put, refusals)
        facts: list[Fact] = [row_of(delivery.claim) for delivery in recorded.accepted]
        facts += map(refused_record, reading.refusals)
        facts += (*claimed.refused, *recorded.refused)
        self._publish([*facts, *effects])
        counts = Counter(
            read=len(reading.deliveries) + len(reading.refusals),
            accepted=len(recorded.accepted),
            redelivered=claimed.verdicts[Verdict.REDELIVERED],
            duplicate=_sum(Verdict.DUPLICATE, claimed, recorded),
            conflict=_sum(Verdict.CONFLICT, claimed, recorded),
            rejected=len(reading.refusals),
            dropped=reading.dropped,
            late=sum(isinstance(effect, ChangeAnnotated) and effect.late for effect in effects),
            facts=len(facts) + len(effects),
        )
        return BatchReport(counts)

    def _claim(self, deliveries: Sequence[Delivery]) -> Settlement:
        offers = first_claims(deliveries)
        holders = self._backoff.gather("claim", self._ports.claims.claim, offers)
        return settle_all(deliveries, holders, lambda claim: claim.claim_id)

    def _record(self, accepted: Sequence[Delivery]) -> Settlement:
        """Insert rows. One that is there with another position outlived its claim, and wins."""
        rows = {_row_key(delivery.claim): row_of(delivery.claim) for delivery in accepted}
        holders = self._backoff.gather("record", self._ports.change_log.record, rows)
        return settle_all(accepted, holders, _row_key)

    def _publish(self, facts: Sequence[Fact]) -> None:
        publish_facts(facts, self._ports.publisher, self._backoff)


def _row_key(claim: Claim) -> RowKey:
    return claim.event.location, claim.event.transaction_id


def _sum(verdict: Verdict, *settlements: Settlement) -> int:
    return sum(settlement.verdicts[verdict] for settlement in settlements)
