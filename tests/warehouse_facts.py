"""The facts of one morning, and how tests load them and ask about them."""

from typing import Any

import psycopg

from pipeline.adapters.postgres import PostgresServer, PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from pipeline.adapters.postgres.upkeep import PostgresUpkeep
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    Fact,
    RefusedAs,
    StockChanged,
)
from pipeline.core.instants import parse_instant
from pipeline.ports.warehouse import FactBatch


def sold(
    transaction_id: str, product_id: str, change: int, at: str, **fields: Any
) -> ChangeRecorded:
    """Make a row; J, P and T begin the products that are jackets, pants and ties."""
    instant = parse_instant(at if "T" in at else f"2011-10-03T{at}Z")
    category = {"J": "jacket", "P": "pants", "T": "tie"}[product_id[0]]
    row = ChangeRecorded(
        "GB-1", transaction_id, product_id, product_id[1:], category, change, instant, "POS",
        "shard-7", 12, 0, instant,
    )  # fmt: skip
    return row._replace(**fields)


def paired(
    jacket: str, pants: str, quantity: int, voided: int = 0, status: ComboStatus | None = None
) -> ComboChanged:
    """Make a combo at noon."""
    noon = parse_instant("2011-10-03T12:00:00Z")
    standing = ComboStatus.ACTIVE if quantity else ComboStatus.CANCELLED
    name = f"{jacket}+{pants}"
    return ComboChanged(
        name, "GB-1", "1", jacket, pants, noon, quantity, voided, status or standing, 1
    )


def refused(
    verdict: RefusedAs, sequence: int, at: str, source: str = "POS", location: str = "GB-1"
) -> DeliveryRefused:
    """Make a delivery that became no change; one that was rejected says nothing but its reason."""
    instant = parse_instant(f"2011-10-03T{at}Z")
    if verdict is RefusedAs.REJECTED:
        nothing = (None, None, None, None)
        return DeliveryRefused(verdict, "bad_type", *nothing, "shard-7", sequence, 0, instant)
    said = (location, "t1", source, instant)
    return DeliveryRefused(verdict, "", *said, "shard-7", sequence, 0, instant)


# Four jackets sold and one returned, two pairs of which one was returned, one pair that never was,
# a straggler, a delivery, and a sale that is on another day in its shop. One sale came thrice, the
# last time with the night's batch, and once with another body; two records were no events.
MORNING: list[Fact] = [
    sold("t1", "J1", -3, "09:15:00"),
    sold("t2", "P1", -1, "09:20:00"),
    sold("t3", "P1", -1, "09:25:00"),
    sold("t4", "J1", 1, "10:00:00"),
    sold("t5", "J2", -1, "10:59:59.999999"),
    sold("t6", "T9", -7, "11:00:00"),
    sold("t7", "J1", -500, "11:00:00", source="batch"),
    sold("t8", "J1", -2, "23:30:00", location="FR-1"),
    paired("t1", "t2", 1),
    paired("t1", "t3", 0, voided=1),
    paired("t5", "t3", 0, status=ComboStatus.RETRACTED),
    ChangeAnnotated("GB-1", "t1", ("t1+t2",), 1, False, 1),
    ChangeAnnotated("GB-1", "t2", ("t1+t2",), 1, False, 1),
    ChangeAnnotated("GB-1", "t5", (), 0, True, 1),
    StockChanged("GB-1", "J1", -502, 1),
    StockChanged("GB-1", "T8", 40, 1),
    refused(RefusedAs.DUPLICATE, 21, "09:15:00"),
    refused(RefusedAs.DUPLICATE, 22, "09:15:00", source="batch"),
    refused(RefusedAs.CONFLICT, 23, "09:15:00"),
    refused(RefusedAs.DUPLICATE, 24, "23:30:00", location="FR-1"),
    refused(RefusedAs.REJECTED, 25, "10:00:00"),
    refused(RefusedAs.REJECTED, 26, "11:00:00"),
]


def load(
    where: str | PostgresServer, *facts: Fact, shard_id: str = "shard-1", last: int = 1
) -> None:
    """Load facts as one batch of a shard."""
    with PostgresWarehouse(where) as warehouse:
        warehouse.load(FactBatch("etl", shard_id, (last, 0), facts))


def refresh(dsn: str) -> bool:
    """Bring the stored reports up to date."""
    return PostgresUpkeep(dsn).refresh()


def load_morning(dsn: str) -> None:
    """Fill an empty database with the morning, FR-1 in its own time zone, and its reports."""
    migrate(dsn)
    load(dsn, *MORNING)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update inventory.dim_location set time_zone = 'Europe/Paris' where location = 'FR-1'"
        )
    refresh(dsn)


def ask(dsn: str, query: str) -> list[tuple[Any, ...]]:
    """Ask one question."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()
