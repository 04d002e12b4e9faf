"""Reports: stored aggregates that are refreshed behind the loads, and the views that people ask.

What is small is asked of the tables (stock, freshness, one row of the change log); what would read
every fact is a materialised view, `stored_*`, refreshed concurrently by `refresh_reports`, so that
nobody waits for it. Analysts ask the views over them: only those know whose locations a login may
see. Rejected: aggregates kept by the loader in the same transaction. They are always fresh, but
every shard sells in every location and hour, so that the shards' transactions would wait for each
other on the same rows, and a load would take twice as long.

What is sold is what tills report: a batch delivery is no customer. Returns stay beside sales and
are not subtracted; whoever wants net units has both. Each day is told twice, side by side: by UTC,
and (local_...) by the time zone of the shop.

Not here: the rates of duplicates and conflicts, which no change tells of; see the sixth migration.
"""

from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STORED = {
    "stored_sales_hour": """
select f.location, date_trunc('hour', f.occurred_at, 'UTC') as hour,
       date_trunc('hour', f.occurred_at at time zone l.time_zone) as local_hour, f.category,
       sum(greatest(-f.change, 0))::bigint as units_sold,
       sum(greatest(f.change, 0))::bigint as units_returned,
       count(*) filter (where f.change < 0) as sales,
       count(*) filter (where f.change > 0) as returns
from inventory.fact_change f
join inventory.dim_location l using (location)
where f.source = 'POS'
group by 1, 2, 3, 4""",
    "stored_sales_day": """
select location, date, category,
       sum(units_sold) filter (where not local)::bigint as units_sold,
       sum(units_returned) filter (where not local)::bigint as units_returned,
       sum(sales) filter (where not local)::bigint as sales,
       sum(returns) filter (where not local)::bigint as returns,
       sum(units_sold) filter (where local)::bigint as local_units_sold,
       sum(units_returned) filter (where local)::bigint as local_units_returned,
       sum(sales) filter (where local)::bigint as local_sales,
       sum(returns) filter (where local)::bigint as local_returns
from (
    select location, (hour at time zone 'UTC')::date as date, category, false as local,
           units_sold, units_returned, sales, returns
    from inventory.stored_sales_hour
    union all
    select location, local_hour::date, category, true, units_sold, units_returned, sales, returns
    from inventory.stored_sales_hour
) h
group by 1, 2, 3""",
    "stored_product": """
select location, product_id, base_product_id, category,
       sum(greatest(-change, 0)) filter (where source = 'POS')::bigint as units_sold,
       sum(greatest(change, 0)) filter (where source = 'POS')::bigint as units_returned,
       count(*) filter (where source = 'POS' and change < 0) as sales,
       count(*) filter (where source = 'POS' and change > 0) as returns,
       sum(change)::bigint as stock_change, count(*) as changes,
       min(occurred_at) as first_at, max(occurred_at) as last_at
from inventory.fact_change
group by 1, 2, 3, 4""",
    "stored_combo": """
select c.combo_id, c.location, j.product_id as jacket_product_id,
       p.product_id as pants_product_id, c.jacket_transaction_id, c.pants_transaction_id,
       j.occurred_at as jacket_sold_at, p.occurred_at as pants_sold_at,
       c.quantity as units_standing, c.voided as units_returned
from inventory.fact_combo c
join inventory.fact_change j
    on j.location = c.location and j.transaction_id = c.jacket_transaction_id
join inventory.fact_change p
    on p.location = c.location and p.transaction_id = c.pants_transaction_id
where c.status <> 'retracted'""",
    "stored_attach_day": """
select location, date,
       sum(sold) filter (where category = 'jacket' and not local)::bigint as jackets_sold,
       sum(paired) filter (where category = 'jacket' and not local)::bigint as jackets_in_combos,
       sum(sold) filter (where category = 'pants' and not local)::bigint as pants_sold,
       sum(paired) filter (where category = 'pants' and not local)::bigint as pants_in_combos,
       sum(sold) filter (where category = 'jacket' and local)::bigint as local_jackets_sold,
       sum(paired) filter (where category = 'jacket' and local)::bigint
           as local_jackets_in_combos,
       sum(sold) filter (where category = 'pants' and local)::bigint as local_pants_sold,
       sum(paired) filter (where category = 'pants' and local)::bigint as local_pants_in_combos
from (
    select location, date, category, local_units_sold as sold, 0 as paired, true as local
    from inventory.stored_sales_day where category in ('jacket', 'pants')
    union all
    select location, date, category, units_sold, 0, false
    from inventory.stored_sales_day where category in ('jacket', 'pants')
    union all
    select location, case when local then (sold_at at time zone time_zone)::date
               else (sold_at at time zone 'UTC')::date end,
           category, 0, units, local
    from inventory.stored_combo
    join inventory.dim_location using (location)
    cross join lateral (values ('jacket', jacket_sold_at), ('pants', pants_sold_at))
        side (category, sold_at)
    cross join lateral (select units_standing + units_returned as units) u
    cross join (values (false), (true)) clock (local)
) d
group by 1, 2""",
    "stored_combo_gap": """
select location, count(*) as combos,
       count(*) filter (where jacket_sold_at <= pants_sold_at) as jacket_first,
       min(gap) as shortest, avg(gap) as mean,
       percentile_cont(0.5) within group (order by gap) as median,
       percentile_cont(0.9) within group (order by gap) as ninetieth, max(gap) as longest
from (
    select *, greatest(jacket_sold_at, pants_sold_at) - least(jacket_sold_at, pants_sold_at) as gap
    from inventory.stored_combo
) c
group by 1""",
    "stored_pair": """
select location, jacket_product_id, pants_product_id, count(*) as combos,
       sum(units_standing)::bigint as units_standing, sum(units_returned)::bigint as units_returned
from inventory.stored_combo
group by 1, 2, 3""",
    "stored_late": """
select f.location, (f.occurred_at at time zone 'UTC')::date as date, f.source,
       count(*) as changes, count(*) filter (where f.category in ('jacket', 'pants')) as could_pair,
       count(*) filter (where a.late) as late_changes,
       max(f.ingested_at - f.occurred_at) as longest_delay
from inventory.fact_change f
left join inventory.change_annotation a
    on a.late and a.location = f.location and a.transaction_id = f.transaction_id
group by 1, 2, 3""",
}
KEYS = {
    "stored_sales_hour": "location, hour, local_hour, category",
    "stored_sales_day": "location, date, category",
    "stored_product": "location, product_id, base_product_id, category",
    "stored_combo": "combo_id",
    "stored_attach_day": "location, date",
    "stored_combo_gap": "location",
    "stored_pair": "location, jacket_product_id, pants_product_id",
    "stored_late": "location, date, source",
}

