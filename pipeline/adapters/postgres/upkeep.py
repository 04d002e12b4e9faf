"""The warehouse's upkeep: months ahead, and the materialised reports."""

from collections.abc import Sequence
from typing import LiteralString

from pipeline.adapters.postgres import staging
from pipeline.adapters.postgres.server import PostgresServer, server
from pipeline.core.instants import format_instant

_REFRESH = "select inventory.refresh_reports(make_interval(secs => %s))"
# Nobody waits for this connection, so it may take long; but it must not queue for a lock with
# everybody else queueing behind it.
_LIMITS = "select set_config('lock_timeout', '10000', true)"


class PostgresUpkeep:
    """`ports.upkeep.WarehouseUpkeep`. One connection a call: it is called every few minutes."""

    def __init__(self, where: str | PostgresServer) -> None:
        self._server = server(where)

    def prepare(self, instants: Sequence[int]) -> None:
        """Create the partitions of the months that instants fall into, and their dates."""
        months = sorted({f"{format_instant(instant)[:7]}-01" for instant in instants})
        self._execute((staging.PARTITIONS, months), (staging.DATES, months))

    def refresh(self, at_most_every_s: float = 0.0) -> bool:
        """Refresh the reports; false if that was done a moment ago or is being done."""
        return bool(self._execute((_REFRESH, at_most_every_s)))

    def _execute(self, *statements: tuple[LiteralString, object]) -> object:
        with self._server.transaction(_LIMITS) as connection:
            for statement, parameter in statements:
                cursor = connection.execute(statement, (parameter,))
            answer = cursor.fetchone() if cursor.description else None
        return answer and answer[0]
