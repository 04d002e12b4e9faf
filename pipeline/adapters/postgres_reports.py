"""The demo's questions to PostgreSQL, asked of the analysts' views. One connection a question."""

from collections.abc import Sequence
from typing import Any

import psycopg

from pipeline.core.errors import SystemFault
from pipeline.ports.reports import Fall, Seller

_BEST_SELLERS = """
select product_id, units_sold, units_returned
from inventory.product_sales where units_sold > 0
order by units_sold desc, product_id collate "C" limit %s
"""
_STEEPEST_FALLS = """
select product_id, sum(change)::bigint as stock_change
from inventory.fact_change
group by product_id having sum(change) < 0
order by stock_change, product_id collate "C" limit %s
"""


class PostgresReports:
    """`ports.reports.Reports`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def best_sellers(self, limit: int) -> Sequence[Seller]:
        """Ask the view of sales by product."""
        return [Seller(*row) for row in self._ask(_BEST_SELLERS, limit)]

    def steepest_falls(self, limit: int) -> Sequence[Fall]:
        """Sum the changes of every source."""
        return [Fall(*row) for row in self._ask(_STEEPEST_FALLS, limit)]

    def _ask(self, question: str, limit: int) -> list[tuple[Any, ...]]:
        try:
            with psycopg.connect(self._dsn) as connection:
                return connection.execute(question, (limit,)).fetchall()
        except psycopg.Error as fault:
            raise SystemFault(f"PostgreSQL: {str(fault).partition(chr(10))[0]}") from fault
