"""Plausible mistakes of the loader, planted in a consumer that is killed: each must be caught."""

from collections.abc import Mapping
from typing import Any

from pipeline.adapters.postgres import warehouse
from pipeline.adapters.postgres.warehouse import PostgresWarehouse
from pipeline.core.errors import FellBehind
from pipeline.ports.warehouse import FactBatch
from tests.simulation.planted import Fault

SERVER_DIES: Mapping[str, Any] = {"only": ["server killed"], "mishaps": 8}
ANYTHING: Mapping[str, Any] = {"mishaps": 2}
GUARD = "where excluded.revision > t.revision"
_load = PostgresWarehouse.load


def position_first(self: Any, batch: FactBatch) -> None:
    """Move the position in a transaction of its own, before the rows."""
    with self._connection() as connection:
        stored = connection.execute(warehouse._POSITION, (batch.consumer, batch.shard_id))
        if not batch.joins(warehouse._order(stored)):
            raise FellBehind(batch.shard_id)
        place = batch.consumer, batch.shard_id, str(batch.last[0]), batch.last[1], None
        connection.execute(warehouse._MOVE, place)
    _load(self, batch)


UNGUARDED = {kind: upsert.replace(GUARD, "") for kind, upsert in warehouse._UPSERTS.items()}
assert UNGUARDED != warehouse._UPSERTS

MISTAKES = {
    "position moved outside the load's transaction": Fault(
        SERVER_DIES, ((PostgresWarehouse, "load", position_first),)
    ),
    "no revision guard": Fault(ANYTHING, ((warehouse, "_UPSERTS", UNGUARDED),)),
    "a batch loaded that does not join on": Fault(
        SERVER_DIES, ((FactBatch, "joins", lambda self, stored: True),)
    ),
}
