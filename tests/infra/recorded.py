"""One run of the three consumers over moto, and what it asked of AWS."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import pytest

from consumers import consume as consuming
from consumers.consume import How, consume
from consumers.deployment import deploy
from consumers.embedded import Endpoints
from consumers.handlers import Consumer
from pipeline.adapters._aws import Aws
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.ports.streams import Message
from pipeline.runtime.handler import BatchReport
from pipeline.settings import Settings
from tests.databases import new_database
from tests.infra.calls import BothWrites, Need, Recorder
from tests.unit.scenario import sale

PREFIX = "recorded"
LINES = (
    sale("t1", 0, "J1"),
    sale("t2", 60, "P1"),  # pairs
    sale("t2", 60, "P1"),  # a duplicate
    sale("t2", 61, "P1"),  # a conflict
    b"no event",
    sale("t3", 120, "P1"),
    sale("t4", 30, "J1"),  # a straggler: a combo and its annotations change
)


@dataclass(frozen=True)
class Recording:
    """What each consumer needs, the names of the counts that it reports, and in whose account."""

    needs: Mapping[Consumer, frozenset[Need]]
    counts: Mapping[Consumer, frozenset[str]]
    account: str
    region: str


def record(embedded: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Run inventory, once more from the start as after a crash, and the sinks on what it published.

    Two records a batch, so that states are changed and not only made; and a record that is no fact,
    so that the sinks refuse something.
    """
    with new_database(embedded.postgres_dsn) as dsn:
        settings = Settings(
            prefix=PREFIX,
            endpoint_url=embedded.aws_endpoint_url,
            aws_credentials="test",
            postgres_dsn=dsn,
            redis_url=embedded.redis_url,
            batch_records_max=2,
            idle_wait=timedelta(milliseconds=20),
        )
        deploy(settings, SystemClock(), 1, protect=False)
        plain = AwsPorts(settings, SystemClock())
        plain.events.publish([Message(line, "k") for line in LINES])
        plain.changes.publish([Message(b"no fact", "k")])
        runs = [_run(Consumer.INVENTORY, settings, monkeypatch)]
        _lose_the_place(plain.aws)
        runs += [_run(consumer, settings, monkeypatch) for consumer in Consumer]
    return Recording(
        {c: frozenset().union(*(r.needs for r in runs if r.consumer is c)) for c in Consumer},
        {c: frozenset().union(*(r.counts for r in runs if r.consumer is c)) for c in Consumer},
        plain.aws.account,
        settings.region,
    )


def _lose_the_place(aws: Aws) -> None:
    table = f"{PREFIX}-checkpoints"
    for item in aws.dynamodb.scan(TableName=table)["Items"]:
        key = {name: item[name] for name in ("consumer", "shard_id")}
        aws.dynamodb.delete_item(TableName=table, Key=key)


class _Run(NamedTuple):
    consumer: Consumer
    needs: frozenset[Need]
    counts: frozenset[str]


def _run(consumer: Consumer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> _Run:
    """Consume as the command does; inventory until drained, a sink until it has seen a batch.

    (A sink that runs until drained also asks how far inventory is, which no service does.)
    """
    recorders: list[Recorder] = []
    names: set[str] = set()
    clock = SystemClock()

    def ports(settings: Settings, clock: SystemClock) -> AwsPorts:
        made = AwsPorts(settings, clock)
        recorders.append(Recorder(made.aws))
        made.writer = BothWrites(made.aws)
        return made

    def observe(_: str, report: BatchReport, behind_ms: int) -> None:
        names.update(report.counts)
        if consumer is not Consumer.INVENTORY and report.counts["read"]:
            clock.stop.set()

    with monkeypatch.context() as patch:
        patch.setattr(consuming, "AwsPorts", ports)
        consume(consumer, settings, clock, observe, How(until_drained=consumer == "inventory"))
    (recorder,) = recorders
    return _Run(consumer, recorder.needs(), frozenset(names))
