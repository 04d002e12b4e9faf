"""Whether a consumer is at work or waiting for its sink, for whoever asks.

Waiting is not failing: a sink that is down delays its consumer and loses nothing. But somebody
should know, so it is a state that can be asked for, and two lines in the log: one when a second try
fails as well (a first one is a lost connection, of which there are many), one when it is over.
"""

import logging
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple, TypeVar

from pipeline.core.errors import TransientFault
from pipeline.ports.clock import Clock

Answer = TypeVar("Answer")
_SAID_AT = 2
_log = logging.getLogger("tillstream.health")


class Health(NamedTuple):
    """How a consumer is. `waiting` maps each shard that waits to why."""

    waiting: dict[str, str]
    waiting_s: float
    """Since the first of them began to wait; 0 if none does."""

    @property
    def ok(self) -> bool:
        """Say whether no shard waits."""
        return not self.waiting


class _Wait(NamedTuple):
    since: float
    why: str
    tries: int


class Waiting:
    """Watch the calls to one sink, shard by shard. Safe in threads."""

    def __init__(self, what: str, clock: Clock) -> None:
        self._what, self._clock = what, clock
        self._since: dict[str, _Wait] = {}
        self._lock = Lock()

    def watch(self, shard_id: str, attempt: Callable[[], Answer]) -> Answer:
        """Make one attempt, and note whether the sink answered. Raises what the attempt raises."""
        try:
            answer = attempt()
        except TransientFault as fault:
            self._begin(shard_id, str(fault))
            raise
        except Exception:
            self._end(shard_id)  # it answered, if only to refuse
            raise
        self._end(shard_id)
        return answer

    def health(self) -> Health:
        """Return who waits, and for how long."""
        with self._lock:
            waits = dict(self._since)
            now = self._clock.monotonic()
        since = min((wait.since for wait in waits.values()), default=now)
        return Health({shard: wait.why for shard, wait in waits.items()}, now - since)

    def _begin(self, shard_id: str, why: str) -> None:
        with self._lock:
            known = self._since.get(shard_id, _Wait(self._clock.monotonic(), why, 0))
            wait = self._since[shard_id] = _Wait(known.since, why, known.tries + 1)
        if wait.tries == _SAID_AT:
            _log.warning("%s waits for the %s: %s", shard_id, self._what, why)

    def _end(self, shard_id: str) -> None:
        with self._lock:
            wait = self._since.pop(shard_id, None)
        if wait is not None and wait.tries >= _SAID_AT:
            waited_s = self._clock.monotonic() - wait.since
            _log.warning("%s: the %s answers, after %.1f s", shard_id, self._what, waited_s)
