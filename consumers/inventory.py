"""The inventory consumer: raw POS events in; claims, change log, combos, stock and facts out.

Start-up checks, because a consumer that starts wrongly breaks guarantees in silence: P1 it reads
from the oldest record; P2 and P3 the tables belong to this application, this stream and these
rules; P4 claims outlive resends.
"""

from dataclasses import dataclass
from datetime import timedelta

from pipeline.bootstrap import Ports, backoff, inventory_steps, stream_names
from pipeline.core.errors import RefusedToStart
from pipeline.core.instants import from_datetime
from pipeline.core.records import Batch
from pipeline.core.rules import Rules
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.clock import Clock
from pipeline.ports.states import PinnedRules, StateStore
from pipeline.ports.streams import Start
from pipeline.runtime.handler import BatchReport
from pipeline.runtime.health import Health
from pipeline.runtime.inventory import InventorySteps
from pipeline.settings import STREAM_RETENTION_HOURS, Settings

FIRST_EPOCH = 0


class InventoryHandler:
    """Drive the inventory steps; `runtime.handler.Handler`."""

    name = "inventory"

    def __init__(self, steps: InventorySteps, arrival: int | None = None) -> None:
        self._steps, self._arrival = steps, arrival

    def health(self) -> Health:
        """Say that nothing waits: the inventory has no sink, and its tables are its own work."""
        return Health({}, 0.0)

    def handle(self, batch: Batch) -> BatchReport:
        """Process one batch to its end; a fixed arrival instant replaces the records' own."""
        if not batch.records:
            return BatchReport()
        if self._arrival is not None:
            records = [record._replace(arrival=self._arrival) for record in batch.records]
            batch = batch._replace(records=records)
        return self._steps.process(batch)

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Go on at the checkpoint: it never moves before the effects are durable."""
        return checkpoint


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What the start-up checks look at."""

    application: str
    rules: Rules
    start: Start
    claims_ttl: timedelta | None
    stream_retention: timedelta
    resend_horizon: timedelta


def check_preconditions(wanted: Preconditions, states: StateStore) -> PinnedRules:
    """Check P1 to P4; return what the tables are pinned to.

    Raises RefusedToStart, naming the way out.
    """
    if wanted.start.kind != "TRIM_HORIZON":
        raise RefusedToStart(
            "inventory must start at TRIM_HORIZON: a skipped record leaves no claim, and a copy"
            " of it that comes later would count as the first (P1)"
        )
    _check_claims_outlive_resends(wanted)
    rules = wanted.rules
    offered = PinnedRules(wanted.application, rules.digest(), rules.canonical(), FIRST_EPOCH)
    pinned = states.pin(offered)
    if pinned.application != wanted.application:
        raise RefusedToStart(
            f"these tables belong to {pinned.application!r}, not to {wanted.application!r}:"
            " one set of tables serves one application; choose another prefix (P3)"
        )
    if pinned.digest != offered.digest:
        raise RefusedToStart(
            f"the stored states were folded under other rules: {pinned.rules}, now {offered.rules}."
            " Restore the settings, or rebuild the states under the new ones with"
            " `tillstream replay` (not in this version yet) (P2)"
        )
    return pinned


def _check_claims_outlive_resends(wanted: Preconditions) -> None:
    least = wanted.stream_retention + wanted.resend_horizon
    if wanted.claims_ttl is not None and wanted.claims_ttl <= least:
        raise RefusedToStart(
            f"claims_ttl is {wanted.claims_ttl}, but must exceed the stream's retention plus the"
            f" resend horizon ({least}): a transaction sent again after its claim expired would"
            " count twice (P4)"
        )


def preconditions(settings: Settings, start: Start) -> Preconditions:
    """Read from the settings what the start-up checks look at."""
    return Preconditions(
        application=f"{stream_names(settings)[0]} in {settings.region}",
        rules=settings.rules(),
        start=start,
        claims_ttl=settings.claims_ttl,
        stream_retention=timedelta(hours=STREAM_RETENTION_HOURS),
        resend_horizon=settings.resend_horizon,
    )


def build(settings: Settings, ports: Ports, clock: Clock, start: Start) -> InventoryHandler:
    """Check the preconditions and wire the handler. Raises RefusedToStart."""
    wanted = preconditions(settings, start)
    patience = backoff(settings, clock)
    pinned = patience.call("rules", lambda: check_preconditions(wanted, ports.states))
    steps = inventory_steps(settings, pinned.epoch, ports, clock)
    fixed = settings.arrival_clock
    return InventoryHandler(steps, None if fixed is None else from_datetime(fixed))
