"""The star: facts, dimensions, positions, the analysts' views and their role.

Every table is written by upserts on its key, guarded by revision where a fact can change, so that
facts may arrive at least once and in any order. Identifiers are opaque and compared by code point:
their columns are `collate "C"`, or the database's language would decide what is equal and sorted.
There are no foreign keys (they halve the load rate; dimensions load in the same transaction) and
no checks (the wire contract was enforced before a fact was ever published, and a check that fails
here would only block a shard).
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A month is the unit that is archived and pruned. There is no DEFAULT partition: a month could
# not be created any more once one of its rows had strayed there, and each new one would scan it
# under an exclusive lock. The loader creates months as they come; a row without one is an error.
FACTS = """
create table inventory.fact_change (
    location            text collate "C" not null,
    transaction_id      text collate "C" not null,
    occurred_at         timestamptz not null,
    product_id          text collate "C" not null,
    base_product_id     text collate "C" not null,
    category            text collate "C" not null,
    change              bigint not null,
    source              text collate "C" not null,
    shard_id            text collate "C" not null,
    sequence_number     numeric(129) not null,
    sub_sequence_number bigint not null,
    ingested_at         timestamptz not null,
    primary key (location, transaction_id, occurred_at)
) partition by range (occurred_at);
comment on table inventory.fact_change is
    'One accepted event a row; immutable. Negative change: units that left. Instants in UTC.';

create table inventory.change_annotation (
    location       text collate "C" not null,
    transaction_id text collate "C" not null,
    late           boolean not null,
    combo_count    bigint not null,
    combo_ids      text[] collate "C" not null,
    revision       bigint not null,
    primary key (location, transaction_id)
);
comment on table inventory.change_annotation is
    'What is known of a row of fact_change beside its event; may arrive first. See view change.';

create table inventory.fact_combo (
    combo_id              text collate "C" primary key,
    location              text collate "C" not null,
    base_product_id       text collate "C" not null,
    jacket_transaction_id text collate "C" not null,
    pants_transaction_id  text collate "C" not null,
    paired_at             timestamptz not null,
    quantity              bigint not null,
    voided                bigint not null,
    status                text collate "C" not null,
    revision              bigint not null
);
comment on table inventory.fact_combo is
    'One combo a row: quantity = units standing, voided = units returned; retracted: never was.';

create table inventory.stock_level (
    location   text collate "C" not null,
    product_id text collate "C" not null,
    on_hand    bigint not null,
    revision   bigint not null,
    primary key (location, product_id)
);
"""

# dim_product. A product may be seen with two base products or categories: a typing error, or a
# new assortment. The description of the earliest event stands (ties: the lesser description), so
# that the table does not depend on arrival order; facts keep what was said with them, and view
# product_conflict lists the rest. Rejected: the latest stands. It would rewrite and lock
# a product's row with every sale, and shards that sell the same product would wait for each other.
DIMENSIONS = """
create table inventory.dim_location (
    location text collate "C" primary key
);

create table inventory.dim_product (
    product_id      text collate "C" primary key,
    base_product_id text collate "C",
    category        text collate "C",
    described_at    timestamptz
);
comment on table inventory.dim_product is
    'Described by its earliest event; nulls until that arrives (its stock level may come first).';

create table inventory.dim_date (
    date        date primary key,
    year        integer generated always as (extract(year from date)::integer) stored,
    quarter     integer generated always as (extract(quarter from date)::integer) stored,
    month       integer generated always as (extract(month from date)::integer) stored,
    day         integer generated always as (extract(day from date)::integer) stored,
    iso_year    integer generated always as (extract(isoyear from date)::integer) stored,
    iso_week    integer generated always as (extract(week from date)::integer) stored,
    iso_weekday integer generated always as (extract(isodow from date)::integer) stored,
    is_weekend  boolean generated always as (extract(isodow from date) >= 6) stored
);
comment on table inventory.dim_date is 'The UTC dates on which something happened.';

