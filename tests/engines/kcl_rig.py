"""The daemon's side of the protocol, and a process of ours to speak to without amazon_kclpy.

The stand-in does what amazon_kclpy's process does, its trap included: whatever a processor raises
is caught and reported as success. One suite, `kcl_claims`, holds both to the same conversations.
"""

import io
from base64 import b64decode, b64encode
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson

from consumers.engines.kcl import KclSite, ShardProcessor
from pipeline.adapters.memory import MemoryStream
from pipeline.core.records import Batch, Record
from pipeline.ports.checkpoints import Checkpoint
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.handler import BatchReport, Handler
from tests.clocks import VirtualClock

SHARD = "shardId-000000000000"
NOW_MS = 1_300_000_000_123
Said = dict[str, Any]


# ------------------------------------------------------------------------- what a daemon says
def begin(sequence: str | None = "TRIM_HORIZON", shard_id: str = SHARD) -> Said:
    return {
        "action": "initialize",
        "shardId": shard_id,
        "sequenceNumber": sequence,
        "subSequenceNumber": 0,
    }


def records(*offered: tuple[int, int, bytes]) -> Said:
    """Offer records: sequence number, sub-sequence number, bytes."""
    return {
        "action": "processRecords",
        "millisBehindLatest": 0,
        "records": [
            {
                "action": "record",
                "data": b64encode(data).decode(),
                "partitionKey": "k",
                "sequenceNumber": str(sequence),
                "subSequenceNumber": sub,
                "approximateArrivalTimestamp": NOW_MS,
            }
            for sequence, sub, data in offered
        ],
    }


ENDED: Said = {"action": "shardEnded"}
LOST: Said = {"action": "leaseLost"}
REQUESTED: Said = {"action": "shutdownRequested"}


class Daemon:
    """Says the next thing once the last was answered; answers checkpoints from `refusals`.

    Both files of a process: it reads from here and writes to here. `deaf` closes standard input
    instead of answering a checkpoint.
    """

    def __init__(
        self, said: Iterable[Said], refusals: Iterable[str | None] = (), deaf: bool = False
    ) -> None:
        self._said, self._refusals, self._deaf = deque(said), deque(refusals), deaf
        self._answers: deque[Said] = deque()
        self.heard: list[Said] = []

    def readline(self) -> str:
        queue = self._answers or self._said
        return orjson.dumps(queue.popleft()).decode() + "\n" if queue else ""

    def write(self, text: str) -> None:
        for line in filter(None, text.splitlines()):
            heard = orjson.loads(line)
            self.heard.append(heard)
            if heard["action"] == "checkpoint" and self._deaf:
                self._said.clear()
            elif heard["action"] == "checkpoint":
                error = self._refusals.popleft() if self._refusals else None
                self._answers.append({**heard, "error": error})

    def flush(self) -> None:
        """Nothing waits to be written."""

    @property
    def checkpoints(self) -> list[tuple[str | None, int | None]]:
        """The checkpoints asked for, refused ones included."""
        asked = [one for one in self.heard if one["action"] == "checkpoint"]
        return [(one["sequenceNumber"], one["subSequenceNumber"]) for one in asked]

    @property
    def done(self) -> list[str]:
        """What was reported as done."""
        return [one["responseFor"] for one in self.heard if one["action"] == "status"]


# ------------------------------------------------------------------------------- the stand-in
class StandInError(Exception):
    """`amazon_kclpy.checkpoint_error.CheckpointError`: the name of a Java exception."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


class StandIn:
    """`amazon_kclpy.kcl.KCLProcess` as far as we use it."""

    def __init__(self, processor: Any, input_file: Any, output_file: Any, error_file: Any) -> None:
        self._processor, self._in = processor, input_file
        self._out, self._errors = output_file, error_file

    def run(self) -> None:
        methods = {
            "initialize": self._processor.initialize,
            "processRecords": self._processor.process_records,
            "shardEnded": self._processor.shard_ended,
            "leaseLost": self._processor.lease_lost,
            "shutdownRequested": self._processor.shutdown_requested,
        }
        while line := self._in.readline():
            said = orjson.loads(line)
            try:
                methods[said["action"]](self._input(said))
            except Exception as fault:  # noqa: BLE001 - the trap that the stand-in stands for
                self._errors.write(str(fault))
            self._write({"action": "status", "responseFor": said["action"]})

    def checkpoint(self, sequence: str | None = None, sub: int | None = None) -> None:
        asked = {"action": "checkpoint", "sequenceNumber": sequence, "subSequenceNumber": sub}
        self._write(asked)
        answer = orjson.loads(self._in.readline())
        if answer.get("error") is not None:
            raise StandInError(answer["error"])

    def _input(self, said: Said) -> SimpleNamespace:
        return SimpleNamespace(
            checkpointer=self,
            shard_id=said.get("shardId"),
            sequence_number=said.get("sequenceNumber"),
            sub_sequence_number=said.get("subSequenceNumber"),
            records=[_StandInRecord(one) for one in said.get("records", ())],
        )

    def _write(self, message: Said) -> None:
        self._out.write(f"\n{orjson.dumps(message).decode()}\n")
        self._out.flush()


class _StandInRecord(SimpleNamespace):
    def __init__(self, said: Said) -> None:
        super().__init__(
            binary_data=b64decode(said["data"]),
            sequence_number=said["sequenceNumber"],
            sub_sequence_number=said["subSequenceNumber"],
            timestamp_millis=said["approximateArrivalTimestamp"],
        )


# ------------------------------------------------------------------------------ conversations
class Noting:
    """A handler that notes what it is given; `on_batch` may look on or fail."""

    name = "noting"

    def __init__(self, on_batch: Callable[[Batch], None] = lambda _: None) -> None:
        self.on_batch = on_batch
        self.batches: list[Batch] = []
        self.place: Checkpoint | None = None
        """What `resume` answers; None for the checkpoint itself."""

    def handle(self, batch: Batch) -> BatchReport:
        self.batches.append(batch)
        self.on_batch(batch)
        return BatchReport(Counter(read=len(batch.records)))

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        return self.place or checkpoint

    @property
    def records(self) -> list[Record]:
        return [record for batch in self.batches for record in batch.records]


@dataclass
class Rig:
    """One process over a stream in memory; `process` and `error` are amazon_kclpy's or ours."""

    process: Any
    error: type[Exception]
    handler: Handler = field(default_factory=Noting)
    stream: MemoryStream = field(default_factory=lambda: MemoryStream("s", 1, lambda: 0))
    clock: VirtualClock = field(default_factory=VirtualClock)
    daemon: Daemon = field(default_factory=lambda: Daemon([]))
    """Of the conversation at hand."""

    def converse(
        self, *said: Said, refusals: Iterable[str | None] = (), deaf: bool = False
    ) -> tuple[int, Daemon]:
        """Hold a conversation that starts with `begin()` unless it says otherwise.

        Returns the exit code and the daemon.
        """
        opening = [] if said[0]["action"] == "initialize" else [begin()]
        daemon = self.daemon = Daemon([*opening, *said], refusals, deaf)
        backoff = Backoff(self.clock, budget_s=10.0)
        site = KclSite(lambda: self.handler, self.stream, self.stream.name, backoff, 3)
        processor = ShardProcessor(site, self.error)
        try:
            self.process(processor, daemon, daemon, io.StringIO()).run()
        except SystemExit as end:
            return int(end.code or 0), daemon
        return 0, daemon
