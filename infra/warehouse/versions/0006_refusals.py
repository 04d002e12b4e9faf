"""Deliveries that became no change: duplicates, conflicts, rejected records, and their rates.

One row a delivery, under its place in the raw stream, so that it is counted once however often it
is told. The table is small beside the facts (two in a hundred deliveries of the sample) and has no
partitions. Its rows are in no other table: `warehouse rebuild` leaves them alone.

Who sees what: a delivery belongs to the location that its event names. A rejected record names
none that can be believed, so that only logins that see everything see it.
"""

from types import ModuleType

from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = """
create table inventory.fact_refusal (
    shard_id            text collate "C" not null,
    sequence_number     numeric(129) not null,
    sub_sequence_number bigint not null,
    verdict             text collate "C" not null,
    reason              text collate "C",
    location            text collate "C",
    transaction_id      text collate "C",
    source              text collate "C",
    occurred_at         timestamptz,
    ingested_at         timestamptz not null,
    primary key (shard_id, sequence_number, sub_sequence_number)
);
create index fact_refusal_transaction on inventory.fact_refusal (transaction_id)
where transaction_id is not null;
"""
# No nulls in its key: refreshing would replace each such row every time.
STORED = """
select coalesce(location, '') as location, coalesce(source, '') as source,
       (coalesce(occurred_at, ingested_at) at time zone 'UTC')::date as date, verdict,
       coalesce(reason, '') as reason, count(*) as deliveries
from inventory.fact_refusal
group by 1, 2, 3, 4, 5
"""
KEY = "location, date, source, verdict, reason"
VIEWS = {
    "delivery_rate": """
select location, date, source, accepted + duplicates + conflicts as deliveries, accepted,
       duplicates, conflicts,
       round(duplicates / (accepted + duplicates + conflicts)::numeric, 4) as duplicate_rate,
       round(conflicts / (accepted + duplicates + conflicts)::numeric, 4) as conflict_rate
from (
    select location, date, source, coalesce(l.changes, 0) as accepted,
           coalesce(r.duplicates, 0) as duplicates, coalesce(r.conflicts, 0) as conflicts
    from inventory.stored_late l
    full join (
        select location, date, source,
               sum(deliveries) filter (where verdict = 'duplicate')::bigint as duplicates,
               sum(deliveries) filter (where verdict = 'conflict')::bigint as conflicts
        from inventory.stored_refusal
        where verdict <> 'rejected'
        group by 1, 2, 3
    ) r using (location, date, source)
) d
where SEEN(location)""",
    "rejected_record": """
select date, reason, deliveries as records
from inventory.stored_refusal
where verdict = 'rejected' and SEEN(location)""",
}

