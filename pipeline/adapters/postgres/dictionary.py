"""The data dictionary, from PostgreSQL's own catalogue.

Asked of `pg_catalog` and not of `information_schema`, which knows no comments, no materialised
views and no partitions. Everybody may read the catalogue, also of what they may not read
themselves, so each query asks for the login's privileges.
"""

from collections import defaultdict

from pipeline.adapters.postgres.server import PostgresServer, server
from pipeline.core.errors import SystemFault
from pipeline.ports.dictionary import Column, Described, Function, Relation

# One snapshot for three questions. Types and defaults are spelt by the session's settings, which a
# login may have set otherwise.
_READ_ONLY = """
set transaction isolation level repeatable read read only;
set local search_path to pg_catalog;
set local intervalstyle to postgres
"""
_RELATIONS = """
select c.relname::text,
    case c.relkind when 'r' then 'table' when 'p' then 'partitioned table'
        when 'v' then 'view' else 'materialized view' end,
    coalesce(obj_description(c.oid, 'pg_class'), ''),
    pg_get_partkeydef(c.oid),
    array(
        select distinct o.relname::text collate "C"
        from pg_rewrite r
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
            and d.refclassid = 'pg_class'::regclass and d.refobjid <> c.oid
        join pg_class o on o.oid = d.refobjid
        where r.ev_class = c.oid
        order by 1),
    coalesce(
        has_table_privilege(to_regrole('tillstream_analyst')::oid, c.oid, 'select'), false)
from pg_class c
where c.relnamespace = to_regnamespace('inventory') and c.relkind in ('r', 'p', 'v', 'm')
    and not c.relispartition and has_table_privilege(c.oid, 'select')
order by c.relname::text collate "C"
"""
_COLUMNS = """
select c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
    case when c.relkind in ('r', 'p') then not a.attnotnull end,
    (select k.place from unnest(i.indkey) with ordinality k (attnum, place)
        where k.attnum = a.attnum),
    coalesce(col_description(c.oid, a.attnum), '')
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join lateral (
    select indkey from pg_index
    where indrelid = c.oid and (indisprimary or c.relkind = 'm' and indisunique)
    order by indexrelid limit 1
) i on true
where c.relnamespace = to_regnamespace('inventory')
order by c.oid, a.attnum
"""
_FUNCTIONS = """
select p.proname::text, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
    obj_description(p.oid, 'pg_proc'),
    case when has_function_privilege('public', p.oid, 'execute') then 'everybody'
        when has_function_privilege(to_regrole('tillstream_etl_writer')::oid, p.oid, 'execute')
            then 'loader'
        else 'owner' end
from pg_proc p
where p.pronamespace = to_regnamespace('inventory')
    and obj_description(p.oid, 'pg_proc') is not null
    and has_function_privilege(p.oid, 'execute')
order by p.proname::text collate "C", 2
"""


class PostgresDictionary:
    """`ports.dictionary.Dictionary`. One connection a call: it is asked once in a while."""

    def __init__(self, where: str | PostgresServer) -> None:
        self._server = server(where)

    def read(self) -> Described:
        """Ask the catalogue what this login may read and call."""
        columns: defaultdict[str, list[Column]] = defaultdict(list)
        with self._server.transaction(_READ_ONLY) as connection:
            relations = connection.execute(_RELATIONS).fetchall()
            for relation, *column in connection.execute(_COLUMNS):
                columns[relation].append(Column(*column))
            functions = connection.execute(_FUNCTIONS).fetchall()
        if not relations:
            raise SystemFault(
                "this login may read nothing in the schema inventory (has the warehouse been"
                " migrated, and is the login an analyst?)"
            )
        return Described(
            [Relation._make((*row, columns[row[0]])) for row in relations],
            [Function(*row) for row in functions],
        )
