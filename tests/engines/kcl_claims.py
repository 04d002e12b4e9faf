"""What a process under a daemon must do, whichever side of amazon_kclpy speaks to it.

A module that imports these tests gives the fixture `rig`: the stand-in in `tests/engines`, which
runs everywhere, and the real `KCLProcess` in `tests/localstack`, where the extra `kcl` is.
"""

import pytest

from pipeline.core.errors import (
    BudgetExhausted,
    FellBehind,
    RefusedToStart,
    SystemFault,
    TransientFault,
)
from pipeline.core.records import Batch, HashRange
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import TRIM_HORIZON, Message, Start
from tests.engines.kcl_rig import (
    ENDED,
    LOST,
    NOW_MS,
    REQUESTED,
    SHARD,
    Noting,
    Rig,
    begin,
    records,
)

ONE = records((7, 0, b"a"), (9, 0, b"b"))


# ------------------------------------------------------------------------------------- batches
def test_batch_is_handled_then_checkpointed_then_reported(rig: Rig) -> None:
    code, daemon = rig.converse(ONE)
    said = [one.get("responseFor", one["action"]) for one in daemon.heard]
    assert (code, said) == (0, ["initialize", "checkpoint", "processRecords"])


def test_nothing_is_checkpointed_before_the_handler_has_returned(rig: Rig) -> None:
    seen: list[list[object]] = []
    rig.handler = Noting(lambda _: seen.append([*rig.daemon.checkpoints]))
    rig.converse(ONE, records((11, 0, b"c")))
    assert seen == [[], [("9", 0)]]


def test_checkpoint_names_sequence_and_sub_sequence_number(rig: Rig) -> None:
    _, daemon = rig.converse(records((7, 0, b"a"), (7, 1, b"b"), (7, 2, b"c")))
    assert daemon.checkpoints == [("7", 2)]


def test_record_arrives_with_its_bytes_place_and_instant(rig: Rig) -> None:
    handler = rig.handler = Noting()
    rig.converse(records((7, 3, b"\xf3\x00")))
    (record,) = handler.records
    assert record == (b"\xf3\x00", ("s", SHARD, 7, 3), NOW_MS * 1_000)


def test_batch_knows_the_hash_keys_of_its_shard(rig: Rig) -> None:
    handler = rig.handler = Noting()
    low, _ = rig.stream.split(SHARD)
    rig.converse(begin(shard_id=low.shard_id), ONE)
    assert handler.batches[0].hash_range == low.hash_range


def test_shard_that_the_stream_forgot_owns_every_key(rig: Rig) -> None:
    handler = rig.handler = Noting()
    rig.converse(begin(shard_id="shardId-000000000077"), ONE)
    assert handler.batches[0].hash_range == HashRange()


def test_empty_batch_is_neither_handled_nor_checkpointed(rig: Rig) -> None:
    handler = rig.handler = Noting()
    code, daemon = rig.converse(records())
    assert (code, handler.batches, daemon.checkpoints) == (0, [], [])


# -------------------------------------------------------------------------------------- faults
FAULTS = [SystemFault("gone"), RuntimeError("a mistake"), KeyError("x"), RefusedToStart("rules")]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_handler_that_raises_ends_the_process_without_a_checkpoint(
    rig: Rig, fault: Exception
) -> None:
    rig.handler = Noting(raising(fault))
    code, daemon = rig.converse(ONE, records((11, 0, b"c")))
    assert (code, daemon.checkpoints, daemon.done) == (1, [], ["initialize"])


def raising(*faults: Exception) -> "Raising":
    return Raising(list(faults))


class Raising:
    """Raises these faults, one a batch, and then no more."""

    def __init__(self, faults: list[Exception]) -> None:
        self._faults = faults

    def __call__(self, _: Batch) -> None:
        if self._faults:
            raise self._faults.pop(0)


@pytest.mark.parametrize("fault", [TransientFault("slow"), BudgetExhausted("slower")], ids=repr)
def test_fault_that_passes_is_waited_out(rig: Rig, fault: Exception) -> None:
    handler = rig.handler = Noting(raising(fault, fault))
    code, daemon = rig.converse(ONE)
    assert (code, len(handler.batches), daemon.checkpoints) == (0, 3, [("9", 0)])


def test_fault_that_stays_ends_the_process_once_its_budget_is_spent(rig: Rig) -> None:
    rig.handler = Noting(raising(*[TransientFault("slow")] * 1_000))
    code, daemon = rig.converse(ONE)
    assert (code, daemon.checkpoints, 50 <= rig.clock.seconds < 60) == (1, [], True)


def test_start_that_is_refused_ends_the_process(rig: Rig) -> None:
    class Refusing(Noting):
        def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
            raise RefusedToStart("other rules")

    rig.handler = Refusing()
    code, daemon = rig.converse(ONE)
    assert (code, daemon.heard) == (1, [])


# --------------------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize("name", ["ThrottlingException", "KinesisClientLibDependencyException"])
def test_checkpoint_that_may_work_later_is_tried_again(rig: Rig, name: str) -> None:
    code, daemon = rig.converse(ONE, refusals=[name, name])
    assert (code, daemon.checkpoints) == (0, [("9", 0)] * 3)


