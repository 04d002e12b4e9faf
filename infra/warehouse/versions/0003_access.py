"""Who may do what: a role that loads, a role that reads, and whose locations a login may see.

`tillstream_etl_writer` inserts and updates, deletes nothing and creates nothing: partitions are
made, and reports refreshed, by functions that it may call. `tillstream_analyst` reads tables and
views, but neither partitions (row security holds where the parent is asked) nor what the reports
store. Both are groups: people and programs have logins of their own, which are members.

Row security is an option for each login: one that `location_access` does not name sees everything,
one that it names sees its locations alone, in tables and in views. It goes by the login
(session_user) and not by the current role, or SET ROLE to the group would be the way round it.
"""

from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OF_A_LOCATION = (
    "fact_change",
    "change_annotation",
    "fact_combo",
    "stock_level",
    "dim_location",
    "location_freshness",
)

# Both functions are definers, so that nobody needs to read the table itself. Asked once a query,
# not once a row: `(select f())` is planned as a value, `in (select g())` as a hash.
LOCATIONS = """
create table inventory.location_access (
    login    name not null,
    location text collate "C" not null,
    primary key (login, location)
);
comment on table inventory.location_access is
    'Grain: one login and a location that it may see. A login without any row sees everything.';
comment on column inventory.location_access.login is 'The role that logs in (session_user).';
comment on column inventory.location_access.location is 'As in dim_location.';

create function inventory.sees_all() returns boolean
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp
as $$ select not exists (select from inventory.location_access where login = session_user) $$;

create function inventory.own_locations() returns setof text
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp
as $$ select location from inventory.location_access where login = session_user $$;
"""
POLICY = """
create policy by_location on inventory.{table} using (
    (select inventory.sees_all()) or location in (select inventory.own_locations()));
alter table inventory.{table} enable row level security;
"""

# Called after every migration, not once: a role may have been missing the first time. Roles belong
# to the whole server, so that another database's migration may create one at the same moment.
ROLES = """
create function inventory.admit_roles() returns text
language plpgsql
as $$
declare
    wanted name;
    missing name[] := '{}';
    item record;
begin
    foreach wanted in array array['tillstream_etl_writer', 'tillstream_analyst'] loop
        if exists (select from pg_roles where rolname = wanted) then
            continue;
        elsif not (select rolsuper or rolcreaterole from pg_roles where rolname = current_user) then
            missing := missing || wanted;
            continue;
        end if;
        begin
            execute format('create role %I nologin', wanted);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
    if 'tillstream_etl_writer' <> all (missing) then
        grant usage on schema inventory to tillstream_etl_writer;
        grant select, insert, update on inventory.fact_change, inventory.change_annotation,
            inventory.fact_combo, inventory.stock_level, inventory.dim_location,
            inventory.dim_product, inventory.dim_date, inventory.etl_position,
            inventory.location_freshness to tillstream_etl_writer;
        grant execute on function inventory.ensure_change_partition(date)
            to tillstream_etl_writer;
        if to_regprocedure('inventory.refresh_reports(interval)') is not null then
            grant execute on function inventory.refresh_reports(interval) to tillstream_etl_writer;
        end if;
        if not has_database_privilege('tillstream_etl_writer', current_database(), 'TEMPORARY') then
            execute format('grant temporary on database %I to tillstream_etl_writer',
                current_database());
        end if;
    end if;
    if 'tillstream_analyst' <> all (missing) then
        alter default privileges in schema inventory
            revoke select on tables from tillstream_analyst;
        revoke all on all tables in schema inventory from tillstream_analyst;
        grant usage on schema inventory to tillstream_analyst;
        for item in
            select relname from pg_class
            where relnamespace = 'inventory'::regnamespace and relkind in ('r', 'p', 'v')
                and not relispartition and relname <> 'location_access'
        loop
            execute format('grant select on inventory.%I to tillstream_analyst', item.relname);
        end loop;
    end if;
    if missing = '{}' then
        return null;
    end if;
    return format('%s may not create roles, and these are missing: let an administrator run "%s", '
        'then migrate again', current_user,
        (select string_agg(format('create role %I nologin', r), '; ') from unnest(missing) r));
end
$$;
revoke all on function inventory.admit_roles() from public;
comment on function inventory.admit_roles() is
    'Creates the two groups if it can, and grants them what they may do. Safe to repeat.';

create function inventory.add_analyst(
    login name, longest_statement interval default interval '30 seconds'
) returns void
language plpgsql
as $$
begin
    execute format('grant tillstream_analyst to %I', login);
    execute format('alter role %I in database %I set statement_timeout = %L',
        login, current_database(), (extract(epoch from longest_statement) * 1000)::bigint);
    execute format('alter role %I in database %I set default_transaction_read_only = on',
        login, current_database());
    execute format('alter role %I in database %I set search_path = inventory',
        login, current_database());
end
$$;
revoke all on function inventory.add_analyst(name, interval) from public;
comment on function inventory.add_analyst(name, interval) is
    'Makes a login an analyst, with a statement time-out of its own: the settings of a group do '
    'not reach its members. For an administrator.';
"""

UNDO_POLICY = """
alter table inventory.{table} disable row level security;
drop policy by_location on inventory.{table};
"""
UNDO = """
drop function inventory.add_analyst(name, interval);
drop function inventory.admit_roles();
drop function inventory.own_locations();
drop function inventory.sees_all();
drop table inventory.location_access;
do $$
begin
    revoke all on all tables in schema inventory from tillstream_etl_writer;
    revoke all on all functions in schema inventory from tillstream_etl_writer;
    revoke all on schema inventory from tillstream_etl_writer;
exception when undefined_object then
    null;
end
$$;
"""


def upgrade() -> None:
    """Put the roles' grants into one function, and row security beside them."""
    for script in (
        LOCATIONS,
        *(POLICY.format(table=table) for table in OF_A_LOCATION),
        "drop function inventory.admit_analysts();",
        ROLES,
    ):
        _execute(script)


def downgrade() -> None:
    """Let analysts read everything again, as the first migration did; the roles stay."""
    for table in OF_A_LOCATION:
        _execute(UNDO_POLICY.format(table=table))
    _execute(UNDO)
    _execute(context.script.get_revision("0001").module.ANALYSTS)
    _execute("select inventory.admit_analysts()")


def _execute(script: str) -> None:
    # Past SQLAlchemy's own parser, which would take colons and percent signs for parameters.
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
