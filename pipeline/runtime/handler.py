"""What an engine drives: a handler of batches of one shard.

The engine owns the loop, the lease and the checkpoint; the handler owns the effects. `handle`
returns only when everything that the batch implies is durable, and only then may the engine
checkpoint. If it raises, the batch was not finished and must come again, from the same record or
an earlier one.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.core.records import Batch
from pipeline.ports.checkpoints import Checkpoint


@dataclass(slots=True)
class BatchReport:
    """What a batch amounted to, for metrics and progress; never a basis for correctness.

    `counts` uses the names of the metrics: read, new, redelivered, duplicate, conflict, rejected,
    late, dropped, facts.
    """

    counts: Counter[str] = field(default_factory=Counter)


class Handler(Protocol):
    """One consumer's work. Called for one batch of a shard at a time.

    Different shards may run in parallel.
    """

    name: str

    def handle(self, batch: Batch) -> BatchReport:
        """Make everything that a batch implies durable.

        May be called again with the same records.
        """

    def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Return where to go on.

        The checkpoint, or an earlier place if the sink has fallen behind it.
        """
