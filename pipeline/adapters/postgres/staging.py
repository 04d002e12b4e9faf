"""Facts as rows of one temporary table, and the statements that spread them from there.

One table for all kinds of facts, with a column for each thing that any of them says. A table a kind
would be tidier, and was half as fast in batches of 500 of mixed facts: creating and dropping a
table costs a millisecond and some rows of the catalogue, four times over. What repeats within a
batch is settled by the server too (DISTINCT ON), since the rows must be sorted there anyway.

The text is COPY's own format, written by hand: twice as fast as `Copy.write_row`, and the only
escapes are backslash, tab and the two line ends.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    DeliveryRefused,
    Fact,
    StockChanged,
)
from pipeline.core.errors import ValueRefused
from pipeline.core.instants import DAY, format_instant

CREATE = """
create temporary table staged (
    kind "char",
    location text collate "C", transaction_id text collate "C", product_id text collate "C",
    base_product_id text collate "C", category text collate "C", number bigint,
    instant timestamptz, source text collate "C", shard_id text collate "C",
    sequence_number numeric, sub_sequence_number bigint, ingested_at timestamptz,
    combo_id text collate "C", combo_ids text[] collate "C",
    pants_transaction_id text collate "C", voided bigint, flag boolean, status text collate "C",
    revision bigint
) on commit drop
"""
COPY = "copy pg_temp.staged from stdin"


class Staged(NamedTuple):
    """A batch, ready to be sent."""

    text: bytes
    kinds: frozenset[type[Fact]]
    months: list[str]
    """The first days of the months that its changes fall into, sorted."""
    newest: str | None
    """When the newest of its changes arrived."""


def stage(facts: Iterable[Fact]) -> Staged:
    """Write a batch's facts as text for COPY. Raises ValueRefused for what is no Unicode."""
    rows = list(_once(facts))
    changes = [fact for fact in rows if isinstance(fact, ChangeRecorded)]
    newest = max((change.ingested_at for change in changes), default=None)
    try:
        text = "".join(map(_line, rows)).encode()
    except UnicodeEncodeError as fault:
        raise ValueRefused(f"a fact cannot be written to PostgreSQL: {fault.reason}") from None
    return Staged(
        text,
        frozenset(map(type, rows)),
        sorted(
            {f"{format_instant(day * DAY)[:7]}-01" for day in {c.instant // DAY for c in changes}}
        ),
        None if newest is None else format_instant(newest),
    )


def _once(facts: Iterable[Fact]) -> Iterator[Fact]:
    """Leave out what repeats a change.

    Its key in the table has the instant too, as partitioning demands; the transaction is the key.
    """
    seen: set[tuple[str, str]] = set()
    for fact in facts:
        if isinstance(fact, ChangeRecorded):
            key = fact.location, fact.transaction_id
            if key in seen:
                continue
            seen.add(key)
        yield fact


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_QUOTES = str.maketrans({"\\": "\\\\", '"': '\\"'})


def _text(value: str) -> str:
    if "\\" in value or "\t" in value or "\n" in value or "\r" in value:
        return value.translate(_ESCAPES)
    return value


def _nullable(value: str | None) -> str:
    return "\\N" if value is None else _text(value)


def _array(values: Iterable[str]) -> str:
    return _text("{" + ",".join(f'"{value.translate(_QUOTES)}"' for value in values) + "}")


# Columns as in CREATE; \N is null. A refusal's reason travels as a category and its verdict as a
# status: two columns more would be two nulls more in every other line. One f-string a kind, since
# this is what a load spends its own time on: 1.5 us a row, where a loop over the fields took 7.
def _line(fact: Fact) -> str:
    if isinstance(fact, ChangeRecorded):
        names = "\t".join(map(_text, fact[:5]))
        return (
            f"c\t{names}\t{fact[5]}\t{format_instant(fact[6])}\t{_text(fact[7])}\t{_text(fact[8])}"
            f"\t{fact[9]}\t{fact[10]}\t{format_instant(fact[11])}"
            "\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n"
        )
    if isinstance(fact, StockChanged):
        return (
            f"s\t{_text(fact.location)}\t\\N\t{_text(fact.product_id)}\t\\N\t\\N\t{fact.on_hand}"
            f"\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t{fact.revision}\n"
        )
    if isinstance(fact, ChangeAnnotated):
        return (
            f"a\t{_text(fact.location)}\t{_text(fact.transaction_id)}\t\\N\t\\N\t\\N"
            f"\t{fact.combo_count}\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t{_array(fact.combo_ids)}"
            f"\t\\N\t\\N\t{fact.late}\t\\N\t{fact.revision}\n"
        )
    if isinstance(fact, DeliveryRefused):
        said = "\t".join(map(_nullable, (fact.location, fact.transaction_id)))
        instant = "\\N" if fact.instant is None else format_instant(fact.instant)
        return (
            f"d\t{said}\t\\N\t\\N\t{_text(fact.reason)}\t\\N\t{instant}"
            f"\t{_nullable(fact.source)}\t{_text(fact.shard_id)}\t{fact.sequence}\t{fact.sub}"
            f"\t{format_instant(fact.ingested_at)}"
            f"\t\\N\t\\N\t\\N\t\\N\t\\N\t{fact.verdict}\t\\N\n"
        )
    return (
        f"o\t{_text(fact.location)}\t{_text(fact.jacket_transaction_id)}\t\\N"
        f"\t{_text(fact.base_product_id)}\t\\N\t{fact.quantity}\t{format_instant(fact.paired_at)}"
        f"\t\\N\t\\N\t\\N\t\\N\t\\N\t{_text(fact.combo_id)}\t\\N"
        f"\t{_text(fact.pants_transaction_id)}\t{fact.voided}\t\\N\t{fact.status}\t{fact.revision}\n"
    )


# ------------------------------------------------------------------------ before the rows
# Partitions before everything: the lock that creating one takes comes before any row's.
PARTITIONS = "select inventory.ensure_change_partition(d) from unnest(%s::date[]) d order by d"
# Whole months, so that a day without sales is a row too, and a day more on either side: in its
# shop's time zone an event may fall on the eve of its month or on the day after. A month is known
# by its second day: the first may have come as the day after another month.
DATES = """
insert into inventory.dim_date (date)
select distinct least(d::date, date '9999-12-31')
from unnest(%s::date[]) m,
    generate_series(m - interval '1 day', m + interval '1 month', interval '1 day') d
where not exists (select from inventory.dim_date known where known.date = m + 1)
order by 1
on conflict do nothing
"""

# ------------------------------------------------------------------------ from the rows
# What is known already is left out before the conflict: ON CONFLICT locks, and so writes, even the
# rows that its WHERE then leaves alone, and popular products are sold through every shard.
LOCATIONS = """
insert into inventory.dim_location (location, time_zone)
select distinct s.location, %s
from pg_temp.staged s
where s.kind in ('c', 's')
    and not exists (select from inventory.dim_location known where known.location = s.location)
order by 1
on conflict do nothing
"""
PRODUCTS = """
insert into inventory.dim_product as t (product_id, described_at, base_product_id, category)
select * from (
    select distinct on (product_id) product_id, instant, base_product_id, category
    from pg_temp.staged
    where kind in ('c', 's')
    order by product_id, instant, base_product_id, category
) r
where not exists (
    select from inventory.dim_product p
    where p.product_id = r.product_id
        and (r.instant is null or (p.described_at, p.base_product_id, p.category)
            <= (r.instant, r.base_product_id, r.category)))
order by product_id
on conflict (product_id) do update set described_at = excluded.described_at,
    base_product_id = excluded.base_product_id, category = excluded.category
where t.described_at is null or (excluded.described_at, excluded.base_product_id, excluded.category)
    < (t.described_at, t.base_product_id, t.category)
"""
CHANGES = """
insert into inventory.fact_change (location, transaction_id, product_id, base_product_id, category,
    change, occurred_at, source, shard_id, sequence_number, sub_sequence_number, ingested_at)
select location, transaction_id, product_id, base_product_id, category,
    number, instant, source, shard_id, sequence_number, sub_sequence_number, ingested_at
from pg_temp.staged
where kind = 'c'
order by location, transaction_id, instant
on conflict do nothing
"""
ANNOTATIONS = """
insert into inventory.change_annotation as t
    (location, transaction_id, combo_ids, combo_count, late, revision)
select distinct on (location, transaction_id)
    location, transaction_id, combo_ids, number, flag, revision
from pg_temp.staged
where kind = 'a'
order by location, transaction_id, revision desc
on conflict (location, transaction_id) do update set combo_ids = excluded.combo_ids,
    combo_count = excluded.combo_count, late = excluded.late, revision = excluded.revision
where excluded.revision > t.revision
"""
COMBOS = """
insert into inventory.fact_combo as t (combo_id, location, base_product_id, jacket_transaction_id,
    pants_transaction_id, paired_at, quantity, voided, status, revision)
select distinct on (combo_id) combo_id, location, base_product_id, transaction_id,
    pants_transaction_id, instant, number, voided, status, revision
from pg_temp.staged
where kind = 'o'
order by combo_id, revision desc
on conflict (combo_id) do update set location = excluded.location,
    base_product_id = excluded.base_product_id,
    jacket_transaction_id = excluded.jacket_transaction_id,
    pants_transaction_id = excluded.pants_transaction_id, paired_at = excluded.paired_at,
    quantity = excluded.quantity, voided = excluded.voided, status = excluded.status,
    revision = excluded.revision
where excluded.revision > t.revision
"""
STOCK = """
insert into inventory.stock_level as t (location, product_id, on_hand, revision)
select distinct on (location, product_id) location, product_id, number, revision
from pg_temp.staged
where kind = 's'
order by location, product_id, revision desc
on conflict (location, product_id) do update set on_hand = excluded.on_hand,
    revision = excluded.revision
where excluded.revision > t.revision
"""
REFUSALS = """
insert into inventory.fact_refusal (shard_id, sequence_number, sub_sequence_number, verdict, reason,
    location, transaction_id, source, occurred_at, ingested_at)
select shard_id, sequence_number, sub_sequence_number, status, nullif(category, ''),
    location, transaction_id, source, instant, ingested_at
from pg_temp.staged
where kind = 'd'
order by shard_id, sequence_number, sub_sequence_number
on conflict do nothing
"""
# A row a shard, not one a location: every shard has every location's events, and one row of them
# all would make the shards' transactions wait for each other.
FRESHNESS = """
insert into inventory.location_freshness as t
    (location, consumer, shard_id, newest_occurred_at, newest_ingested_at)
select location, %s, %s, max(instant), max(ingested_at)
from pg_temp.staged
where kind = 'c'
group by location
order by location
on conflict (location, consumer, shard_id) do update set
    newest_occurred_at = greatest(t.newest_occurred_at, excluded.newest_occurred_at),
    newest_ingested_at = greatest(t.newest_ingested_at, excluded.newest_ingested_at),
    loaded_at = excluded.loaded_at
"""