# All in one transaction, in an order in which each reads only what was refreshed before it. Left
# out where somebody else is at it, and where the last time was so recent that refreshing would take
# more than a tenth of the server's time. Without nested loops: the planner takes the key of each
# partition for a cheap way from a combo to its rows, and is wrong by five times.
REFRESH = """
create table inventory.report_refresh (
    report       text collate "C" primary key,
    refreshed_at timestamptz not null,
    took         interval not null
);

create function inventory.refresh_reports(at_most_every interval default '0') returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set work_mem = '128MB' set jit = off set enable_nestloop = off
as $$
declare
    item text;
    began timestamptz;
begin
    if not pg_try_advisory_xact_lock(1953066092, 3) then
        return false;
    elsif at_most_every > '0' and (
        select min(refreshed_at) + greatest(at_most_every, 9 * sum(took))
        from inventory.report_refresh
    ) > clock_timestamp() then
        return false;
    end if;
    foreach item in array array[{reports}] loop
        began := clock_timestamp();
        execute format('refresh materialized view concurrently inventory.%I', item);
        insert into inventory.report_refresh values (item, began, clock_timestamp() - began)
        on conflict (report) do update
            set refreshed_at = excluded.refreshed_at, took = excluded.took;
    end loop;
    return true;
end
$$;
revoke all on function inventory.refresh_reports(interval) from public;
comment on function inventory.refresh_reports(interval) is
    'Refreshes every stored_* view, readers going on meanwhile; false if it was left out. '
    'The etl consumer calls it; without one, let pg_cron.';
"""

