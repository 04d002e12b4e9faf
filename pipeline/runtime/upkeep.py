"""When the warehouse's chores are done: behind the loads, never in their way.

A load is followed by a refresh of the stored reports within `every_s`, however quiet the stream is
afterwards, and a stream without loads costs nothing. So there is no loop: the first load after a
refresh starts a thread that waits, refreshes and ends. A fault there is a line in the log and
another such thread.
"""

import logging
from threading import Lock, Thread

from pipeline.core.errors import Stopping, TillstreamError
from pipeline.core.instants import DAY
from pipeline.ports.clock import Clock
from pipeline.ports.upkeep import WarehouseUpkeep

MONTHS_AHEAD = 3
"""Made before their first fact, at least; a new month then costs its first batch nothing."""
_SHORTEST_MONTH, _LONGEST_MONTH = 28, 31

_log = logging.getLogger("tillstream.upkeep")


class Upkeep:
    """The chores of one process."""

    def __init__(self, warehouse: WarehouseUpkeep, clock: Clock, every_s: float) -> None:
        self._warehouse, self._clock, self._every_s = warehouse, clock, every_s
        self._due_at = float("-inf")
        self._thread: Thread | None = None
        self._lock = Lock()

    def loaded(self) -> None:
        """Say that something was loaded; returns at once."""
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._later, name="upkeep", daemon=True)
                self._thread.start()

    def _later(self) -> None:
        try:
            self._clock.wait(max(0.0, self._due_at - self._clock.monotonic()))
        except Stopping:
            return  # and stay the thread: nothing starts after a stop
        with self._lock:
            self._thread = None  # what is loaded from now on, this refresh may miss
            self._due_at = self._clock.monotonic() + self._every_s
        try:
            done = self.do()
        except TillstreamError as fault:
            _log.warning("upkeep of the warehouse: %s; it is tried again", fault)
            done = False
        if not done:
            self.loaded()

    def do(self) -> bool:
        """Prepare the months ahead and refresh the reports; false if those were left out."""
        now, last = self._clock.now(), MONTHS_AHEAD * _LONGEST_MONTH
        ahead = *range(0, last, _SHORTEST_MONTH), last
        self._warehouse.prepare([now + days * DAY for days in ahead])
        return self._warehouse.refresh(self._every_s)
