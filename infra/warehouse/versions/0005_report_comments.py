"""What the rows and columns of the reports are, and what the functions that people call give.

Where `\\d+`, `\\df+` and every SQL tool show it, and what docs/data-dictionary.md is written from.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

RELATIONS = {
    "change": "Grain: one accepted event, with what is known of it beside. Ask by key or by time.",
    "sale": "Grain: one line item that a till reported. Ask by key or by time.",
    "stock_on_hand": "Grain: one product at one location, as it stands now.",
    "sales_by_hour": "Grain: one location, hour and category with sales or returns of tills.",
    "sales_by_day": "Grain: one location, day and category with sales or returns of tills.",
    "sales_by_location": "Grain: one location, all of its time.",
    "sales_by_category": "Grain: one category, over the locations that you may see.",
    "sales_by_product": "Grain: one product, over the locations that you may see.",
    "product_conflict": (
        "Grain: one product and a description of it that is not the one in dim_product."
    ),
    "combo": "Grain: one pair of jacket and pants, retracted ones left out.",
    "combo_attach_rate": (
        "Grain: one location and day of sale: of the jackets sold, the share that left with pants,"
        " and of the pants the share that left with a jacket. What was returned later was bought"
        " together all the same."
    ),
    "combo_gap": "Grain: one location: the time between the two sales of its combos.",
    "top_pairs": "Grain: one location and pair of products that left together.",
    "late_rate": (
        "Grain: one location, UTC day and source: of what can pair, the share that came too late"
        " to. Duplicates and conflicts never become facts and cannot be told here: see the"
        " inventory consumer's metrics, and for conflicts the quarantine."
    ),
    "freshness": "Grain: one location: how new what was loaded of it is.",
    "shard_freshness": "Grain: one consumer and shard of the internal stream.",
    "report_refresh": "Grain: one stored report: when it was last refreshed.",
    "stored_sales_hour": "Grain: as sales_by_hour.",
    "stored_sales_day": "Grain: as sales_by_day.",
    "stored_product": "Grain: one location, product and description of it.",
    "stored_combo": "Grain: as combo.",
    "stored_attach_day": "Grain: as combo_attach_rate.",
    "stored_combo_gap": "Grain: as combo_gap.",
    "stored_pair": "Grain: as top_pairs.",
    "stored_late": "Grain: as late_rate.",
}
LOCAL = ", of the same date in the shop's own time zone."
UTC = ", of the date in UTC."
COLUMNS = {
    "base_product_id": "As in dim_product; in product_conflict, what the events said.",
    "category": "As in the event; by product, as in dim_product.",
    "change": "Units; negative: they left, positive: they came back or in.",
    "changes": "Accepted events.",
    "combo": "It is part of a standing combo.",
    "combo_count": "Standing combos that it is part of.",
    "combo_id": "The combo; the earliest standing one, where several can be.",
    "combo_ids": "The earliest 100 of its standing combos.",
    "combos": "Combos, retracted ones left out.",
    "consumer": "Who loads.",
    "could_pair": "Of those, jackets and pants. Only sources in combo_sources can be late at all.",
    "date": "A day; see the columns for whose.",
    "first_at": "When the first of these events happened.",
    "fiscal_week": "Of that date, in the 4-5-4 calendar: see dim_date.",
    "fiscal_year": "Of that date, in the 4-5-4 calendar: see dim_date.",
    "hour": "When the hour begins.",
    "ingested_at": "When it arrived at the raw stream.",
    "jacket_attach_rate": "Share of the jackets that left with pants" + UTC,
    "jacket_first": "Combos whose jacket was sold first, or at the same instant.",
    "jacket_product_id": "The jacket.",
    "jacket_sold_at": "When the jacket was sold.",
    "jacket_transaction_id": "The jacket's row of change.",
    "jackets_in_combos": "Jackets that left with pants" + UTC,
    "jackets_sold": "Jackets sold" + UTC,
    "lag": "Time since the newest arrival that is loaded.",
    "last_at": "When the last of these events happened.",
    "late": "It came too late to pair.",
    "late_changes": "Those that came too late to pair.",
    "late_rate": "Their share of could_pair.",
    "loaded_at": "When something of it was last loaded.",
    "local_at": "When it happened by the clock on the shop's wall.",
    "local_hour": "The same hour on the shop's wall; two where its zone is off by half an hour.",
    "local_jacket_attach_rate": "Share of the jackets that left with pants" + LOCAL,
    "local_jackets_in_combos": "Jackets that left with pants" + LOCAL,
    "local_jackets_sold": "Jackets sold" + LOCAL,
    "local_pants_attach_rate": "Share of the pants that left with a jacket" + LOCAL,
    "local_pants_in_combos": "Pants that left with a jacket" + LOCAL,
    "local_pants_sold": "Pants sold" + LOCAL,
    "local_returns": "Line items that took units back" + LOCAL,
    "local_sales": "Line items that sold" + LOCAL,
    "local_units_returned": "Units taken back" + LOCAL,
    "local_units_sold": "Units sold" + LOCAL,
    "location": "As in dim_location.",
    "longest": "The longest gap.",
    "longest_delay": "The longest time from a sale to its arrival at the raw stream.",
    "low_watermark": (
        "What arrived before this, through the shards that this location uses, is loaded. Shards"
        " that loaded nothing for as long as the stream keeps records do not hold it back."
    ),
    "mean": "The mean gap.",
    "median": "Half of the combos have a gap no longer than this.",
    "newest_ingested_at": "The newest event by its arrival at the raw stream.",
    "newest_occurred_at": "The newest event by the till's clock.",
    "ninetieth": "Nine of ten combos have a gap no longer than this.",
    "occurred_at": "When it happened by the till's own clock.",
    "on_hand": "Units, counted from the first event on.",
    "pants_attach_rate": "Share of the pants that left with a jacket" + UTC,
    "pants_in_combos": "Pants that left with a jacket" + UTC,
    "pants_product_id": "The pants.",
    "pants_sold": "Pants sold" + UTC,
    "pants_sold_at": "When the pants were sold.",
    "pants_transaction_id": "The pants' row of change.",
    "product_id": "As in dim_product.",
    "rank": "1 for the pair of which most units stand at the location.",
    "refreshed_at": "What was loaded before this is in it.",
    "report": "The materialised view.",
    "reports_refreshed_at": "What was loaded before this is in every stored report.",
    "returns": "Line items of tills that took units back; by day, of the date in UTC.",
    "sales": "Line items of tills that sold; by day, of the date in UTC.",
    "sequence_number": "Its place in its shard.",
    "shard_id": "The shard that brought it.",
    "shortest": "The shortest gap.",
    "since_load": "Time since something was last loaded.",
    "source": "POS or batch, or as configured.",
    "stock_change": "Sum of all changes, deliveries included.",
    "sub_sequence_number": "Its place inside an aggregated record.",
    "time_zone": "As in dim_location.",
    "took": "How long refreshing took.",
    "transaction_id": "The line item.",
    "units_returned": "Units taken back; by day, of the date in UTC.",
    "units_sold": "Units sold by tills; by day, of the date in UTC.",
    "units_standing": "Pairs that no return undid.",
}
FUNCTIONS = {
    "fiscal_year_start(integer)": "The Sunday on which a fiscal year begins; 4-5-4 calendar (NRF).",
    "fiscal_year(date)": "The fiscal year of a day, named after the calendar year it begins in.",
    "fiscal_quarter(date)": "The fiscal quarter of a day, 1 to 4.",
    "fiscal_month(date)": "The fiscal month of a day, 1 (February) to 12 (January).",
    "fiscal_week(date)": "The fiscal week of a day, 1 to 53, from Sunday.",
}
OWN_COLUMNS = """
select attname from pg_attribute
where attrelid = ('inventory.' || %s)::regclass and attnum > 0 and not attisdropped
"""


def upgrade() -> None:
    """Comment on every relation that the reports are made of, their columns, and on functions."""
    connection = op.get_bind()
    for name, grain in RELATIONS.items():
        kind = connection.exec_driver_sql(
            "select relkind from pg_class where oid = ('inventory.' || %s)::regclass", (name,)
        ).scalar_one()
        noun = {"v": "view", "m": "materialized view", "r": "table"}[kind]
        _execute(f"comment on {noun} inventory.{name} is {_quoted(grain)}")
        for (column,) in connection.exec_driver_sql(OWN_COLUMNS, (name,)):
            meaning = _quoted(COLUMNS[column])
            _execute(f"comment on column inventory.{name}.{column} is {meaning}")
    for name, meaning in FUNCTIONS.items():
        _execute(f"comment on function inventory.{name} is {_quoted(meaning)}")


def downgrade() -> None:
    """Leave the comments: they are true of the version before as well."""


def _quoted(comment: str) -> str:
    return "'" + comment.replace("'", "''") + "'"


def _execute(script: str) -> None:
    # Past SQLAlchemy's own parser, which would take colons and percent signs for parameters.
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