SEEN = "((select inventory.sees_all()) or {location} in (select inventory.own_locations()))"
VIEWS = {
    "change": """
select c.location, c.transaction_id, c.product_id, c.base_product_id, c.category, c.change,
       c.occurred_at, c.occurred_at at time zone l.time_zone as local_at, c.source,
       coalesce(a.combo_count, 0) > 0 as combo, a.combo_ids[1] as combo_id,
       coalesce(a.combo_ids, '{}') as combo_ids, coalesce(a.combo_count, 0) as combo_count,
       coalesce(a.late, false) as late,
       c.shard_id, c.sequence_number, c.sub_sequence_number, c.ingested_at
from inventory.fact_change c
left join inventory.change_annotation a using (location, transaction_id)
left join inventory.dim_location l using (location)
where SEEN(c.location)""",
    "sale": """
select c.location, c.transaction_id, c.product_id, c.base_product_id, c.category, c.occurred_at,
       c.occurred_at at time zone l.time_zone as local_at,
       greatest(-c.change, 0) as units_sold, greatest(c.change, 0) as units_returned
from inventory.fact_change c
left join inventory.dim_location l using (location)
where c.source = 'POS' and SEEN(c.location)""",
    "stock_on_hand": """
select s.location, s.product_id, p.base_product_id, p.category, s.on_hand
from inventory.stock_level s
left join inventory.dim_product p using (product_id)
where SEEN(s.location)""",
    "sales_by_hour": """
select location, hour, local_hour, category, units_sold, units_returned, sales, returns
from inventory.stored_sales_hour
where SEEN(location)""",
    "sales_by_day": """
select s.location, s.date, s.category, d.fiscal_year, d.fiscal_week,
       coalesce(s.units_sold, 0) as units_sold, coalesce(s.units_returned, 0) as units_returned,
       coalesce(s.sales, 0) as sales, coalesce(s.returns, 0) as returns,
       coalesce(s.local_units_sold, 0) as local_units_sold,
       coalesce(s.local_units_returned, 0) as local_units_returned,
       coalesce(s.local_sales, 0) as local_sales, coalesce(s.local_returns, 0) as local_returns
from inventory.stored_sales_day s
left join inventory.dim_date d using (date)
where SEEN(s.location)""",
    "sales_by_location": """
select location, sum(units_sold)::bigint as units_sold,
       sum(units_returned)::bigint as units_returned, sum(sales)::bigint as sales,
       sum(returns)::bigint as returns
from inventory.stored_sales_day
where SEEN(location)
group by 1""",
    "sales_by_category": """
select category, sum(units_sold)::bigint as units_sold,
       sum(units_returned)::bigint as units_returned, sum(sales)::bigint as sales,
       sum(returns)::bigint as returns
from inventory.stored_sales_day
where SEEN(location)
group by 1""",
    "sales_by_product": """
select s.product_id, p.base_product_id, p.category,
       coalesce(s.units_sold, 0) as units_sold, coalesce(s.units_returned, 0) as units_returned,
       s.sales, s.returns, s.stock_change
from (
    select product_id, sum(units_sold)::bigint as units_sold,
           sum(units_returned)::bigint as units_returned, sum(sales)::bigint as sales,
           sum(returns)::bigint as returns, sum(stock_change)::bigint as stock_change
    from inventory.stored_product
    where SEEN(location)
    group by 1
) s
left join inventory.dim_product p using (product_id)""",
    "product_conflict": """
select d.product_id, d.base_product_id, d.category, sum(d.changes)::bigint as changes,
       min(d.first_at) as first_at, max(d.last_at) as last_at
from inventory.stored_product d
join inventory.dim_product p using (product_id)
where (d.base_product_id, d.category) is distinct from (p.base_product_id, p.category)
    and SEEN(d.location)
group by 1, 2, 3""",
    "combo": """
select combo_id, location, jacket_product_id, pants_product_id, jacket_transaction_id,
       pants_transaction_id, jacket_sold_at, pants_sold_at, units_standing, units_returned
from inventory.stored_combo
where SEEN(location)""",
    "combo_attach_rate": """
select location, date,
       coalesce(jackets_sold, 0) as jackets_sold,
       coalesce(jackets_in_combos, 0) as jackets_in_combos,
       round(jackets_in_combos / nullif(jackets_sold, 0)::numeric, 4) as jacket_attach_rate,
       coalesce(pants_sold, 0) as pants_sold, coalesce(pants_in_combos, 0) as pants_in_combos,
       round(pants_in_combos / nullif(pants_sold, 0)::numeric, 4) as pants_attach_rate,
       coalesce(local_jackets_sold, 0) as local_jackets_sold,
       coalesce(local_jackets_in_combos, 0) as local_jackets_in_combos,
       round(local_jackets_in_combos / nullif(local_jackets_sold, 0)::numeric, 4)
           as local_jacket_attach_rate,
       coalesce(local_pants_sold, 0) as local_pants_sold,
       coalesce(local_pants_in_combos, 0) as local_pants_in_combos,
       round(local_pants_in_combos / nullif(local_pants_sold, 0)::numeric, 4)
           as local_pants_attach_rate
from inventory.stored_attach_day
where SEEN(location)""",
    "combo_gap": """
select location, combos, jacket_first, shortest, mean, median, ninetieth, longest
from inventory.stored_combo_gap
where SEEN(location)""",
    "top_pairs": """
select location, jacket_product_id, pants_product_id, combos, units_standing, units_returned,
       rank() over (partition by location order by units_standing desc) as rank
from inventory.stored_pair
where SEEN(location)""",
    "late_rate": """
select location, date, source, changes, could_pair, late_changes,
       round(late_changes / nullif(could_pair, 0)::numeric, 4) as late_rate, longest_delay
from inventory.stored_late
where SEEN(location)""",
    "freshness": """
select l.location, l.time_zone, max(f.newest_occurred_at) as newest_occurred_at,
       max(f.newest_ingested_at) as newest_ingested_at, max(f.loaded_at) as loaded_at,
       now() - max(f.newest_ingested_at) as lag,
       min(e.newest_ingested_at) as low_watermark,
       (select min(refreshed_at) from inventory.report_refresh) as reports_refreshed_at
from inventory.dim_location l
left join inventory.location_freshness f using (location)
left join inventory.etl_position e on e.consumer = f.consumer and e.shard_id = f.shard_id
    and e.loaded_at > now() - interval '168 hours'
where SEEN(l.location)
group by 1, 2""",
    "shard_freshness": """
select consumer, shard_id, loaded_at, newest_ingested_at, now() - loaded_at as since_load
from inventory.etl_position""",
}
OLD_VIEWS = (
    "freshness",
    "late_rate",
    "combo_attach_rate",
    "product_conflict",
    "stock_on_hand",
    "sales_by_hour",
    "product_sales",
    "sale",
    "change",
)


