"""What a page must say, asked of the analysts' views in SQL alone, formatted there too.

Not through the adapter, and from the events wherever the page takes stored reports. `TABLES` has a
query for each table, its rows the texts of the cells; `FIGURES` one for each number in a sentence.
"""

N = "to_char({}, 'FM999,999,990')"
PERCENT = "coalesce(to_char(round(100.0 * {} / nullif({}, 0), 1), 'FM990.0') || ' %', '–')"
DAY = "to_char({}, 'FMDD FMMonth YYYY')"
INSTANT = "to_char({} at time zone 'UTC', 'FMDD FMMonth YYYY, HH24:MI:SS') || ' UTC'"
LISTED, LOCATIONS_LISTED = 10, 12


def n(value: str) -> str:
    """Write a count."""
    return N.format(value)


def percent(part: str, whole: str) -> str:
    """Write a share."""
    return PERCENT.format(part, whole)


SOLD, BACK = "sum(units_sold)", "sum(units_returned)"
SALES = "count(*) filter (where units_sold > 0)"
RETURNS = "count(*) filter (where units_returned > 0)"
STANDING, UNDONE = "sum(units_standing)", "sum(units_returned)"
GAP = "greatest(jacket_sold_at, pants_sold_at) - least(jacket_sold_at, pants_sold_at)"
BY_PRODUCT = """
(select product_id, p.category, sum(units_sold) sold, sum(units_returned) back
 from inventory.sale left join inventory.dim_product p using (product_id) group by 1, 2) s
"""
BY_STOCK = """
(select product_id, p.category, sum(change) change, (
     select sum(on_hand) from inventory.stock_on_hand h where h.product_id = c.product_id) on_hand
 from inventory.change c left join inventory.dim_product p using (product_id) group by 1, 2) s
"""
COMBO_DAY = "(jacket_sold_at at time zone time_zone)::date"
COMBOS = "inventory.combo join inventory.dim_location using (location)"
ATTACH = """
(select local_at::date as day, sum(units_sold) filter (where category = 'jacket') jackets,
        sum(units_sold) filter (where category = 'pants') pants, 0 with_pants, 0 with_jacket
 from inventory.sale group by 1
 union all
 select (jacket_sold_at at time zone time_zone)::date, 0, 0, units_standing + units_returned, 0
 from inventory.combo join inventory.dim_location using (location)
 union all
 select (pants_sold_at at time zone time_zone)::date, 0, 0, 0, units_standing + units_returned
 from inventory.combo join inventory.dim_location using (location)) a
"""
RANKED = """
(select location, rank() over (order by sum(units_sold) desc, location) as rank
 from inventory.sale group by 1) r
"""
LATE = "inventory.change where category in ('jacket', 'pants')"

DELIVERED = """
(select source, 1 as accepted, 0 as again, 0 as against from inventory.change
 union all
 select source, 0, (verdict = 'duplicate')::integer, (verdict = 'conflict')::integer
 from inventory.fact_refusal where verdict <> 'rejected') d
"""

