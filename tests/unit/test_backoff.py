"""Trying again: how long the pauses are, what ends them, and what is offered again."""

from collections.abc import Mapping, Sequence

import pytest

from pipeline.core.errors import BudgetExhausted, Stopping, SystemFault, TransientFault
from pipeline.runtime.backoff import Backoff
from tests.clocks import VirtualClock


class Flaky:
    """A bulk call that takes so many items at a time; None: a fault of the whole call."""

    def __init__(self, *takes: int | None) -> None:
        self._takes, self.offered = list(takes), list[list[str]]()

    def _taken(self, items: Sequence[str]) -> int:
        self.offered.append(list(items))
        taken = self._takes.pop(0) if self._takes else len(items)
        if taken is None:
            raise TransientFault("throttled")
        return taken

    def drain(self, items: Sequence[str]) -> Sequence[str]:
        return items[self._taken(items) :]

    def gather(self, items: Sequence[str]) -> Mapping[str, str]:
        return {item: item.upper() for item in items[: self._taken(items)]}

    def call(self) -> str:
        self._taken([])
        return "done"


def failing() -> str:
    raise TransientFault("throttled")


ABC = {item: item for item in "abc"}


# ------------------------------------------------------------------------------------ the pauses
def test_a_call_that_answers_at_once_does_not_pause() -> None:
    clock = VirtualClock()
    Backoff(clock).call("work", Flaky().call)
    assert clock.pauses == []


def test_pauses_double_up_to_a_ceiling() -> None:
    clock = VirtualClock()
    Backoff(clock, 0.5, 4.0, budget_s=60).call("work", Flaky(*[None] * 6).call)
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.999])
def test_pauses_are_drawn_between_nothing_and_the_ceiling(draw: float) -> None:
    clock = VirtualClock(draw)
    Backoff(clock, 0.5, 4.0, budget_s=60).call("work", Flaky(*[None] * 4).call)
    assert clock.pauses == [ceiling * draw for ceiling in (0.5, 1.0, 2.0, 4.0)]


@pytest.mark.parametrize("offer", ["drain", "gather"])
def test_progress_resets_the_pause(offer: str) -> None:
    clock, flaky = VirtualClock(), Flaky(None, None, 1, 0, 0, 1)
    items = list("abc") if offer == "drain" else ABC
    getattr(Backoff(clock, 1.0, 8.0), offer)("work", getattr(flaky, offer), items)
    assert clock.pauses == [1.0, 2.0, 1.0, 2.0, 4.0, 1.0]


def test_every_piece_of_work_begins_with_the_first_pause() -> None:
    clock = VirtualClock()
    backoff = Backoff(clock, 1.0, 8.0)
    for _ in range(2):
        backoff.call("work", Flaky(None, None).call)
    assert clock.pauses == [1.0, 2.0, 1.0, 2.0]


# ------------------------------------------------------------------------------------- the budget
def test_a_call_that_fails_for_its_whole_budget_is_given_up() -> None:
    clock = VirtualClock()
    with pytest.raises(BudgetExhausted, match=r"take shard failed for 10 s: throttled"):
        Backoff(clock, 1.0, 4.0, budget_s=10).call("take shard", failing)


def test_a_budget_that_is_spent_names_its_cause() -> None:
    with pytest.raises(BudgetExhausted) as caught:
        Backoff(VirtualClock(), budget_s=1).call("work", failing)
    assert isinstance(caught.value.__cause__, TransientFault)


def test_a_budget_is_not_given_up_before_it_is_spent() -> None:
    clock = VirtualClock()
    with pytest.raises(BudgetExhausted):
        Backoff(clock, 1.0, 4.0, budget_s=10).call("work", failing)
    assert 10 <= clock.seconds < 10 + 4


def test_what_is_never_accepted_is_given_up() -> None:
    with pytest.raises(BudgetExhausted, match="never accepted"):
        Backoff(VirtualClock(), budget_s=10).drain("work", lambda items: items, ["a"])


def test_progress_does_not_reset_the_budget() -> None:
    clock = VirtualClock()
    many = [str(number) for number in range(1_000)]
    with pytest.raises(BudgetExhausted):
        Backoff(clock, 1.0, 4.0, budget_s=10).drain("work", lambda items: items[1:], many)


def test_time_that_the_call_itself_takes_is_of_the_budget() -> None:
    clock = VirtualClock()

    def slow() -> str:
        clock.seconds += 11
        raise TransientFault("timed out")

    with pytest.raises(BudgetExhausted):
        Backoff(clock, budget_s=10).call("work", slow)
    assert clock.pauses == []


def test_a_lasting_fault_is_not_tried_again() -> None:
    clock, calls = VirtualClock(), []

    def denied() -> str:
        calls.append("call")
        raise SystemFault("denied")

    with pytest.raises(SystemFault, match="denied"):
        Backoff(clock).call("work", denied)
    assert (calls, clock.pauses) == (["call"], [])


def test_a_stop_interrupts_the_pause() -> None:
    clock, flaky = VirtualClock(), Flaky(None)
    clock.stopped = True
    with pytest.raises(Stopping):
        Backoff(clock).drain("work", flaky.drain, ["a"])
    assert len(flaky.offered) == 1


# -------------------------------------------------------------------------- what is offered again
def test_the_remainder_alone_is_offered_again() -> None:
    flaky = Flaky(1, 0, 1)
    Backoff(VirtualClock()).drain("work", flaky.drain, list("abc"))
    assert flaky.offered == [["a", "b", "c"], ["b", "c"], ["b", "c"], ["c"]]


def test_the_keys_without_an_answer_alone_are_offered_again() -> None:
    flaky = Flaky(1, 0, 1)
    Backoff(VirtualClock()).gather("work", flaky.gather, ABC)
    assert flaky.offered == [["a", "b", "c"], ["b", "c"], ["b", "c"], ["c"]]


def test_everything_is_offered_again_after_a_fault_of_the_whole_call() -> None:
    flaky = Flaky(None)
    Backoff(VirtualClock()).drain("work", flaky.drain, list("abc"))
    assert flaky.offered == [["a", "b", "c"], ["a", "b", "c"]]


def test_answers_of_every_try_are_gathered() -> None:
    answers = Backoff(VirtualClock()).gather("work", Flaky(1, None, 1).gather, ABC)
    assert answers == {"a": "A", "b": "B", "c": "C"}


@pytest.mark.parametrize("offer", ["drain", "gather"])
def test_nothing_is_not_offered(offer: str) -> None:
    flaky = Flaky()
    nothing: list[str] | dict[str, str] = [] if offer == "drain" else {}
    getattr(Backoff(VirtualClock()), offer)("work", getattr(flaky, offer), nothing)
    assert flaky.offered == []


def test_an_answer_that_is_false_is_an_answer() -> None:
    answers = Backoff(VirtualClock()).gather("work", lambda keys: dict.fromkeys(keys, False), ABC)
    assert answers == dict.fromkeys("abc", False)
