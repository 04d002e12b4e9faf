"""Dimensions worth the name: time zones, a fiscal calendar, freshness; comments on everything.

Shop-local days need the zone of each shop, and fiscal weeks a calendar; both are columns of their
dimensions, so that changing a zone changes every report at its next refresh and no fact.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A name is looked up only where it is not the default: the server reads some hundred files for it.
# The SQLSTATE is that of a wrong configuration, not that of a wrong value, so that a loader with a
# wrong setting stops instead of refusing one fact after the other.
TIME_ZONES = """
alter table inventory.dim_location
    add column time_zone text collate "C" not null default 'UTC';

create function inventory.check_time_zone() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from pg_timezone_names where name = new.time_zone) then
        raise exception 'unknown time zone %', new.time_zone
            using errcode = 'F0000', hint = 'IANA names are taken, such as Europe/London.';
    end if;
    return new;
end
$$;

create trigger time_zone_is_known
before insert or update of time_zone on inventory.dim_location
for each row when (new.time_zone <> 'UTC')
execute function inventory.check_time_zone();
"""

# The 4-5-4 calendar of the National Retail Federation (United States). The rule: a fiscal year ends
# on the Saturday nearest to 31 January, so that the next begins on the Sunday from 29 January to
# 4 February, and is named after the calendar year in which it begins. Quarters of 13 weeks fall
# into months of 4, 5 and 4; the 53rd week, every five or six years (2012, 2017, 2023, 2028), goes
# to the last month. Years stand as they were: the "restated" calendar, which shifts a year of 53
# weeks to compare it with the next, is not modelled.
FISCAL = """
create function inventory.fiscal_year_start(fiscal_year integer) returns date
language sql immutable parallel safe
return make_date(fiscal_year, 1, 29)
    + (7 - extract(dow from make_date(fiscal_year, 1, 29))::integer) % 7;

create function inventory.fiscal_year(day date) returns integer
language sql immutable parallel safe
return extract(year from day)::integer
    - (day < inventory.fiscal_year_start(extract(year from day)::integer))::integer;

create function inventory.fiscal_week(day date) returns integer
language sql immutable parallel safe
return (day - inventory.fiscal_year_start(inventory.fiscal_year(day))) / 7 + 1;

create function inventory.fiscal_quarter(day date) returns integer
language sql immutable parallel safe
return least((inventory.fiscal_week(day) - 1) / 13 + 1, 4);

create function inventory.fiscal_month(day date) returns integer
language sql immutable parallel safe
return (inventory.fiscal_quarter(day) - 1) * 3
    + case
        when inventory.fiscal_week(day) - (inventory.fiscal_quarter(day) - 1) * 13 <= 4 then 1
        when inventory.fiscal_week(day) - (inventory.fiscal_quarter(day) - 1) * 13 <= 9 then 2
        else 3
    end;

alter table inventory.dim_date
    add column fiscal_year integer
        generated always as (inventory.fiscal_year(date)) stored,
    add column fiscal_quarter integer
        generated always as (inventory.fiscal_quarter(date)) stored,
    add column fiscal_month integer
        generated always as (inventory.fiscal_month(date)) stored,
    add column fiscal_week integer
        generated always as (inventory.fiscal_week(date)) stored,
    add column fiscal_weekday integer
        generated always as (extract(dow from date)::integer + 1) stored;
"""
# Every day of each month that has a partition, and the day before and after it.
DAYS = """
insert into inventory.dim_date (date)
select distinct least(d::date, date '9999-12-31')
from (
        select to_date(right(relname, 7), 'YYYY_MM') as starts
        from pg_class where relispartition and relkind = 'r'
            and relnamespace = 'inventory'::regnamespace
    ) m,
    generate_series(starts - interval '1 day', starts + interval '1 month', interval '1 day') d