TABLES = {
    "sales_over_time": f"""
        select {DAY.format("local_at::date")}, {n(SOLD)}, {n(BACK)}, {n(SALES)}
        from inventory.sale group by local_at::date order by local_at::date
    """,
    "locations": f"""
        select location, {n(SOLD)}, {n(BACK)}, {n(SALES)} from inventory.sale
        group by 1 order by {SOLD} desc, location limit {LOCATIONS_LISTED}
    """,
    "categories": f"""
        select category, {n(SOLD)}, {n(BACK)}, {n(SALES)} from inventory.sale
        group by 1 order by {SOLD} desc
    """,
    "combos_over_time": f"""
        select {DAY.format(COMBO_DAY)}, {n("count(*)")}, {n(STANDING)}, {n(UNDONE)}
        from {COMBOS} group by {COMBO_DAY} order by {COMBO_DAY}
    """,
    "attach_rate": f"""
        select {DAY.format("day")}, {percent("sum(with_pants)", "sum(jackets)")},
            {percent("sum(with_jacket)", "sum(pants)")}
        from {ATTACH} group by day order by day
    """,
    "top_pairs": f"""
        select jacket_product_id, pants_product_id, {n("count(*)")}, {n(STANDING)}, {n(UNDONE)}
        from inventory.combo group by 1, 2
        order by {STANDING} desc, 1, 2 limit {LISTED}
    """,
    "combo_gap": f"""
        select case minute when 0 then '0 s' else minute || ' min' end,
            minute + 1 || ' min', {n("count(combo_id)")}
        from generate_series(0, 9) minute
        left join inventory.combo on floor(extract(epoch from {GAP}) / 60) = minute
        group by minute order by minute
    """,
    "best_sellers": f"""
        select product_id, category, {n("sold")}, {n("back")}
        from {BY_PRODUCT} where sold > 0 order by sold desc, product_id limit {LISTED}
    """,
    "stock_falls": f"""
        select product_id, category, {n("change")}, {n("on_hand")}
        from {BY_STOCK} where change < 0 order by change, product_id limit {LISTED}
    """,
    "returns_by_category": f"""
        select category, {n(SOLD)}, {n(BACK)}, {percent(BACK, SOLD)} from inventory.sale
        group by 1 order by round(100.0 * {BACK} / {SOLD}, 1) desc, {SOLD} desc
    """,
    "returns_by_product": f"""
        select product_id, category, {n("sold")}, {n("back")}, {percent("back", "sold")}
        from {BY_PRODUCT} where back > 0 order by back desc, product_id limit {LISTED}
    """,
    "late": f"""
        select source, {n("count(*)")}, {n("count(*) filter (where could)")},
            {n("count(*) filter (where late and could)")},
            {percent("count(*) filter (where late and could)", "count(*) filter (where could)")}
        from (select *, category in ('jacket', 'pants') as could from inventory.change) c
        group by 1 order by 1
    """,
    "deliveries": f"""
        select source, {n("sum(d.accepted + d.again + d.against)")}, {n("sum(d.accepted)")},
            {n("sum(d.again)")}, {n("sum(d.against)")},
            {percent("sum(d.again)", "sum(d.accepted + d.again + d.against)")}
        from {DELIVERED} group by 1 order by 1
    """,
    "rejected": f"""
        select reason, {n("count(*)")} from inventory.fact_refusal where verdict = 'rejected'
        group by 1 order by count(*) desc, 1
    """,
    "conflicts": f"""
        select c.product_id, c.base_product_id, c.category, {n("count(*)")}
        from inventory.change c join inventory.dim_product p using (product_id)
        where (c.base_product_id, c.category) <> (p.base_product_id, p.category)
        group by 1, 2, 3 order by count(*) desc, 1, 2, 3 limit {LISTED}
    """,
    "freshness": f"""
        select location, {INSTANT.format("max(occurred_at)")},
            {INSTANT.format("max(ingested_at)")}, '1 min 30 s',
            {INSTANT.format("max(low_watermark)")}
        from inventory.change join inventory.freshness using (location)
        group by 1 order by max(ingested_at), location limit {LOCATIONS_LISTED}
    """,
}
"""In the order of their rows; days on which nothing happened may stand between."""


def top(name: str, table: str, order: str) -> str:
    """Ask for what leads a list."""
    return f"select {n(name)} from {table} order by {order} desc, product_id limit 1"


def of_sales(value: str) -> str:
    """Ask for a sum over all sales."""
    return f"select {value} from inventory.sale"


def of_combos(value: str) -> str:
    """Ask for a sum over all combos."""
    return f"select {value} from inventory.combo"


def best(value: str, by: str) -> str:
    """Ask for something of the strongest day, hour, location or category."""
    return f"select {value} from inventory.sale group by {by} order by {SOLD} desc limit 1"


def span(value: str) -> str:
    """Write a gap of less than an hour."""
    return (
        f"select replace(case when g < '1 minute' then to_char(g, 'FMSS \"s\"')"
        f" else to_char(g, 'FMMI \"min\" FMSS \"s\"') end, ' 0 s', '')"
        f" from (select date_trunc('second', {value} + interval '0.5 s') g from inventory.combo) x"
    )


