"""One small scenario that holds everything that the ten steps may meet, on two shards.

Sales, returns, duplicates in a batch and across shards, a conflict, bytes that are no event, a
straggler that changes a pairing, an event too late for any, an aggregate, and a combo key whose
events come through both shards.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.bootstrap import MemoryPorts, memory_ports
from pipeline.core.instants import SECOND, format_instant
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record, UserRecord, write_aggregate
from pipeline.settings import Settings
from tests.crashes import Crash, Tables, Tripwire, steps_over, tables
from tests.unit.traffic import ARRIVAL, START, line

EVENTS = "tillstream-pos-events"
SETTINGS = Settings()
ONE_EFFECT_A_ROUND = Settings(outbox_effects_max=1)


def sale(name: str, at: int, product: str, units: int = 1, **fields: Any) -> bytes:
    """Write a sale, or with negative units a return."""
    plain = {
        "transaction_id": name,
        "product_id": product,
        "category": "jacket" if product[0] == "J" else "pants",
        "change": -units,
        "timestamp": format_instant(START + at * SECOND),
    }
    return line(**{**plain, **fields})


AGGREGATE = write_aggregate(
    UserRecord("k", data)
    for data in (
        sale("a1", 60, "J5", base_product_id="5"),
        b"no event",
        sale("a2", 90, "P5", base_product_id="5"),
    )
)
SHARDS: dict[str, list[list[bytes]]] = {
    "shard-0": [
        [sale("j1", 0, "J1", 2), b"{", sale("p1", 300, "P1"), sale("j1", 0, "J1", 2), AGGREGATE],
        [
            sale("p0", 100, "P1"),  # a straggler: it takes the place of p1
            sale("r1", 400, "P1", -1),
            sale("j1", 0, "J1", 9),  # a conflict
            sale("x1", 7_200, "J9", base_product_id="9"),
            sale("x2", 0, "P9", base_product_id="9"),  # too late for any pairing
        ],
    ],
    "shard-1": [
        [sale("j2", 200, "J1"), sale("p2", 250, "P2"), sale("t1", 5, "T1", category="tie")],
        [
            sale("p1", 300, "P1", source="batch"),  # a duplicate of the other shard's
            b'{"location": "GB-1"}',
            sale("d1", 0, "J1", -50, source="batch"),
            sale("r2", 500, "J1", -1),
        ],
    ],
}


def batches(cut: int | None = None) -> list[Batch]:
    """Take turns between shards; with `cut`, one shard after the other in batches of this size."""
    found = []
    for shard_id, parts in SHARDS.items():
        records: list[Record] = []
        for data in (data for part in parts for data in part):
            records.append(Record(data, Position(EVENTS, shard_id, len(records) + 1), ARRIVAL))
        sizes = [len(part) for part in parts] if cut is None else [cut] * len(records)
        for turn, size in enumerate(sizes):
            mine, records = records[:size], records[size:]
            if mine:
                found.append((turn, Batch(shard_id, mine)))
    return [batch for _, batch in (sorted(found, key=lambda t: t[0]) if cut is None else found)]


def again(done: Sequence[Batch], cut: int | None) -> list[Batch]:
    """Cut what is not checkpointed anew; None: as before."""
    reached = {batch.shard_id: batch.records[-1].position.order for batch in done}
    if cut is None:
        return batches()[len(done) :]
    found = []
    for shard_id in SHARDS:
        records = [r for b in batches(cut) if b.shard_id == shard_id for r in b.records]
        left = [r for r in records if r.position.order > reached.get(shard_id, (0, 0))]
        found += [Batch(shard_id, left[at : at + cut]) for at in range(0, len(left), cut)]
    return found


def installation(settings: Settings = SETTINGS) -> MemoryPorts:
    return memory_ports(settings, 2, lambda: 0)


def run(
    ports: MemoryPorts,
    todo: Sequence[Batch],
    settings: Settings = SETTINGS,
    around: Callable[..., Any] | None = None,
) -> list[Batch]:
    """Process batches until the end or a crash; return those that were finished."""
    steps = steps_over(ports, around or (lambda call, *args: call(*args)), settings)
    done = []
    for batch in todo:
        try:
            steps.process(batch)
        except Crash:
            break
        done.append(batch)
    return done


def uninterrupted(settings: Settings = SETTINGS) -> Tables:
    ports = installation(settings)
    run(ports, batches(), settings)
    return tables(ports)


def calls_of(settings: Settings) -> int:
    wire = Tripwire()
    run(installation(settings), batches(), settings, wire.around)
    return wire.calls