on conflict do nothing;
"""

# Kept by the loader, a row a shard: asking five million facts for their newest would take seconds.
# Rows of before this migration have no shard of ours and no part in the watermark.
FRESHNESS = """
create table inventory.location_freshness (
    location           text collate "C" not null,
    consumer           text collate "C" not null,
    shard_id           text collate "C" not null,
    newest_occurred_at timestamptz not null,
    newest_ingested_at timestamptz not null,
    loaded_at          timestamptz not null default now(),
    primary key (location, consumer, shard_id)
) with (fillfactor = 70);

insert into inventory.location_freshness
    (location, consumer, shard_id, newest_occurred_at, newest_ingested_at)
select location, 'migration', '0002', max(occurred_at), max(ingested_at)
from inventory.fact_change
group by location;

create index fact_change_occurred_at on inventory.fact_change
using brin (occurred_at) with (pages_per_range = 32, autosummarize = on);
"""

TABLES = {
    "fact_change": (
        "Grain: one accepted event, that is, one line item of a till or of a batch delivery."
        " Immutable; partitioned by month (UTC)."
    ),
    "change_annotation": (
        "Grain: one transaction of which something is known beside its event. May arrive before"
        " its row of fact_change, and then waits for it; view change joins the two."
    ),
    "fact_combo": (
        "Grain: one pair of a jacket's and a pants' transaction that was ever paired, as it stands"
        " now."
    ),
    "stock_level": "Grain: one product at one location, as it stands now.",
    "dim_location": (
        "Grain: one location that any fact named. Set time_zone by hand where the default is wrong."
    ),
    "dim_product": (
        "Grain: one product that any fact named, described by its earliest event; without a"
        " description until that arrives (its stock level may come first)."
    ),
    "dim_date": (
        "Grain: one day. Every day of each month that has a partition, and the day before and"
        " after it."
    ),
    "etl_position": (
        "Grain: one shard of the internal stream and consumer: how far it is loaded. Written in"
        " one transaction with the rows."
    ),
    "location_freshness": (
        "Grain: one location, consumer and shard of the internal stream: the newest of what was"
        " loaded. View freshness sums it up."
    ),
    "alembic_version": "Grain: one row: the version of this schema.",
}
COLUMNS = {
    "fact_change": {
        "location": "The shop or warehouse; opaque, compared by code point.",
        "transaction_id": "The line item; unique, or unique within its location (dedupe_scope).",
        "occurred_at": "When it happened by the till's own clock.",
        "product_id": "The product as sold, with its size and colour.",
        "base_product_id": "What jacket and pants of one suit have in common.",
        "category": "What the event said: jacket, pants, shirt, tie, or as configured.",
        "change": "Units; negative: they left (a sale), positive: they came back or in.",
        "source": "POS: a till reported it as it happened. batch: a nightly delivery of files.",
        "shard_id": "The shard of the raw stream that brought it.",
        "sequence_number": "Its place in that shard; an integer of up to 129 digits.",
        "sub_sequence_number": "Its place inside an aggregated record; 0 otherwise.",
        "ingested_at": "When it arrived at the raw stream.",
    },
    "change_annotation": {
        "location": "As in fact_change.",
        "transaction_id": "As in fact_change.",
        "late": "It came too late to pair: further behind than the allowed lateness.",
        "combo_count": "Standing combos that it is part of.",
        "combo_ids": "The earliest 100 of them.",
        "revision": "The higher revision replaces the lower.",
    },
    "fact_combo": {
        "combo_id": "Derived from the two transactions: the same pair has the same id for ever.",
        "location": "Where both were sold.",
        "base_product_id": "What both have in common.",
        "jacket_transaction_id": "The jacket's row of fact_change.",
        "pants_transaction_id": "The pants' row of fact_change.",
        "paired_at": "The later of the two sales.",
        "quantity": "Pairs that still stand.",
        "voided": "Pairs that a return undid.",
        "status": (
            "active: pairs stand. cancelled: returns took all. retracted: a late arrival showed"
            " that this pair never was."
        ),
        "revision": "The higher revision replaces the lower.",
    },
    "stock_level": {
        "location": "As in dim_location.",
        "product_id": "As in dim_product.",
        "on_hand": "Units, counted from the first event on: negative where nobody counted before.",
        "revision": "The higher revision replaces the lower.",
    },
    "dim_location": {
        "location": "As events name it.",
        "time_zone": "IANA name, such as Europe/London: decides what a shop-local day is.",
    },
    "dim_product": {
        "product_id": "As events name it.",
        "base_product_id": "Of its earliest event.",
        "category": "Of its earliest event.",
        "described_at": "When that event happened.",
    },
    "dim_date": {
        "date": "The day.",
        "year": "Calendar year.",
        "quarter": "Calendar quarter, 1 to 4.",
        "month": "Calendar month, 1 to 12.",
        "day": "Day of the month.",
        "iso_year": "Year of the ISO week.",
        "iso_week": "ISO 8601 week, 1 to 53, from Monday.",
        "iso_weekday": "1 Monday to 7 Sunday.",
        "is_weekend": "Saturday or Sunday.",
        "fiscal_year": "Retail 4-5-4 calendar (NRF): begins on the Sunday nearest to 1 February.",
        "fiscal_quarter": "Of the 4-5-4 calendar, 1 to 4: 13 weeks, the last sometimes 14.",
        "fiscal_month": "Of the 4-5-4 calendar, 1 (February) to 12 (January): 4, 5 or 4 weeks.",
        "fiscal_week": "Of the 4-5-4 calendar, 1 to 53, from Sunday.",
        "fiscal_weekday": "1 Sunday to 7 Saturday.",
    },
    "etl_position": {
        "consumer": "Who loads.",
        "shard_id": "A shard of the internal stream.",
        "sequence_number": "The last record of it that is loaded.",
        "sub_sequence_number": "Its place inside an aggregated record; 0 otherwise.",
        "newest_ingested_at": "The newest arrival at the raw stream among what was loaded.",
        "loaded_at": "When the position last moved.",
    },
    "location_freshness": {
        "location": "As in dim_location.",
        "consumer": "Who loaded it.",
        "shard_id": "The shard of the internal stream that brought it.",
        "newest_occurred_at": "The newest event by the till's clock.",
        "newest_ingested_at": "The newest event by its arrival at the raw stream.",
        "loaded_at": "When an event of this location last came through this shard.",
    },
    "alembic_version": {"version_num": "The newest migration that was run."},
}

UNDO = """
drop index inventory.fact_change_occurred_at;
drop table inventory.location_freshness;
alter table inventory.dim_date drop column fiscal_year, drop column fiscal_quarter,
    drop column fiscal_month, drop column fiscal_week, drop column fiscal_weekday;
drop function inventory.fiscal_month(date);
drop function inventory.fiscal_quarter(date);
drop function inventory.fiscal_week(date);
drop function inventory.fiscal_year(date);
drop function inventory.fiscal_year_start(integer);
drop trigger time_zone_is_known on inventory.dim_location;
drop function inventory.check_time_zone();
alter table inventory.dim_location drop column time_zone;
"""


def upgrade() -> None:
    """Add what the dimensions lacked."""
    for script in (TIME_ZONES, FISCAL, DAYS, FRESHNESS):
        _execute(script)
    for table, comment in TABLES.items():
        _execute(f"comment on table inventory.{table} is {_quoted(comment)}")
        for column, meaning in COLUMNS[table].items():
            _execute(f"comment on column inventory.{table}.{column} is {_quoted(meaning)}")


def downgrade() -> None:
    """Take it away; the facts stay. Comments and the days in between stay too, and do no harm."""
    _execute(UNDO)


def _quoted(comment: str) -> str:
    return "'" + comment.replace("'", "''") + "'"


def _execute(script: str) -> None:
    # Past SQLAlchemy's own parser, which would take colons and percent signs for parameters.
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
