"""The questions of the report's page, asked of the analysts' views.

Each takes the same parameters: the location or null, the first day or null, and the limits. A list
that is bounded says in its last column how long it is. Days are of each shop's own clock.
"""

IN_SCOPE = "(%(location)s::text is null or location = %(location)s)"
SINCE = "(%(since)s::date is null or {day} >= %(since)s)"
_HOURS = f"{IN_SCOPE} and {SINCE.format(day='local_hour')}"
_DAYS = f"{IN_SCOPE} and {SINCE.format(day='date')}"
_SUMS = """
coalesce(sum(units_sold), 0)::bigint, coalesce(sum(units_returned), 0)::bigint,
coalesce(sum(sales), 0)::bigint, coalesce(sum(returns), 0)::bigint
"""

SEES_ALL = "select inventory.sees_all()"
LOCATION_KNOWN = """
select %(location)s::text is null
    or exists (select from inventory.dim_location where location = %(location)s)
    or exists (select from inventory.delivery_rate where location = %(location)s)
"""
REFRESHED = "select min(refreshed_at) from inventory.report_refresh"
NEWEST_DAY = f"select max(local_hour)::date from inventory.sales_by_hour where {IN_SCOPE}"
PERIOD = f"""
select min(local_hour)::date, max(local_hour)::date from inventory.sales_by_hour where {_HOURS}
"""

# ------------------------------------------------------------------------------------------ sales
TOTALS = f"select {_SUMS} from inventory.sales_by_hour where {_HOURS}"
CATEGORIES = f"""
select category, {_SUMS} from inventory.sales_by_hour where {_HOURS}
group by 1 order by sum(units_sold) desc, category collate "C"
"""
LOCATIONS = f"""
select location, {_SUMS}, count(*) over () from inventory.sales_by_hour where {_HOURS}
group by 1 order by sum(units_sold) desc, location collate "C" limit %(locations_max)s
"""
LOCATION_HOURS = f"""
with scoped as materialized (
    select location, extract(hour from local_hour)::integer as hour,
           sum(units_sold)::bigint as units_sold
    from inventory.sales_by_hour where {_HOURS}
    group by 1, 2
), ranked as (
    select location, row_number() over (order by sum(units_sold) desc, location collate "C") as rank
    from scoped group by 1
)
select case when rank <= %(locations_max)s then location end, hour, sum(units_sold)::bigint
from scoped join ranked using (location)
group by 1, 2, least(rank, %(locations_max)s + 1) order by least(rank, %(locations_max)s + 1), 2
"""
_OVER_TIME = f"""
select {{unit}}, sum(units_sold)::bigint, sum(units_returned)::bigint, sum(sales)::bigint
from inventory.sales_by_hour where {_HOURS} group by 1 order by 1
"""
DAYS = _OVER_TIME.format(unit="date_trunc('day', local_hour)")
HOURS = _OVER_TIME.format(unit="local_hour")

# ----------------------------------------------------------------------------------------- combos
_COMBOS = f"""
combos as (
    select *, (jacket_sold_at at time zone time_zone)::date as date,
           greatest(jacket_sold_at, pants_sold_at) - least(jacket_sold_at, pants_sold_at) as gap
    from inventory.combo join inventory.dim_location using (location)
    where {IN_SCOPE} and {SINCE.format(day="(jacket_sold_at at time zone time_zone)::date")}
)
"""
COMBO_TOTALS = f"""
with {_COMBOS}
select count(*), count(*) filter (where units_standing > 0),
       coalesce(sum(units_standing), 0)::bigint, coalesce(sum(units_returned), 0)::bigint
from combos
"""
COMBO_DAYS = f"""
with {_COMBOS}
select date, count(*), sum(units_standing)::bigint, sum(units_returned)::bigint
from combos group by 1 order by 1
"""
ATTACH_DAYS = f"""
select date, sum(local_jackets_sold)::bigint, sum(local_jackets_in_combos)::bigint,
       sum(local_pants_sold)::bigint, sum(local_pants_in_combos)::bigint
from inventory.combo_attach_rate where {_DAYS}
group by 1 having sum(local_jackets_sold) + sum(local_pants_sold) > 0 order by 1
"""
GAP = f"""
with {_COMBOS}
select count(*) filter (where jacket_sold_at <= pants_sold_at), min(gap),
       percentile_cont(0.5) within group (order by gap),
       percentile_cont(0.9) within group (order by gap), max(gap)
from combos having count(*) > 0
"""
GAP_BINS = f"""
with {_COMBOS}
select floor(extract(epoch from gap) / %(bin_s)s)::bigint as bin, count(*)
from combos group by 1 order by 1
"""
PAIRS = f"""
with {_COMBOS}
select jacket_product_id, pants_product_id, count(*), sum(units_standing)::bigint,
       sum(units_returned)::bigint, count(*) over ()
from combos group by 1, 2
order by sum(units_standing) desc, jacket_product_id collate "C", pants_product_id collate "C"
limit %(rows_max)s
"""

