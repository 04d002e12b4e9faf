"""Claims: how a transaction is counted once.

A claim says "this transaction was first seen at this position, with this body". It is inserted
only where none is, so of all deliveries one holds, for ever and on every worker. Everyone then
compares with the claim that holds: the same position is our own earlier try, and the work goes on
as if it were new, for the crash may have come at any point after claiming. Another position is
somebody else's delivery.
"""

from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote

from pipeline.core.changes import ChangeRecorded
from pipeline.core.events import PosEvent
from pipeline.core.positions import Position
from pipeline.core.rules import DedupeScope


class Verdict(StrEnum):
    """What a delivery turned out to be."""

    NEW = "new"
    REDELIVERED = "redelivered"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Claim(NamedTuple):
    """The whole event with its fingerprint and place.

    Enough to finish the work if only the claim is found.
    """

    claim_id: str
    event: PosEvent
    fingerprint: str
    position: Position
    arrival: int


class Holder(NamedTuple):
    """The claim, or the change-log row, that holds; `fresh` if this very call inserted it."""

    fingerprint: str
    position: Position
    fresh: bool = False


def composite(*parts: str) -> str:
    """Join parts into one key; percent-encoding keeps a part from forging the separator."""
    return "#".join(quote(part, safe="") for part in parts)


def claim_id(event: PosEvent | ChangeRecorded, scope: DedupeScope) -> str:
    """Name what may be counted once: the transaction, or the transaction at its location."""
    if scope == "location":
        return composite(event.location, event.transaction_id)
    return event.transaction_id


def settle(claim: Claim, holder: Holder) -> Verdict:
    """Compare a delivery with the claim that holds. The first body stays, whatever comes later."""
    if holder.position == claim.position:
        return Verdict.NEW if holder.fresh else Verdict.REDELIVERED
    if holder.fingerprint == claim.fingerprint:
        return Verdict.DUPLICATE
    return Verdict.CONFLICT
