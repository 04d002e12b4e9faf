"""Questions at a glance, asked of the analysts' views; of a replica, where there is one.

One connection a question: they are asked once in a while, by people. What the views have stored is
as old as its last refresh.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.adapters.postgres.server import PostgresServer, server
from pipeline.ports.reports import Fall, Seller

_BEST_SELLERS = """
select product_id, units_sold, units_returned
from inventory.sales_by_product where units_sold > 0
order by units_sold desc, product_id collate "C" limit %s
"""
_STEEPEST_FALLS = """
select product_id, stock_change
from inventory.sales_by_product where stock_change < 0
order by stock_change, product_id collate "C" limit %s
"""


class PostgresReports:
    """`ports.reports.Reports`."""

    def __init__(self, where: str | PostgresServer) -> None:
        self._server = server(where)

    def best_sellers(self, limit: int) -> Sequence[Seller]:
        """Ask the view of sales by product."""
        return [Seller(*row) for row in self._ask(_BEST_SELLERS, limit)]

    def steepest_falls(self, limit: int) -> Sequence[Fall]:
        """Sum the changes of every source."""
        return [Fall(*row) for row in self._ask(_STEEPEST_FALLS, limit)]

    def _ask(self, question: str, limit: int) -> list[tuple[Any, ...]]:
        with self._server.transaction() as connection:
            return connection.execute(question, (limit,)).fetchall()
