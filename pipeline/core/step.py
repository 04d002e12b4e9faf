"""The step: what one batch of a shard means, before anything is written.

Pure functions that `runtime.inventory` calls between its calls to the outside: read the records,
turn events into claims, settle claims against those that hold, group the survivors by the keys of
each fold.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from pipeline.core.changes import ChangeRecorded, DeliveryRefused, RefusedAs
from pipeline.core.claims import Claim, Holder, Verdict, claim_id, settle
from pipeline.core.events import PosEvent, Rejected, parse
from pipeline.core.fingerprint import fingerprint
from pipeline.core.keyed_state import Fold, Sequenced, StateKey
from pipeline.core.positions import Position
from pipeline.core.reasons import Reason
from pipeline.core.records import BadAggregate, Batch, Record, deaggregate
from pipeline.core.rules import Rules

Identity = TypeVar("Identity", bound=Hashable)
_CARRY_ON = (Verdict.NEW, Verdict.REDELIVERED)
_REFUSED = {Verdict.DUPLICATE: RefusedAs.DUPLICATE, Verdict.CONFLICT: RefusedAs.CONFLICT}

REFUSAL_KINDS = ("rejected", "conflict")


class Refusal(NamedTuple):
    """A user record that goes to quarantine, and why; `kind` is one of REFUSAL_KINDS."""

    kind: str
    reason: str
    field: str
    record: Record


class Delivery(NamedTuple):
    """One delivery of an event: the claim that it makes, and the record that brought it."""

    claim: Claim
    record: Record


class Reading(NamedTuple):
    """What a batch holds: deliveries of events, in order, and what was refused.

    `dropped` counts aggregates that the client library drops too; they are outside what was read.
    """

    deliveries: list[Delivery]
    refusals: list[Refusal]
    dropped: int


class Settlement(NamedTuple):
    """The deliveries of a batch by what became of them.

    `refused` says it of each that was not accepted; of those, conflicts are among `refusals` too.
    """

    accepted: list[Delivery]
    verdicts: dict[Verdict, int]
    refusals: list[Refusal]
    refused: list[DeliveryRefused]


def read(batch: Batch, rules: Rules) -> Reading:
    """Open aggregates and parse every user record. Never raises, whatever the bytes."""
    deliveries: list[Delivery] = []
    refusals: list[Refusal] = []
    dropped = 0
    for whole in batch.records:
        try:
            members = deaggregate(whole, batch.hash_range)
        except BadAggregate:
            refusals.append(Refusal("rejected", Reason.BAD_AGGREGATE, "", whole))
            continue
        if members is None:
            dropped += 1
            continue
        for record in members:
            event = parse(record.data, record.arrival, rules)
            if isinstance(event, Rejected):
                refusals.append(Refusal("rejected", event.reason, event.field, record))
            else:
                deliveries.append(Delivery(claim_of(event, record, rules), record))
    return Reading(deliveries, refusals, dropped)


def claim_of(event: PosEvent, record: Record, rules: Rules) -> Claim:
    """Write the claim that one delivery makes."""
    identity = claim_id(event, rules.dedupe_scope)
    return Claim(identity, event, fingerprint(event), record.position, record.arrival)


def first_claims(deliveries: Iterable[Delivery]) -> dict[str, Claim]:
    """Keep the first claim of each transaction: the only one of a batch that may be inserted."""
    found: dict[str, Claim] = {}
    for claim, _ in deliveries:
        found.setdefault(claim.claim_id, claim)
    return found


def settle_all(
    deliveries: Iterable[Delivery],
    holders: Mapping[Identity, Holder],
    identity: Callable[[Claim], Identity],
) -> Settlement:
    """Settle every delivery, repeats included, against what holds under its identity.

    Used twice: against the claims, and then against the change-log rows, where a claim may have
    expired.
    """
    found = Settlement([], dict.fromkeys(Verdict, 0), [], [])
    for delivery in deliveries:
        verdict = settle(delivery.claim, holders[identity(delivery.claim)])
        found.verdicts[verdict] += 1
        if verdict in _CARRY_ON:
            found.accepted.append(delivery)
        elif verdict in _REFUSED:
            found.refused.append(refused_delivery(delivery.claim, _REFUSED[verdict]))
        if verdict is Verdict.CONFLICT:
            found.refusals.append(Refusal("conflict", "conflict", "", delivery.record))
    return found


def refused_delivery(claim: Claim, verdict: RefusedAs) -> DeliveryRefused:
    """Write the fact of a delivery whose transaction another delivery holds.

    A redelivery writes the same fact: the holder of a claim never changes.
    """
    event, position = claim.event, claim.position
    return DeliveryRefused(
        verdict,
        "",
        *(event.location, event.transaction_id, event.source, event.instant),
        *(position.shard_id, position.sequence, position.sub),
        claim.arrival,
    )


def refused_of(refusal: Refusal, rules: Rules) -> DeliveryRefused:
    """Write the fact of a refusal, from the bytes that were kept of it."""
    if refusal.kind == RefusedAs.REJECTED:
        return refused_record(refusal)
    event = parse(refusal.record.data, refusal.record.arrival, rules)
    if isinstance(event, Rejected):  # kept under rules that are no longer in force
        return refused_record(refusal)
    return refused_delivery(claim_of(event, refusal.record, rules), RefusedAs.CONFLICT)


def refused_record(refusal: Refusal) -> DeliveryRefused:
    """Write the fact of a record that is no valid event."""
    position = refusal.record.position
    return DeliveryRefused(
        RefusedAs.REJECTED,
        refusal.reason,
        *(None, None, None, None),
        *(position.shard_id, position.sequence, position.sub),
        refusal.record.arrival,
    )


def row_of(claim: Claim) -> ChangeRecorded:
    """Write the change-log row of an accepted event; a redelivery writes the same row."""
    event, position = claim.event, claim.position
    return ChangeRecorded(
        event.location,
        event.transaction_id,
        event.product_id,
        event.base_product_id,
        event.category,
        event.change,
        event.instant,
        event.source,
        position.shard_id,
        position.sequence,
        position.sub,
        claim.arrival,
    )


def event_of(row: ChangeRecorded) -> PosEvent:
    """Read the event back from its row; it was judged before the row was written."""
    return PosEvent.model_construct(
        location=row.location,
        transaction_id=row.transaction_id,
        product_id=row.product_id,
        base_product_id=row.base_product_id,
        category=row.category,
        change=row.change,
        instant=row.instant,
        source=row.source,
    )


def claim_from_row(row: ChangeRecorded, stream: str, rules: Rules) -> Claim:
    """Write the claim that a row must have had."""
    position = Position(stream, row.shard_id, row.sequence, row.sub)
    identity = claim_id(row, rules.dedupe_scope)
    return Claim(identity, event_of(row), fingerprint(row), position, row.ingested_at)


def holder_of(row: ChangeRecorded, stream: str, *, fresh: bool) -> Holder:
    """Say who holds a row: its position,
    and the fingerprint of what it says (not needed of a fresh one).
    """
    position = Position(stream, row.shard_id, row.sequence, row.sub)
    return Holder("" if fresh else fingerprint(row), position, fresh)


def by_key(folds: Sequence[Fold], accepted: Iterable[Delivery]) -> dict[StateKey, list[Sequenced]]:
    """Group accepted events by the keys that they belong to, keeping their order."""
    items = [(claim.position.order, claim.event) for claim, _ in accepted]
    found: dict[StateKey, list[Sequenced]] = {}
    for fold in folds:
        groups: dict[tuple[str, ...], list[Sequenced]] = {}
        for item in items:
            parts = fold.key(item[1])
            if parts is not None:
                groups.setdefault(parts, []).append(item)
        found |= {StateKey(fold.name, parts): group for parts, group in groups.items()}
    return found