# --------------------------------------------------------------------------------------- products
# By product alone the views store all of time and every location. A part of it is asked of the
# rows, which are partitioned by month.
_PRODUCTS_STORED = """
products as materialized (
    select product_id, category, units_sold, units_returned, stock_change
    from inventory.sales_by_product
)
"""
_PRODUCTS_ASKED = f"""
products as materialized (
    select product_id, p.category,
           coalesce(sum(-c.change) filter (where source = 'POS' and change < 0), 0)::bigint
               as units_sold,
           coalesce(sum(c.change) filter (where source = 'POS' and change > 0), 0)::bigint
               as units_returned,
           sum(c.change)::bigint as stock_change
    from inventory.change c
    left join inventory.dim_product p using (product_id)
    where {IN_SCOPE} and {SINCE.format(day="local_at")}
        and (%(since)s::date is null or occurred_at >= %(since)s::date - interval '1 day')
    group by 1, 2
)
"""
_LISTS = f"""
, listed as (
    select 'best_sellers' as list, product_id, units_sold as measure from products
    union all
    select 'most_returned', product_id, units_returned from products
    union all
    select 'falls', product_id, -stock_change from products
), ranked as (
    select *, count(*) over (partition by list) as of,
           row_number() over (partition by list order by measure desc, product_id collate "C") as r
    from listed where measure > 0
), on_hand as (
    select product_id, sum(on_hand)::bigint as on_hand
    from inventory.stock_on_hand where {IN_SCOPE} group by 1
)
select list, product_id, category, units_sold, units_returned, stock_change,
       coalesce(on_hand, 0), of
from ranked join products using (product_id) left join on_hand using (product_id)
where r <= %(rows_max)s order by list, r
"""
PRODUCT_LISTS = ("best_sellers", "most_returned", "falls")
PRODUCTS = {
    True: f"with {_PRODUCTS_STORED} {_LISTS}",
    False: f"with {_PRODUCTS_ASKED} {_LISTS}",
}
"""The three lists at once, so that rows are read once; by whether everything is asked for."""

# ---------------------------------------------------------------------------------------- quality
LATE = f"""
select source, sum(changes)::bigint, sum(could_pair)::bigint, sum(late_changes)::bigint
from inventory.late_rate where {_DAYS} group by 1 order by 1
"""
DELIVERIES = f"""
select source, sum(deliveries)::bigint, sum(accepted)::bigint, sum(duplicates)::bigint,
       sum(conflicts)::bigint
from inventory.delivery_rate where {_DAYS} group by 1 order by 1
"""
REJECTED = f"""
select reason, sum(records)::bigint from inventory.rejected_record
where {SINCE.format(day="date")} group by 1 order by sum(records) desc, 1
"""
CONFLICTS = """
select product_id, base_product_id, category, changes, count(*) over ()
from inventory.product_conflict
order by changes desc, product_id collate "C", base_product_id collate "C", category collate "C"
limit %(rows_max)s
"""
FRESHNESS = f"""
select location, newest_occurred_at, newest_ingested_at, low_watermark, count(*) over ()
from inventory.freshness where {IN_SCOPE}
order by newest_ingested_at nulls first, location collate "C" limit %(locations_max)s
"""

# --------------------------------------------------------------------------------- reconciliation
# One pass over the facts serves four of the sums. What follows from one event comes as facts of
# several shards, some a little later: so a difference counts once nothing has come for two minutes,
# and one from the stored reports once the last of it had come two minutes before their refresh (a
# batch's time of loading is that of its begin). Dimensions are loaded with their facts.
CONTROLS = """
with facts as materialized (
    select count(*) as rows, coalesce(sum(f.change), 0)::bigint as change,
           coalesce(sum(abs(f.change)) filter (where f.source = 'POS'), 0)::bigint as till_units,
           count(*) filter (where l.location is not null and p.product_id is not null
                            and d.date is not null) as described
    from inventory.fact_change f
    left join inventory.dim_location l on l.location = f.location
    left join inventory.dim_product p on p.product_id = f.product_id
    left join inventory.dim_date d on d.date = (f.occurred_at at time zone 'UTC')::date
), made as materialized (
    select count(*) as combos, count(*) filter (where quantity > 0) as standing
    from inventory.fact_combo where status <> 'retracted'
), loaded as (
    select max(loaded_at) + interval '2 minutes' as settles from inventory.etl_position
), settled as (
    select coalesce(settles < now(), true) as tables,
           coalesce(settles < (select min(refreshed_at) from inventory.report_refresh), false)
               as reports
    from loaded
)
select 'stock', facts.change, (
    select coalesce(sum(on_hand), 0)::bigint from inventory.stock_level
), tables from facts, settled
union all
select 'stored_rows', facts.rows, (
    select coalesce(sum(changes), 0)::bigint from inventory.late_rate
), reports from facts, settled
union all
select 'stored_units', facts.till_units, (
    select coalesce(sum(units_sold + units_returned), 0)::bigint from inventory.sales_by_hour
), reports from facts, settled
union all
select 'stored_combos', combos, (select count(*) from inventory.combo), reports from made, settled
union all
select 'combo_rows', combos, (
    select count(*) from inventory.fact_combo c
    where status <> 'retracted' and exists (
        select from inventory.fact_change j
        where j.location = c.location and j.transaction_id = c.jacket_transaction_id
    ) and exists (
        select from inventory.fact_change p
        where p.location = c.location and p.transaction_id = c.pants_transaction_id
    )
), tables from made, settled
union all
select 'combo_annotations', 2 * standing, (
    select coalesce(sum(combo_count), 0)::bigint from inventory.change_annotation
), tables from made, settled
union all
select 'dimensions', rows, described, true from facts
"""