RELATIONS = {
    "table inventory.fact_refusal": (
        "Grain: one delivery that became no change: a duplicate, a conflict or a rejected record."
        " Immutable. Its bytes, but for duplicates, are in the quarantine."
    ),
    "materialized view inventory.stored_refusal": (
        "Grain: one location, day, source, verdict and reason; empty text where there is none."
    ),
    "view inventory.delivery_rate": (
        "Grain: one location, UTC day of the event and source: of what was delivered, what came"
        " twice and what contradicted an earlier delivery. Rejected records are apart: they name"
        " neither location nor source."
    ),
    "view inventory.rejected_record": (
        "Grain: one UTC day of arrival and reason. Empty for logins that location_access names."
    ),
    "view inventory.late_rate": (
        "Grain: one location, UTC day and source: of what can pair, the share that came too late"
        " to. Duplicates and conflicts are in delivery_rate."
    ),
}
COLUMNS = {
    "fact_refusal": {
        "shard_id": "The shard of the raw stream that brought it.",
        "sequence_number": "Its place in that shard; an integer of up to 129 digits.",
        "sub_sequence_number": "Its place inside an aggregated record; 0 otherwise.",
        "verdict": (
            "duplicate: the same came before. conflict: the same transaction came before with"
            " another body, which stays. rejected: no valid event."
        ),
        "reason": "Why a rejected record was rejected: a code of the wire contract; else null.",
        "location": "What the event says; null if it was rejected.",
        "transaction_id": "What the event says; the row of change that it repeats or contradicts.",
        "source": "Who delivered it: the batch may repeat a till. Null if it was rejected.",
        "occurred_at": "What the event says; null if it was rejected.",
        "ingested_at": "When it arrived at the raw stream.",
    },
    "stored_refusal": {
        "location": "As in fact_refusal.",
        "source": "As in fact_refusal.",
        "date": "The UTC day of the event, or of the arrival of a rejected record.",
        "verdict": "As in fact_refusal.",
        "reason": "As in fact_refusal.",
        "deliveries": "How many.",
    },
    "delivery_rate": {
        "location": "As in dim_location, if anything of it was accepted.",
        "date": "The UTC day of the event.",
        "source": "Who delivered: POS or batch, or as configured.",
        "deliveries": "All of them: accepted, duplicates and conflicts.",
        "accepted": "Those that became a change.",
        "duplicates": "Those whose transaction had come before, saying the same.",
        "conflicts": "Those whose transaction had come before, saying something else.",
        "duplicate_rate": "Share of duplicates in deliveries.",
        "conflict_rate": "Share of conflicts in deliveries.",
    },
    "rejected_record": {
        "date": "The UTC day of arrival.",
        "reason": "The code of the wire contract.",
        "records": "How many.",
    },
}
UNDO = """
drop view inventory.delivery_rate, inventory.rejected_record;
drop materialized view inventory.stored_refusal;
drop table inventory.fact_refusal;
delete from inventory.report_refresh where report = 'stored_refusal';
"""


def upgrade() -> None:
    """Add the table, what is stored of it, and the views."""
    reports = _module("0004")
    _execute(TABLE)
    _execute(_module("0003").POLICY.format(table="fact_refusal"))
    _execute(f"create materialized view inventory.stored_refusal as {STORED}")
    _execute(f"create unique index on inventory.stored_refusal ({KEY})")
    for name, query in VIEWS.items():
        seen = reports._with_seen(query)
        _execute(f"create view inventory.{name} with (security_barrier) as {seen}")
    for relation, grain in RELATIONS.items():
        _comment(relation, grain)
    for relation, columns in COLUMNS.items():
        for column, meaning in columns.items():
            _comment(f"column inventory.{relation}.{column}", meaning)
    _execute(_module("0002").DAYS)  # loaders once took a month for known by its first day
    _replace_functions([*reports.STORED, "stored_refusal"], "fact_change, inventory.fact_refusal")


def downgrade() -> None:
    """Take them away: what became of such deliveries is then known to the metrics alone."""
    _replace_functions([*_module("0004").STORED], "fact_change")
    _execute(UNDO)
    late = _module("0005").RELATIONS["late_rate"]
    _comment("view inventory.late_rate", late)


def _replace_functions(stored: list[str], loaded: str) -> None:
    """Write the two functions that list what there is anew, with these lists."""
    refresh = _function(_module("0004").REFRESH, "refresh_reports")
    _execute(refresh.replace("{reports}", ", ".join(f"'{name}'" for name in stored)))
    roles = _function(_module("0003").ROLES, "admit_roles")
    _execute(roles.replace("on inventory.fact_change,", f"on inventory.{loaded},"))


def _function(script: str, name: str) -> str:
    """Cut one function out of an earlier migration, to be replaced."""
    begins = script.index(f"create function inventory.{name}")
    ends = script.index("$$;", begins) + len("$$;")
    return script[begins:ends].replace("create function", "create or replace function", 1)


def _module(version: str) -> ModuleType:
    found: ModuleType = context.script.get_revision(version).module
    return found


def _comment(on: str, text: str) -> None:
    quoted = text.replace("'", "''")
    _execute(f"comment on {on} is '{quoted}'")


def _execute(script: str) -> None:
    # Past SQLAlchemy's own parser, which would take colons and percent signs for parameters.
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
