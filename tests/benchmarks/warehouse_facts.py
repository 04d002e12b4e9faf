"""A year of a chain of shops: as facts, a batch at a time, and as millions of rows at once."""

from collections.abc import Sequence

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    Fact,
    StockChanged,
)
from pipeline.core.instants import DAY, MINUTE, parse_instant

SHOPS, PRODUCTS = 25, 3_000
BEGINS = parse_instant("2011-01-01T09:00:00Z")
LIVE = parse_instant("2011-12-01T09:00:00Z")
"""What is loaded by batches happens in the newest month, as what tills report does."""
CATEGORIES = ("jacket", "pants", "shirt", "tie")
SEQUENCE = 49590338271490256608559692538361571095921575989136588898
_SPREAD = 2_654_435_761
"""Spreads consecutive numbers over shops, products and time, as Fibonacci hashing does."""


def changes(first: int, count: int) -> list[Fact]:
    """Make rows of numbers that no other batch has."""
    return [_change(number) for number in range(first, first + count)]


def mixed(first: int, count: int) -> list[Fact]:
    """Make what the inventory consumer publishes: a row, its stock, sometimes a combo."""
    facts: list[Fact] = []
    for number in range(first, first + count):
        row = _change(number)
        if number % 10 < 5:
            facts.append(row)
        elif number % 10 < 9:
            facts.append(StockChanged(row.location, row.product_id, -number, number))
        elif number % 20 == 9:
            note = ChangeAnnotated(row.location, row.transaction_id, ("c",), 1, False, number)
            facts.append(note)
        else:
            facts.append(_combo(row, number))
    return facts


def _change(number: int) -> ChangeRecorded:
    spread = number * _SPREAD % 2**32
    product = spread // SHOPS % PRODUCTS
    at = LIVE + spread % 30 * DAY + spread // 30 % 600 * MINUTE + number % 1_000_000
    return ChangeRecorded(
        f"shop-{spread % SHOPS}",
        f"{spread:08x}-{number}",
        f"P{product}",
        f"{product // 4}",
        CATEGORIES[product % 4],
        -1,
        at,
        "POS",
        "shardId-000000000001",
        SEQUENCE + number,
        0,
        at + 5,
    )


def _combo(row: ChangeRecorded, number: int) -> ComboChanged:
    name, transaction = f"combo-{number}", row.transaction_id
    return ComboChanged(
        name,
        row.location,
        row.base_product_id,
        transaction,
        f"{transaction}+",
        row.instant,
        1,
        0,
        ComboStatus.ACTIVE,
        number,
    )


# Twice as many lines as receipts: number 2n is a jacket or a shirt, 2n + 1 the pants or tie beside
# it, a minute later and of the same suit. Shops are open from 9 to 19; two in 25 lines are returns.
FILL: Sequence[str] = (
    """
    insert into inventory.fact_change (location, transaction_id, product_id, base_product_id,
        category, change, occurred_at, source, shard_id, sequence_number, sub_sequence_number,
        ingested_at)
    select 'shop-' || s %% 25, 'f' || to_hex(s) || '-' || i, 'P' || p, (p / 4)::text,
        (array['jacket', 'pants', 'shirt', 'tie'])[p %% 4 + 1],
        case when s %% 25 < 23 or i %% 2 = 0 then -1 - (s %% 3) else 1 end, at,
        case when s %% 50 = 49 then 'batch' else 'POS' end, 'shardId-000000000001',
        i, 0, at + interval '2 seconds'
    from generate_series(%(first)s::bigint, %(last)s::bigint) i
    cross join lateral (select (i / 2) * 2654435761 %% 4294967296 as s) x
    cross join lateral (select s / 25 %% 1500 * 2 + i %% 2 as p,
        timestamptz '2011-01-01 09:00Z' + (s %% 365) * interval '1 day'
            + (s / 365 %% 600 + i %% 2) * interval '1 minute' as at) y
    """,
    """
    insert into inventory.fact_combo (combo_id, location, base_product_id, jacket_transaction_id,
        pants_transaction_id, paired_at, quantity, voided, status, revision)
    select 'c' || j.sequence_number, j.location, j.base_product_id, j.transaction_id,
        p.transaction_id, p.occurred_at, 1, 0, 'active', 1
    from inventory.fact_change j
    join inventory.fact_change p on p.location = j.location
        and p.transaction_id = regexp_replace(j.transaction_id, '-.*', '-')
            || (j.sequence_number + 1)::text
    where j.category = 'jacket' and p.category = 'pants' and j.sequence_number %% 3 = 0
    on conflict do nothing
    """,
    """
    insert into inventory.change_annotation
        (location, transaction_id, late, combo_count, combo_ids, revision)
    select location, transaction_id, sequence_number %% 97 = 0, 1, array['c'], 1
    from inventory.fact_change where sequence_number %% 8 = 0
    on conflict do nothing
    """,
    """
    insert into inventory.fact_refusal (shard_id, sequence_number, sub_sequence_number, verdict,
        location, transaction_id, source, occurred_at, ingested_at)
    select shard_id, sequence_number + 1e15, 0,
        case when sequence_number %% 1000 = 0 then 'conflict' else 'duplicate' end,
        location, transaction_id, source, occurred_at, ingested_at + interval '1 hour'
    from inventory.fact_change where sequence_number %% 50 = 0
    on conflict do nothing
    """,
    """
    insert into inventory.fact_refusal (shard_id, sequence_number, sub_sequence_number, verdict,
        reason, ingested_at)
    select shard_id, sequence_number + 2e15, 0, 'rejected', 'malformed_json', ingested_at
    from inventory.fact_change where sequence_number %% 500 = 1
    on conflict do nothing
    """,
    """
    insert into inventory.stock_level (location, product_id, on_hand, revision)
    select 'shop-' || s, 'P' || p, s * p, 1
    from generate_series(0, 24) s, generate_series(0, 2999) p
    on conflict do nothing
    """,
    """
    insert into inventory.dim_location (location, time_zone)
    select 'shop-' || s,
        (array['UTC', 'Europe/London', 'America/New_York', 'Asia/Kolkata'])[s %% 4 + 1]
    from generate_series(0, 24) s on conflict do nothing
    """,
    """
    insert into inventory.dim_product (product_id, base_product_id, category, described_at)
    select 'P' || p, (p / 4)::text, (array['jacket', 'pants', 'shirt', 'tie'])[p %% 4 + 1],
        '2011-01-01Z' from generate_series(0, 2999) p on conflict do nothing
    """,
    """
    insert into inventory.location_freshness
        (location, consumer, shard_id, newest_occurred_at, newest_ingested_at)
    select 'shop-' || s, 'etl', 'shard-' || n, now(), now()
    from generate_series(0, 24) s, generate_series(1, 16) n on conflict do nothing
    """,
)