ALL_SOLD = f"(select {SOLD} from inventory.sale)"
HOUR = "extract(hour from local_at)"
FACTS, PAIRS = "inventory.fact_change", "inventory.fact_combo where status <> 'retracted'"
JACKETS = f"select {n('sum(jackets)')} from {ATTACH}"
PANTS = f"select {n('sum(pants)')} from {ATTACH}"
FIRST_PAIR = f"""
from inventory.combo group by jacket_product_id, pants_product_id order by {STANDING} desc limit 1
"""
LOCATION_COUNT = "select count(distinct location)::text from inventory.sale"

FIGURES = {
    "key.units_sold": of_sales(n(SOLD)),
    "key.sales": of_sales(n(SALES)),
    "key.return_rate": of_sales(percent(BACK, SOLD)),
    "key.units_returned": of_sales(n(BACK)),
    "key.combos_standing": of_combos(n("count(*) filter (where units_standing > 0)")),
    "key.units_standing": of_combos(n(STANDING)),
    "key.jacket_attach_rate": f"select {percent('sum(with_pants)', 'sum(jackets)')} from {ATTACH}",
    "key.jackets_sold": JACKETS,
    "key.pants_attach_rate": f"select {percent('sum(with_jacket)', 'sum(pants)')} from {ATTACH}",
    "key.pants_sold": PANTS,
    "key.products_sold": of_sales("count(distinct product_id) filter (where units_sold > 0)::text"),
    "key.locations": LOCATION_COUNT,
    "sales_over_time.units_sold": of_sales(n(SOLD)),
    "sales_over_time.sales": of_sales(n(SALES)),
    "sales_over_time.best": best(DAY.format("local_at::date"), "local_at::date"),
    "sales_over_time.best_units": best(n(SOLD), "local_at::date"),
    "location_hours.best": best(f"lpad({HOUR}::text, 2, '0') || ':00'", HOUR),
    "location_hours.best_units": best(n(SOLD), HOUR),
    "location_hours.best_share": best(percent(SOLD, ALL_SOLD), HOUR),
    "location_hours.shown": f"select '{LOCATIONS_LISTED}'",
    "location_hours.others": (
        f"select (count(distinct location) - {LOCATIONS_LISTED})::text from inventory.sale"
    ),
    "locations.best_units": best(n(SOLD), "location"),
    "locations.best_share": best(percent(SOLD, ALL_SOLD), "location"),
    "locations.shown": f"select '{LOCATIONS_LISTED}'",
    "locations.of": LOCATION_COUNT,
    "categories.best_units": best(n(SOLD), "category"),
    "categories.best_share": best(percent(SOLD, ALL_SOLD), "category"),
    "combos_over_time.combos": of_combos(n("count(*)")),
    "combos_over_time.units_standing": of_combos(n(STANDING)),
    "combos_over_time.units_returned": of_combos(n(UNDONE)),
    "attach_rate.jackets": f"select {percent('sum(with_pants)', 'sum(jackets)')} from {ATTACH}",
    "attach_rate.pants": f"select {percent('sum(with_jacket)', 'sum(pants)')} from {ATTACH}",
    "top_pairs.best_units": f"select {n(STANDING)} {FIRST_PAIR}",
    "top_pairs.best_combos": f"select {n('count(*)')} {FIRST_PAIR}",
    "top_pairs.shown": f"select '{LISTED}'",
    "top_pairs.of": of_combos("count(distinct (jacket_product_id, pants_product_id))::text"),
    "combo_gap.median": span(f"percentile_cont(0.5) within group (order by {GAP})"),
    "combo_gap.ninetieth": span(f"percentile_cont(0.9) within group (order by {GAP})"),
    "combo_gap.shortest": span(f"min({GAP})"),
    "combo_gap.longest": span(f"max({GAP})"),
    "combo_gap.jacket_first": of_combos(
        percent("count(*) filter (where jacket_sold_at <= pants_sold_at)", "count(*)")
    ),
    "best_sellers.best_units": top("sold", BY_PRODUCT, "sold"),
    "best_sellers.shown": f"select '{LISTED}'",
    "best_sellers.of": of_sales(n("count(distinct product_id) filter (where units_sold > 0)")),
    "stock_falls.most": top("-change", BY_STOCK, "-change"),
    "stock_falls.on_hand": top("on_hand", BY_STOCK, "-change"),
    "stock_falls.shown": f"select '{LISTED}'",
    "stock_falls.of": f"select {n('count(*)')} from {BY_STOCK} where change < 0",
    "returns.units": of_sales(n(BACK)),
    "returns.returns": of_sales(n(RETURNS)),
    "returns.rate": of_sales(percent(BACK, SOLD)),
    "returns_by_product.most": top("back", BY_PRODUCT, "back"),
    "returns_by_product.most_sold": top("sold", BY_PRODUCT, "back"),
    "returns_by_product.shown": f"select '{LISTED}'",
    "returns_by_product.of": of_sales(
        "count(distinct product_id) filter (where units_returned > 0)::text"
    ),
    "late.late": f"select {n('count(*)')} from {LATE} and late",
    "late.could_pair": f"select {n('count(*)')} from {LATE}",
    "late.rate": (f"select {percent('count(*) filter (where late)', 'count(*)')} from {LATE}"),
    "deliveries.again": f"select {n('sum(again + against)')} from {DELIVERED}",
    "deliveries.all": f"select {n('count(*)')} from {DELIVERED}",
    "deliveries.rate": f"select {percent('sum(again + against)', 'count(*)')} from {DELIVERED}",
    "deliveries.conflicts": f"select {n('sum(against)')} from {DELIVERED}",
    "rejected.records": (
        f"select {n('count(*)')} from inventory.fact_refusal where verdict = 'rejected'"
    ),
    "conflicts.of": "select count(*)::text from inventory.product_conflict",
    "freshness.longest_lag": "select '1 min 30 s'",
    "freshness.shown": f"select '{LOCATIONS_LISTED}'",
    "freshness.of": "select count(*)::text from inventory.dim_location",
    "checks.stock.left": f"select {n('sum(change)')} from {FACTS}",
    "checks.stock.right": f"select {n('sum(on_hand)')} from inventory.stock_on_hand",
    "checks.stored_rows.left": f"select {n('count(*)')} from {FACTS}",
    "checks.stored_rows.right": f"select {n('sum(changes)')} from inventory.late_rate",
    "checks.stored_units.left": of_sales(n(f"{SOLD} + {BACK}")),
    "checks.stored_units.right": (
        f"select {n(f'{SOLD} + {BACK}')} from inventory.sales_by_category"
    ),
    "checks.stored_combos.left": f"select {n('count(*)')} from {PAIRS}",
    "checks.stored_combos.right": of_combos(n("count(*)")),
    "checks.combo_rows.left": f"select {n('count(*)')} from {PAIRS}",
    "checks.combo_rows.right": of_combos(n("count(*)")),
    "checks.combo_annotations.left": f"select {n('2 * count(*)')} from {PAIRS} and quantity > 0",
    "checks.combo_annotations.right": f"select {n('sum(combo_count)')} from inventory.change",
    "checks.dimensions.left": f"select {n('count(*)')} from {FACTS}",
    "checks.dimensions.right": (
        f"select {n('count(*)')} from {FACTS} f join inventory.dim_location using (location)"
        " join inventory.dim_product using (product_id)"
        " join inventory.dim_date d on d.date = (f.occurred_at at time zone 'UTC')::date"
    ),
}

LOCATION_HOURS = f"""
select case when rank <= {LOCATIONS_LISTED} then location else 'all others' end,
    {HOUR}::integer, {n(SOLD)}
from inventory.sale join {RANKED} using (location)
group by least(rank, {LOCATIONS_LISTED + 1}), 1, 2
having {SOLD} > 0 order by least(rank, {LOCATIONS_LISTED + 1}), 2
"""
