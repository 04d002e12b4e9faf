"""Publishing facts on `inventory-changes`: at least once, in no promised order."""

from collections.abc import Sequence

from pipeline.core.changes import Fact, fact_partition_key, to_wire
from pipeline.ports.streams import Message, Publisher
from pipeline.runtime.backoff import Backoff


def publish_facts(facts: Sequence[Fact], publisher: Publisher, backoff: Backoff) -> None:
    """Publish facts until every one of them has a position."""

    def attempt(messages: Sequence[Message]) -> Sequence[Message]:
        placed = publisher.publish(messages)
        return [m for m, position in zip(messages, placed, strict=True) if position is None]

    messages = [Message(to_wire(fact), fact_partition_key(fact)) for fact in facts]
    backoff.drain("publish", attempt, messages)
