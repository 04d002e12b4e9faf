"""Where lines go: aggregates where their members belong, whatever was resharded."""

from consumers.sources import Line, PartitionBy, Partitioner
from pipeline.adapters.memory import MemoryStream
from pipeline.core.records import UserRecord, read_aggregate, write_aggregate
from pipeline.core.rules import Rules
from pipeline.ports.streams import open_shards

KEYS = [f"key-{number}" for number in range(20)]


def resharded() -> MemoryStream:
    stream = MemoryStream("events", 1, lambda: 0)
    (only,) = stream.shards()
    low, _ = stream.split(only.shard_id)
    stream.split(low.shard_id)
    return stream


def test_an_aggregate_goes_to_the_open_shards_of_its_members_in_parts() -> None:
    stream = resharded()
    line = Line(1, write_aggregate([UserRecord(key, b"{}") for key in KEYS]))
    sent = Partitioner(Rules(), PartitionBy.KEY, stream.shards()).messages(line)
    found = []
    for one in sent:
        hash_key = one.message.explicit_hash_key
        assert hash_key is not None
        (owner,) = (s for s in open_shards(stream.shards()) if s.hash_range.holds(hash_key))
        members = list(read_aggregate(one.message.data))
        assert all(owner.hash_range.holds(member.hash_key) for member in members)
        found += [member.partition_key for member in members]
    assert (len(sent), sorted(found)) == (3, sorted(KEYS))
