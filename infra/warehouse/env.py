"""Alembic's environment: run the migrations on the connection that the caller hands over.

Only `pipeline.adapters.postgres.migrations` may call this: it holds the lock and the transaction.
There is no alembic.ini, since the DSN would then have a second home.
"""

from alembic import context
from sqlalchemy import Connection

SCHEMA = "inventory"

connection = context.config.attributes.get("connection")
if not isinstance(connection, Connection):
    raise RuntimeError("no connection was handed over: migrate through tillstream, not alembic")

context.configure(connection=connection, version_table_schema=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
