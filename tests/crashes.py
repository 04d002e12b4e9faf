"""Crashes, partial answers and lost answers at the ports, over stores that survive them.

`Tripwire` counts the calls of every port of one run and strikes at one of them. A crash is a
`Crash`, which is no exception that the product knows, so nothing catches it on the way up.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pipeline.adapters.memory import MemoryStream
from pipeline.bootstrap import MemoryPorts, inventory_steps
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    FactRejected,
    effect_key,
    from_wire,
)
from pipeline.core.errors import TransientFault
from pipeline.runtime.inventory import InventorySteps
from pipeline.settings import Settings
from tests.clocks import VirtualClock

Moment = Literal["before", "after"]


class Crash(BaseException):
    """The process died here."""


class Tripwire:
    """Count calls; crash before or after the one with this number."""

    def __init__(self, at: int | None = None, moment: Moment = "before") -> None:
        self._at, self._moment, self.calls = at, moment, 0

    def around(self, call: Callable[..., Any], *args: Any) -> Any:
        """Make one call of a port, or crash."""
        number, self.calls = self.calls, self.calls + 1
        if number == self._at and self._moment == "before":
            raise Crash(f"before call {number}")
        answer = call(*args)
        if number == self._at:
            raise Crash(f"after call {number}")
        return answer


class Hooked:
    """A port whose every method goes through a hook."""

    def __init__(self, port: Any, around: Callable[..., Any]) -> None:
        self._port, self._around = port, around

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._port, name)
        return lambda *args: self._around(method, *args)


class HookedPorts:
    """The ports of the inventory consumer behind one hook; any other port is as it was."""

    HOOKED: Sequence[str] = ("claims", "change_log", "combos", "states", "quarantine", "changes")

    def __init__(self, ports: MemoryPorts, around: Callable[..., Any]) -> None:
        self._ports, self._around = ports, around

    def __getattr__(self, name: str) -> Any:
        port = getattr(self._ports, name)
        return Hooked(port, self._around) if name in self.HOOKED else port


def steps_over(
    ports: MemoryPorts, around: Callable[..., Any], settings: Settings
) -> InventorySteps:
    """Wire the ten steps with every call to the outside behind a hook."""
    hooked: Any = HookedPorts(ports, around)
    return inventory_steps(settings, 0, hooked, VirtualClock())


class LostAnswers:
    """Let every call act, but lose every second answer, the first one first."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, call: Callable[..., Any], *args: Any) -> Any:
        """Make one call of a port."""
        self._calls += 1
        answer = call(*args)
        if self._calls % 2:
            raise TransientFault("the answer was lost")
        return answer


def half(call: Callable[..., Any], *args: Sequence[Any]) -> Any:
    """Do only the first half of a bulk call, rounded up; the rest is "not yet"."""
    (items,) = args
    middle = (len(items) + 1) // 2
    answer = call(items[:middle])
    if isinstance(answer, Mapping):
        return answer
    left = items[middle:]
    return [*answer, *([None] * len(left) if call.__name__ == "publish" else left)]


class Tables(NamedTuple):
    """Everything durable that a run leaves, in a form that two runs can be compared in.

    Versions and revisions are left out, since a repeat may take one more; so are retracted combos
    and empty annotations, the trace of arrival; a body is compared by what it says. Of
    `inventory-changes` only what a sink makes of it counts.
    """

    claims: Mapping[Any, Any]
    rows: Mapping[Any, Any]
    notes: Mapping[Any, Any]
    combos: Mapping[Any, Any]
    bodies: Mapping[Any, Any]
    marks: Mapping[Any, Any]
    quarantine: Mapping[Any, Any]
    facts: Mapping[Any, Any]


def tables(ports: MemoryPorts) -> Tables:
    """Read everything that the inventory consumer wrote."""
    states = ports.states.items
    return Tables(
        dict(ports.claims.items),
        dict(ports.change_log.rows),
        _standing(ports.change_log.annotations),
        _standing(ports.combos.items),
        {key: state.body for key, state in states.items()},
        {key: {s: m.order for s, m in state.marks.items()} for key, state in states.items()},
        dict(ports.quarantine.items),
        sunk(ports.changes),
    )


def sunk(stream: MemoryStream) -> Mapping[Any, Any]:
    """Read `inventory-changes` as a sink does: rows once, of each effect the highest revision."""
    rows: dict[Any, Any] = {}
    newest: dict[Any, Any] = {}
    for record in (record for records in stream.records.values() for record in records):
        fact = from_wire(record.data)
        assert not isinstance(fact, FactRejected)
        if isinstance(fact, ChangeRecorded):
            rows[fact.location, fact.transaction_id] = fact
        elif isinstance(fact, DeliveryRefused):
            rows["refused", fact.shard_id, fact.sequence, fact.sub] = fact
        elif effect_key(fact) not in newest or newest[effect_key(fact)].revision < fact.revision:
            newest[effect_key(fact)] = fact
    return rows | _standing(newest)


def _standing(effects: Mapping[Any, Any]) -> dict[Any, Any]:
    """Leave the trace of arrival out."""
    return {
        key: effect._replace(revision=0)
        for key, effect in effects.items()
        if not (
            (isinstance(effect, ComboChanged) and effect.status is ComboStatus.RETRACTED)
            or (isinstance(effect, ChangeAnnotated) and not (effect.combo_ids or effect.late))
        )
    }
