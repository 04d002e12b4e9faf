"""The KCL engine: one process a shard, under a MultiLangDaemon of the Kinesis Client Library.

The daemon (Java) owns leases, rebalancing, resharding and reading; it starts this process for each
shard that it holds and speaks to it over stdin and stdout, in lines of JSON, through amazon_kclpy.
What is left for the engine is to be believed only when it says the truth:

    initialize          bring a sink that was set back up to the lease's checkpoint, which the
                        daemon does not go back behind
    process_records     handle the batch to its end, then checkpoint its last record
    shard_ended         checkpoint the end; the children wait for it
    shutdown_requested  checkpoint once more what is durable; the lease goes elsewhere
    lease_lost          drop everything: another worker owns the shard, which is nobody's fault

A batch is either durable or this process is over. amazon_kclpy catches whatever a processor raises
and then reports success, and the daemon goes on behind the batch: the next checkpoint would lose
it. Only SystemExit gets through, so every method here turns every exception into one. The daemon
ends when one of its processes does; `consumers.fleet` starts it again, and the lease's checkpoint
says where to go on.

stdout is the protocol, and a single stray line on it breaks the daemon's parser. So `run` takes the
descriptor away before anything else can write to it; from then on prints go to stderr, which the
daemon copies into its log.

amazon_kclpy is imported where it is used, since it comes with an extra that most installations do
without.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TextIO

from pipeline.core.errors import (
    BudgetExhausted,
    FellBehind,
    LeaseLost,
    SystemFault,
    TransientFault,
)
from pipeline.core.positions import Position
from pipeline.core.records import Batch, HashRange, Record
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, RecordStream, Shard, Start
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.catching_up import CatchUp
from pipeline.runtime.handler import BatchReport, Handler

FAILED = 1
"""Exit code of a process that could not finish a batch, or not checkpoint it."""
BATCH_BUDGETS = 5
"""A batch is tried for so many retry budgets. Then another machine may have it: what cannot be
reached from here can perhaps be reached from there."""

RETRIED = frozenset({"ThrottlingException", "KinesisClientLibDependencyException"})
"""What a checkpoint may fail with and be tried again. Source: RecordProcessorCheckpointer."""
LOST = "ShutdownException"
"""A checkpoint refused because the lease has another owner."""

_log = logging.getLogger("tillstream.kcl")


class Checkpointer(Protocol):
    """`amazon_kclpy.kcl.Checkpointer`: a sub-sequence number left out means 0, not the last."""

    def checkpoint(
        self, sequence_number: str | None = None, sub_sequence_number: int | None = None
    ) -> None:
        """Checkpoint at a record, or without one at the end of the shard."""


@dataclass(frozen=True, slots=True)
class KclSite:
    """What one process works with.

    `build` checks the preconditions and wires the handler; it may raise, which ends the process.
    """

    build: Callable[[], Handler]
    stream: RecordStream
    stream_name: str
    backoff: Backoff
    batch_records_max: int


def run(site: KclSite) -> None:
    """Serve one shard until the daemon closes standard input.

    Raises SystemExit for whatever else ends it.
    """
    protocol = take_stdout()
    # A signal to the whole process group is meant for the daemon, which then asks us to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    from amazon_kclpy.checkpoint_error import CheckpointError
    from amazon_kclpy.kcl import KCLProcess

    # A partition key may hold anything, and is not looked at.
    with open(0, encoding="utf-8", errors="replace", closefd=False) as lines, protocol:
        KCLProcess(ShardProcessor(site, CheckpointError), lines, protocol, sys.stderr).run()


def take_stdout() -> TextIO:
    """Keep stdout for the protocol alone; what anybody prints from now on goes to stderr.

    The descriptor itself is moved, not only `sys.stdout`: libraries in C and child processes print
    too.
    """
    sys.stdout.flush()
    protocol = open(os.dup(1), "w", encoding="utf-8")  # noqa: SIM115 - closed by who takes it
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return protocol


class ShardProcessor:
    """A record processor of amazon_kclpy's third version; `checkpoint_error` is its exception.

    Whatever goes wrong leaves as SystemExit, with nothing checkpointed that is not durable.
    """

    version = 3

    def __init__(self, site: KclSite, checkpoint_error: type[Exception]) -> None:
        self._site, self._checkpoint_error = site, checkpoint_error
        budget_s = site.backoff.budget_s * BATCH_BUDGETS
        self._batch_backoff = replace(site.backoff, first_pause_s=1.0, budget_s=budget_s)
        self._shards: dict[str, Shard] = {}
        self._shard_id = ""
        self._durable: tuple[str, int] | None = None
        self._lost = False

    # ------------------------------------------------------------------- what the daemon calls
    def initialize(self, begun: Any) -> None:
        """Take a shard over at the lease's checkpoint."""
        with self._or_exit("initialize"):
            self._shard_id = begun.shard_id
            self._handler = self._site.build()
            shards = self._site.backoff.call("shards", self._site.stream.shards)
            self._shards = {shard.shard_id: shard for shard in shards}
            self._catch_up(read_checkpoint(begun.sequence_number))

    def process_records(self, offered: Any) -> None:
        """Make a batch durable, then checkpoint its last record."""
        if self._lost or not offered.records:
            return
        with self._or_exit("process_records"):
            records = [self._record(record) for record in offered.records]
            report = self._handle(records)
            _log.info("%s: %s", self._shard_id, dict(+report.counts))
            last = offered.records[-1]
            self._durable = last.sequence_number, last.sub_sequence_number or 0
            self._checkpoint(offered.checkpointer, *self._durable)

    def shard_ended(self, ended: Any) -> None:
        """Checkpoint the end of the shard, and do not return before that has worked.

        The daemon closes this process once it has answered, and cannot ask a second time.
        """
        with self._or_exit("shard_ended"):
            if self._lost:  # then records were dropped, and the end is not ours to claim
                raise LeaseLost(f"{self._shard_id}: ended after its lease was lost")
            self._checkpoint(ended.checkpointer)

    def lease_lost(self, _: Any) -> None:
        """Drop the shard: an ordinary outcome, and nothing may be checkpointed any more."""
        self._lost = True

    def shutdown_requested(self, requested: Any) -> None:
        """Checkpoint what is durable before the lease is handed on.

        Every batch was checkpointed as it ended, so this repeats the last one and costs no call.
        """
        with self._or_exit("shutdown_requested"):
            if self._durable is not None and not self._lost:
                self._checkpoint(requested.checkpointer, *self._durable)

    # ------------------------------------------------------------------------------ the batch
    def _record(self, offered: Any) -> Record:
        sequence, sub = int(offered.sequence_number), offered.sub_sequence_number or 0
        position = Position(self._site.stream_name, self._shard_id, sequence, sub)
        # Not approximate_arrival_timestamp: that is local time without a zone.
        return Record(offered.binary_data, position, offered.timestamp_millis * 1_000)

    def _handle(self, records: Sequence[Record]) -> BatchReport:
        """Handle a batch, again and again while waiting may mend what is wrong with it."""
        shard = self._shards.get(self._shard_id)
        # A shard that ListShards no longer knows owns, to the client library, every key.
        owned = HashRange() if shard is None else shard.hash_range
        batch = Batch(self._shard_id, records, owned)
        tries = self._batch_backoff.tries(f"a batch of {self._shard_id}")
        while True:
            try:
                return self._handler.handle(batch)
            except FellBehind as fault:
                tries.pause(TransientFault(str(fault)))
                self._catch_up(_before(records[0]))
            except (TransientFault, BudgetExhausted) as fault:
                _log.warning("%s: %s; the batch is tried again", self._shard_id, fault)
                tries.pause(TransientFault(str(fault)))

    def _catch_up(self, place: Checkpoint) -> None:
        site = self._site
        catch_up = CatchUp(self._handler, site.stream, site.backoff, site.batch_records_max)
        catch_up.run(self._shards, self._shard_id, place)

    # ------------------------------------------------------------------------- the checkpoint
    def _checkpoint(self, checkpointer: Checkpointer, *place: Any) -> None:
        """Checkpoint, or learn that the lease is lost. Raises whatever else it is refused for."""
        tries = self._site.backoff.tries("checkpoint")
        while True:
            try:
                checkpointer.checkpoint(*place)
                return
            except self._checkpoint_error as refused:
                name = str(getattr(refused, "value", refused))
                if name == LOST:
                    _log.info("%s: the lease has another owner", self._shard_id)
                    self._lost = True
                    return
                if name not in RETRIED:  # InvalidState, IllegalArgument: our fault, or for good
                    raise SystemFault(f"checkpoint {place} refused: {name}") from refused
                tries.pause(TransientFault(name))

    @contextmanager
    def _or_exit(self, what: str) -> Iterator[None]:
        """End the process for any exception: amazon_kclpy would swallow it and report success."""
        try:
            yield
        except Exception as fault:
            _log.exception("%s: %s failed, nothing is checkpointed", self._shard_id, what)
            raise SystemExit(FAILED) from fault


def read_checkpoint(sequence_number: str | None) -> Checkpoint:
    """Read where a lease stands, as the daemon says it at the start of a shard.

    A sub-sequence number says nothing more: batches are cut between Kinesis records.
    """
    if sequence_number is None or sequence_number == "TRIM_HORIZON":
        return Checkpoint(TRIM_HORIZON)
    if sequence_number == "SHARD_END":
        return Checkpoint(TRIM_HORIZON, finished=True)
    if sequence_number in ("LATEST", "AT_TIMESTAMP"):
        return Checkpoint(Start("AT_TIMESTAMP"))
    return Checkpoint(Start("AFTER_SEQUENCE_NUMBER", int(sequence_number)))


def _before(record: Record) -> Checkpoint:
    return Checkpoint(Start("AFTER_SEQUENCE_NUMBER", record.position.sequence - 1))
