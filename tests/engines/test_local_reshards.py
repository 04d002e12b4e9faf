"""The local engine across splits and merges: parents to their ends, then their children."""

import threading
from collections.abc import Sequence
from typing import Any

from pipeline.core.records import HASH_KEY_MAX, Batch
from pipeline.ports.streams import (
    Shard,
)
from tests.engines.rig import HIGH, LOW, Recorder, Rig, behind


def test_a_parent_is_read_to_its_end_before_its_children() -> None:
    rig = Rig(Recorder())
    rig.put(*(b"parent" for _ in range(7)))
    rig.stream.split(LOW)
    rig.put(b"child", b"child")
    rig.put(b"child", hash_at=HASH_KEY_MAX)
    rig.drain()
    assert rig.handler.data == [b"parent"] * 7 + [b"child"] * 3


def test_both_parents_are_read_to_their_ends_before_their_child() -> None:
    def dawdle(batch: Batch) -> None:
        if batch.shard_id == LOW:
            threading.Event().wait(0.02)

    rig = Rig(Recorder(dawdle), 2)
    rig.put(*(b"parent" for _ in range(7)))
    rig.put(b"parent", hash_at=HASH_KEY_MAX)
    rig.stream.merge(LOW, HIGH)
    rig.put(b"child", b"child")
    rig.drain()
    assert rig.handler.data == [b"parent"] * 8 + [b"child"] * 2


def test_a_split_is_followed_while_the_engine_runs() -> None:
    def split(batch: Batch) -> None:
        if batch.records[-1].data == b"b":
            rig.stream.split(LOW)
            rig.put(b"c", b"d")

    rig = Rig(Recorder(split))
    rig.put(b"a", b"b")
    rig.drain()
    assert rig.handler.data == [b"a", b"b", b"c", b"d"]


def test_a_split_of_a_split_is_followed() -> None:
    rig = Rig(Recorder())
    rig.put(b"a")
    low, _ = rig.stream.split(LOW)
    rig.put(b"b")
    rig.stream.split(low.shard_id)
    rig.put(b"c")
    rig.drain()
    assert rig.handler.data == [b"a", b"b", b"c"]


def test_a_shard_that_ended_is_checkpointed_as_finished() -> None:
    rig = Rig(Recorder())
    rig.put(b"a")
    rig.stream.split(LOW)
    rig.drain()
    assert rig.reached() == behind(1)._replace(finished=True)


def test_a_shard_that_ended_is_not_read_by_the_next_engine() -> None:
    rig = Rig(Recorder())
    rig.put(b"a")
    rig.stream.split(LOW)
    rig.put(b"b")
    rig.drain(owner="one")
    rig.put(b"c")
    rig.drain(owner="two")
    assert rig.handler.data == [b"a", b"b", b"c"]


def test_a_child_whose_parent_the_stream_has_forgotten_is_read() -> None:
    class Forgetful:
        def shards(self) -> Sequence[Shard]:
            return [shard for shard in rig.stream.shards() if shard.shard_id != LOW]

        def __getattr__(self, name: str) -> Any:
            return getattr(rig.stream, name)

    rig = Rig(Recorder())
    rig.stream.split(LOW)
    rig.put(b"child")
    rig.drain(stream=Forgetful())
    assert rig.handler.data == [b"child"]
