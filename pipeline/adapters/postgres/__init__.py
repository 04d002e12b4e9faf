"""The warehouse on PostgreSQL, a module a role: loader, upkeep, reports, migrations.

Only the loader is imported here: whoever loads needs neither Alembic nor SQLAlchemy.
"""

from pipeline.adapters.postgres.server import PostgresServer
from pipeline.adapters.postgres.warehouse import PostgresWarehouse, TimeLimits

__all__ = ["PostgresServer", "PostgresWarehouse", "TimeLimits"]