create table inventory.etl_position (
    consumer            text collate "C" not null,
    shard_id            text collate "C" not null,
    sequence_number     numeric(129) not null,
    sub_sequence_number bigint not null,
    newest_ingested_at  timestamptz,
    loaded_at           timestamptz not null default now(),
    primary key (consumer, shard_id)
);
comment on table inventory.etl_position is
    'How far each shard of the internal stream is loaded; written together with its rows.';
"""

# Create, then attach: CREATE ... PARTITION OF would lock fact_change exclusively, so one long
# report would hold up the load, and the load every report behind it; ATTACH lets both go on. The
# advisory lock serialises creators, and being taken before any row lock it can deadlock with none;
# IF NOT EXISTS alone would let the slower of two fail on the catalogue's unique index. The question
# behind the lock goes to pg_class, which a new snapshot sees as it is (read committed); to_regclass
# answers from a cache that waiting for an advisory lock does not refresh.
# Security definer: the loader needs EXECUTE here, not the ownership of the tables.
PARTITIONS = """
create function inventory.ensure_change_partition(some_day date) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
declare
    starts date := make_date(
        extract(year from some_day)::integer, extract(month from some_day)::integer, 1);
    ends date := (starts + interval '1 month')::date;
    name text := 'fact_change_' || to_char(starts, 'YYYY_MM');
begin
    if exists (select from pg_class
               where relname = name and relnamespace = 'inventory'::regnamespace) then
        return;
    end if;
    perform pg_advisory_xact_lock(1953066092, 2);
    if exists (select from pg_class
               where relname = name and relnamespace = 'inventory'::regnamespace) then
        return;
    end if;
    execute format('create table inventory.%I (like inventory.fact_change including all)', name);
    execute format(
        'alter table inventory.fact_change attach partition inventory.%I '
        'for values from (%L) to (%L)', name, starts::timestamptz, ends::timestamptz);
end
$$;
revoke all on function inventory.ensure_change_partition(date) from public;
"""

# What is sold is what tills report: a batch delivery is no customer. Returns stay beside sales and
# are not subtracted; whoever wants net units has both. Hours and days are UTC.
SALES_VIEWS = """
create view inventory.change as
select c.location, c.transaction_id, c.product_id, c.base_product_id, c.category, c.change,
       c.occurred_at, c.source, coalesce(a.combo_count, 0) > 0 as combo,
       a.combo_ids[1] as combo_id, coalesce(a.combo_ids, '{}') as combo_ids,
       coalesce(a.combo_count, 0) as combo_count, coalesce(a.late, false) as late,
       c.shard_id, c.sequence_number, c.sub_sequence_number, c.ingested_at
from inventory.fact_change c
left join inventory.change_annotation a using (location, transaction_id);

create view inventory.sale as
select location, transaction_id, product_id, base_product_id, category, occurred_at,
       greatest(-change, 0) as units_sold, greatest(change, 0) as units_returned
from inventory.fact_change
where source = 'POS';

create view inventory.product_sales as
select product_id, p.base_product_id, p.category, sum(s.units_sold)::bigint as units_sold,
       sum(s.units_returned)::bigint as units_returned,
       count(*) filter (where s.units_sold > 0) as sales
from inventory.sale s
left join inventory.dim_product p using (product_id)
group by product_id, p.base_product_id, p.category;

create view inventory.sales_by_hour as
select location, date_trunc('hour', occurred_at, 'UTC') as hour,
       sum(units_sold)::bigint as units_sold, sum(units_returned)::bigint as units_returned,
       count(*) filter (where units_sold > 0) as sales
from inventory.sale
group by 1, 2;

create view inventory.stock_on_hand as
select s.location, s.product_id, p.base_product_id, p.category, s.on_hand
from inventory.stock_level s
left join inventory.dim_product p using (product_id);

