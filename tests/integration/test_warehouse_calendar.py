"""The fiscal 4-5-4 calendar of `dim_date`, against what was published and what the rule implies."""

from collections.abc import Iterator

import psycopg
import pytest

from pipeline.adapters.postgres.migrations import migrate
from tests.databases import new_database
from tests.warehouse_facts import ask, load, sold

# As the National Retail Federation published them: first and last days of fiscal years, and the
# months of 2024.
FISCAL_YEARS = {
    2011: ("2011-01-30", "2012-01-28", 52),
    2012: ("2012-01-29", "2013-02-02", 53),
    2017: ("2017-01-29", "2018-02-03", 53),
    2018: ("2018-02-04", "2019-02-02", 52),
    2020: ("2020-02-02", "2021-01-30", 52),
    2023: ("2023-01-29", "2024-02-03", 53),
    2024: ("2024-02-04", "2025-02-01", 52),
}
FISCAL_MONTHS_2024 = [
    "2024-02-04", "2024-03-03", "2024-04-07", "2024-05-05", "2024-06-02", "2024-07-07",
    "2024-08-04", "2024-09-01", "2024-10-06", "2024-11-03", "2024-12-01", "2025-01-05",
]  # fmt: skip


@pytest.fixture(scope="module")
def calendar(postgres_server: str) -> Iterator[str]:
    """A warehouse with every date of 2000 to 2040."""
    with new_database(postgres_server) as database:
        migrate(database)
        with psycopg.connect(database) as connection:
            connection.execute(
                "insert into inventory.dim_date (date)"
                " select d::date from generate_series(date '2000-01-01', '2040-12-31', '1 day') d"
            )
        yield database


@pytest.mark.parametrize(("year", "known"), FISCAL_YEARS.items())
def test_a_fiscal_year_is_as_published(
    calendar: str, year: int, known: tuple[str, str, int]
) -> None:
    query = "select min(date)::text, max(date)::text, max(fiscal_week) from inventory.dim_date"
    assert ask(calendar, f"{query} where fiscal_year = {year}") == [known]


def test_fiscal_months_have_4_5_and_4_weeks_as_published(calendar: str) -> None:
    query = "select min(date)::text from inventory.dim_date where fiscal_year = 2024"
    found = ask(calendar, f"{query} group by fiscal_month order by fiscal_month")
    assert found == [(day,) for day in FISCAL_MONTHS_2024]


def test_the_53rd_week_belongs_to_the_last_month(calendar: str) -> None:
    query = "select distinct fiscal_year, fiscal_quarter, fiscal_month from inventory.dim_date"
    found = ask(calendar, f"{query} where fiscal_week = 53 and date < '2030-01-01' order by 1")
    assert found == [(year, 4, 12) for year in (2000, 2006, 2012, 2017, 2023, 2028)]


def test_fiscal_weeks_begin_on_sunday_and_have_seven_days(calendar: str) -> None:
    query = """
    select count(*), min(begins), max(begins), min(days), max(days)
    from (
        select extract(dow from min(date)) as begins, count(*) as days from inventory.dim_date
        where fiscal_year between 2000 and 2039 group by fiscal_year, fiscal_week
    ) w
    """
    ((weeks, *rest),) = ask(calendar, query)
    assert (weeks in range(52 * 40 + 6, 52 * 40 + 9), rest) == (True, [0, 0, 7, 7])


def test_months_that_come_one_after_the_other_have_all_their_days(postgres_server: str) -> None:
    with new_database(postgres_server) as dsn:
        migrate(dsn)
        for last, month in enumerate(("06", "07", "05"), 1):
            load(dsn, sold(f"t{month}", "J1", -1, f"2011-{month}-15T12:00:00Z"), last=last)
        query = "select count(*), min(date)::text, max(date)::text from inventory.dim_date"
        assert ask(dsn, query) == [(31 + 30 + 31 + 2, "2011-04-30", "2011-08-01")]