def upgrade() -> None:
    """Replace the views that read every fact."""
    _execute(f"drop view {', '.join(f'inventory.{name}' for name in OLD_VIEWS)}")
    for name, query in STORED.items():
        _execute(f"create materialized view inventory.{name} as {query}")
        _execute(f"create unique index on inventory.{name} ({KEYS[name]})")
        _execute(f"analyze inventory.{name}")
    _execute(REFRESH.replace("{reports}", ", ".join(f"'{name}'" for name in STORED)))
    for name, query in VIEWS.items():
        # A barrier, so that no function in a query can look at rows before they are left out.
        seen = _with_seen(query)
        _execute(f"create view inventory.{name} with (security_barrier) as {seen}")


def downgrade() -> None:
    """Bring the first migration's views back."""
    _execute(f"drop view {', '.join(f'inventory.{name}' for name in VIEWS)}")
    _execute("drop function inventory.refresh_reports(interval)")
    _execute("drop table inventory.report_refresh")
    for name in reversed(STORED):
        _execute(f"drop materialized view inventory.{name}")
    first = context.script.get_revision("0001").module
    for script in (first.SALES_VIEWS, first.RATE_VIEWS):
        _execute(script)


def _with_seen(query: str) -> str:
    before, found, rest = query.partition("SEEN(")
    if not found:
        return before
    location, _, after = rest.partition(")")
    return before + SEEN.format(location=location) + after


def _execute(script: str) -> None:
    # Past SQLAlchemy's own parser, which would take colons and percent signs for parameters.
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