create view inventory.product_conflict as
select product_id, c.base_product_id, c.category, count(*) as changes,
       min(c.occurred_at) as first_at, max(c.occurred_at) as last_at
from inventory.fact_change c
join inventory.dim_product p using (product_id)
where (c.base_product_id, c.category) is distinct from (p.base_product_id, p.category)
group by product_id, c.base_product_id, c.category;
"""

# Attach rate: of the jackets that tills sold, the share that found pants, counted on the day of
# the jacket; units returned later were bought together all the same. Late rate: of the rows that
# can pair at all, the share that came too late to. The rate of duplicates cannot be told here:
# they never become facts.
RATE_VIEWS = """
create view inventory.combo_attach_rate as
select location, s.day, sum(s.units_sold)::bigint as jackets_sold,
       sum(coalesce(c.units, 0))::bigint as jackets_in_combos,
       round(sum(coalesce(c.units, 0)) / sum(s.units_sold), 4) as attach_rate
from (
    select location, transaction_id, units_sold, (occurred_at at time zone 'UTC')::date as day
    from inventory.sale
    where category = 'jacket' and units_sold > 0
) s
left join (
    select location, jacket_transaction_id as transaction_id, sum(quantity + voided) as units
    from inventory.fact_combo
    group by 1, 2
) c using (location, transaction_id)
group by 1, 2;

create view inventory.late_rate as
select location, (occurred_at at time zone 'UTC')::date as day, count(*) as changes,
       count(*) filter (where late) as late_changes,
       round(count(*) filter (where late) / count(*)::numeric, 4) as late_rate
from inventory.change
where source = 'POS' and category in ('jacket', 'pants')
group by 1, 2;

create view inventory.freshness as
select consumer, shard_id, loaded_at, newest_ingested_at, now() - loaded_at as since_load
from inventory.etl_position;
"""

# Called after every migration, not once: the role may have been missing the first time. It belongs
# to the whole server, so that another database's migration may create it at the same moment.
ANALYSTS = """
create function inventory.admit_analysts() returns text
language plpgsql
as $$
begin
    if not exists (select from pg_roles where rolname = 'tillstream_analyst') then
        if not (select rolsuper or rolcreaterole from pg_roles where rolname = current_user) then
            return format('analysts have no access yet: the role tillstream_analyst is missing and '
                '%s may not create roles; let an administrator run '
                '"create role tillstream_analyst nologin", then migrate again', current_user);
        end if;
        begin
            create role tillstream_analyst nologin;
        exception when duplicate_object or unique_violation then
            null;
        end;
    end if;
    grant usage on schema inventory to tillstream_analyst;
    grant select on all tables in schema inventory to tillstream_analyst;
    alter default privileges in schema inventory grant select on tables to tillstream_analyst;
    return null;
end
$$;
revoke all on function inventory.admit_analysts() from public;
"""

UNDO = (
    "drop function inventory.admit_analysts()",
    "drop view inventory.freshness, inventory.late_rate, inventory.combo_attach_rate,"
    " inventory.product_conflict, inventory.stock_on_hand, inventory.sales_by_hour,"
    " inventory.product_sales, inventory.sale, inventory.change",
    "drop function inventory.ensure_change_partition(date)",
    "drop table inventory.fact_change, inventory.change_annotation, inventory.fact_combo,"
    " inventory.stock_level, inventory.dim_location, inventory.dim_product, inventory.dim_date,"
    " inventory.etl_position",
)


def upgrade() -> None:
    """Create everything in the schema, which exists."""
    for script in (FACTS, DIMENSIONS, PARTITIONS, SALES_VIEWS, RATE_VIEWS, ANALYSTS):
        # Past SQLAlchemy's own parser, which would take colons and percent signs for parameters.
        op.get_bind().exec_driver_sql(script.replace("%", "%%"))


def downgrade() -> None:
    """Drop everything, the facts too: they come again from the streams or from DynamoDB."""
    for script in UNDO:
        op.get_bind().exec_driver_sql(script)