def test_checkpoint_that_never_works_ends_the_process(rig: Rig) -> None:
    code, daemon = rig.converse(ONE, refusals=["ThrottlingException"] * 1_000)
    assert (code, daemon.done) == (1, ["initialize"])


@pytest.mark.parametrize("name", ["InvalidStateException", "IllegalArgumentException", "New"])
def test_checkpoint_that_is_refused_for_good_is_not_tried_again(rig: Rig, name: str) -> None:
    code, daemon = rig.converse(ONE, refusals=[name])
    assert (code, daemon.checkpoints, daemon.done) == (1, [("9", 0)], ["initialize"])


def test_input_that_ends_in_the_middle_of_a_checkpoint_ends_the_process(rig: Rig) -> None:
    code, daemon = rig.converse(ONE, deaf=True)
    assert (code, daemon.done) == (1, ["initialize"])


def test_checkpoint_refused_to_a_former_owner_is_a_lost_lease(rig: Rig) -> None:
    handler = rig.handler = Noting()
    code, daemon = rig.converse(
        ONE, records((11, 0, b"c")), REQUESTED, LOST, refusals=["ShutdownException"]
    )
    assert (code, len(handler.batches), daemon.checkpoints) == (0, 1, [("9", 0)])


# ------------------------------------------------------------------------------------- endings
def test_end_of_a_shard_is_checkpointed_without_a_number(rig: Rig) -> None:
    code, daemon = rig.converse(ONE, ENDED)
    assert (code, daemon.checkpoints) == (0, [("9", 0), (None, None)])


def test_end_of_a_shard_is_not_reported_before_its_checkpoint_worked(rig: Rig) -> None:
    _, daemon = rig.converse(ENDED, refusals=["ThrottlingException"])
    said = [one.get("responseFor", one["action"]) for one in daemon.heard]
    assert said == ["initialize", "checkpoint", "checkpoint", "shardEnded"]


def test_end_of_a_shard_whose_checkpoint_fails_is_not_reported(rig: Rig) -> None:
    code, daemon = rig.converse(ENDED, refusals=["InvalidStateException"])
    assert (code, daemon.done) == (1, ["initialize"])


def test_end_of_a_shard_is_not_claimed_by_who_lost_it(rig: Rig) -> None:
    code, daemon = rig.converse(ONE, ENDED, refusals=["ShutdownException"])
    assert (code, daemon.checkpoints) == (1, [("9", 0)])


def test_lost_lease_is_no_error_and_nothing_is_checkpointed(rig: Rig) -> None:
    code, daemon = rig.converse(ONE, LOST)
    assert (code, daemon.checkpoints, daemon.done[-1]) == (0, [("9", 0)], "leaseLost")


def test_requested_shutdown_checkpoints_what_is_durable(rig: Rig) -> None:
    code, daemon = rig.converse(records((7, 0, b"a"), (7, 1, b"b")), REQUESTED, LOST)
    assert (code, daemon.checkpoints) == (0, [("7", 1), ("7", 1)])


def test_requested_shutdown_before_the_first_batch_checkpoints_nothing(rig: Rig) -> None:
    code, daemon = rig.converse(REQUESTED, LOST)
    assert (code, daemon.checkpoints) == (0, [])


# --------------------------------------------------------------------------------- catching up
def put(rig: Rig, *data: bytes) -> None:
    rig.stream.publish([Message(one, "k") for one in data])


def test_sink_that_was_set_back_is_brought_up_to_the_lease(rig: Rig) -> None:
    handler = rig.handler = Noting()
    handler.place = Checkpoint(Start("AFTER_SEQUENCE_NUMBER", 1))
    put(rig, b"a", b"b", b"c", b"d")
    code, daemon = rig.converse(begin("3"), records((4, 0, b"d")))
    assert (code, [r.data for r in handler.records]) == (0, [b"b", b"c", b"d"])
    assert daemon.checkpoints == [("4", 0)]


def test_lease_is_not_gone_behind_where_no_sink_was_set_back(rig: Rig) -> None:
    handler = rig.handler = Noting()
    put(rig, b"a", b"b")
    rig.converse(begin("1"), records((2, 0, b"b")))
    assert [r.data for r in handler.records] == [b"b"]


def test_closed_parents_of_a_shard_are_brought_up_first(rig: Rig) -> None:
    class Empty(Noting):
        def resume(self, shard_id: str, checkpoint: Checkpoint) -> Checkpoint:
            return Checkpoint(TRIM_HORIZON)

    handler = rig.handler = Empty()
    put(rig, b"a", b"b")
    low, _ = rig.stream.split(SHARD)
    rig.converse(begin(shard_id=low.shard_id), records((1, 0, b"c")))
    assert [(b.shard_id, r.data) for b in handler.batches for r in b.records] == [
        (SHARD, b"a"),
        (SHARD, b"b"),
        (low.shard_id, b"c"),
    ]


def test_sink_that_is_set_back_while_it_is_loaded_catches_up_and_goes_on(rig: Rig) -> None:
    handler = rig.handler = Noting(raising(FellBehind(SHARD)))
    handler.place = Checkpoint(Start("AFTER_SEQUENCE_NUMBER", 1))
    put(rig, b"a", b"b", b"c")
    code, daemon = rig.converse(records((3, 0, b"c")))
    assert [r.data for r in handler.records] == [b"c", b"b", b"c"]
    assert (code, daemon.checkpoints) == (0, [("3", 0)])
