"""The handlers under the KCL engine: the same tables, places and verdicts as on other engines."""

from collections import Counter

import pytest

from consumers.handlers import Consumer, build_handler
from pipeline.bootstrap import MemoryPorts, memory_ports
from pipeline.core.records import HASH_KEY_MAX, Batch, UserRecord, write_aggregate
from pipeline.ports.streams import TRIM_HORIZON, Message
from pipeline.runtime.handler import BatchReport, Handler
from pipeline.settings import Settings
from tests.clocks import VirtualClock
from tests.crashes import tables
from tests.engines.kcl_rig import SHARD, Rig, StandIn, StandInError, begin, records
from tests.unit.scenario import SHARDS, sale
from tests.unit.test_records import BAD_BODIES, sealed
from tests.unit.traffic import ARRIVAL

BROKEN = b"\xf3\x89\x9a\xc2 no aggregate"
INSIDE = write_aggregate([UserRecord("k", sale("inner", 0, "J1"))])


class Counting:
    """A handler that adds up what it reports."""

    def __init__(self, handler: Handler) -> None:
        self._handler, self.name = handler, handler.name
        self.resume = handler.resume
        self.counts: Counter[str] = Counter()

    def handle(self, batch: Batch) -> BatchReport:
        report = self._handler.handle(batch)
        self.counts.update(report.counts)
        return report


class Installation:
    """An inventory over ports in memory, under a daemon or driven as the local engine does."""

    def __init__(self, shards: int = 1) -> None:
        self.clock = VirtualClock()
        self.clock.seconds = ARRIVAL / 1_000_000
        self.ports: MemoryPorts = memory_ports(Settings(), shards, self.clock.now)
        self._settings = Settings.model_validate({"arrival_clock": "2030-01-01T00:00:00Z"})

    def put(self, *data: bytes, hash_at: int = 0) -> None:
        self.ports.events.publish([Message(one, "k", hash_at) for one in data])

    def local(self) -> Counter[str]:
        """Hand every shard to a handler, as the local engine does."""
        counting = Counting(self.handler())
        for shard in self.ports.events.shards():
            log = self.ports.events.records[shard.shard_id]
            counting.handle(Batch(shard.shard_id, log, shard.hash_range))
        return counting.counts

    def kcl(self) -> Counter[str]:
        """Hand every shard to a process, as a daemon does that leaves aggregates closed."""
        counting = Counting(self.handler())
        for shard in self.ports.events.shards():
            log = self.ports.events.records[shard.shard_id]
            offered = records(*((r.position.sequence, 0, r.data) for r in log))
            rig = Rig(StandIn, StandInError, counting, self.ports.events, self.clock)
            code, _ = rig.converse(begin(shard_id=shard.shard_id), offered)
            assert code == 0
        return counting.counts

    def handler(self) -> Handler:
        return build_handler(
            Consumer.INVENTORY, self._settings, self.ports, self.clock, TRIM_HORIZON
        )


def both(*data: bytes, shards: int = 1) -> tuple[Installation, Installation]:
    """Run the same records on either engine."""
    one, other = Installation(shards), Installation(shards)
    for installation in (one, other):
        installation.put(*data)
    one.local()
    other.kcl()
    return one, other


def test_tables_are_those_of_the_local_engine() -> None:
    lines = [data for parts in SHARDS.values() for part in parts for data in part]
    one, other = both(*lines)
    assert tables(one.ports) == tables(other.ports)


def test_record_claimed_on_the_local_engine_is_redelivered_and_no_duplicate() -> None:
    installation = Installation()
    installation.put(
        sale("a", 0, "J1"),
        write_aggregate(UserRecord("k", sale(f"m{n}", n, "J1")) for n in range(3)),
    )
    installation.local()
    counts = installation.kcl()
    assert (counts["redelivered"], counts["duplicate"], counts["accepted"]) == (4, 0, 4)


@pytest.mark.parametrize("fault", BAD_BODIES)
def test_bad_aggregate_is_refused_whole_as_on_other_engines(fault: str) -> None:
    _, other = both(sale("a", 0, "J1"), sealed(BAD_BODIES[fault]), sale("b", 1, "J1"))
    refused = [(r.reason, r.record.data) for r in other.ports.quarantine.scan()]
    assert refused == [("bad_aggregate", sealed(BAD_BODIES[fault]))]
    assert sum(1 for _ in other.ports.change_log.scan()) == 2


@pytest.mark.parametrize("data", [BROKEN, INSIDE, write_aggregate([UserRecord("k", INSIDE)])])
def test_record_has_the_same_verdict_on_either_engine(data: bytes) -> None:
    one, other = both(data)
    assert tables(one.ports) == tables(other.ports)


def test_aggregate_of_another_shard_is_dropped_and_counted() -> None:
    installation = Installation(shards=2)
    stray = [UserRecord("k", sale(f"m{n}", n, "J1"), n * HASH_KEY_MAX) for n in range(2)]
    installation.put(write_aggregate(stray), hash_at=0)
    counts = installation.kcl()
    assert (counts["dropped"], counts["read"]) == (1, 0)


def test_record_that_a_daemon_has_opened_is_not_opened_again() -> None:
    installation = Installation()
    handler = Counting(installation.handler())
    rig = Rig(StandIn, StandInError, handler, installation.ports.events, installation.clock)
    rig.converse(begin(), records((7, 0, sale("a", 0, "J1")), (7, 1, INSIDE)))
    refused = [(r.reason, r.record.position.order) for r in installation.ports.quarantine.scan()]
    assert (refused, handler.counts["accepted"]) == ([("bad_encoding", (7, 1))], 1)


def test_place_of_a_record_is_its_stream_shard_and_both_numbers() -> None:
    installation = Installation()
    installation.put(write_aggregate([UserRecord("k", sale(f"m{n}", n, "J1")) for n in (0, 1)]))
    installation.kcl()
    rows = (row for row, _ in installation.ports.change_log.scan())
    assert sorted((row.shard_id, row.sequence, row.sub) for row in rows) == [
        (SHARD, 1, 0),
        (SHARD, 1, 1),
    ]
