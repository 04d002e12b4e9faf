"""docs/queries.md: its SQL answers what the page prints, and what the page prints is right.

`make docs` writes the answers anew (`pytest --rewrite-docs` on this file); SQL and prose are
written by hand. A wrong query would then print a wrong answer faithfully, so the numbers of most
are computed a second time here, in plain Python, from the rows of the run that filled the
warehouse.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from statistics import median_low
from typing import TypeAlias
from zoneinfo import ZoneInfo

import psycopg
import pytest

from pipeline.core.changes import ChangeRecorded, ComboChanged, ComboStatus
from tests import query_page
from tests.databases import analyst_login
from tests.query_page import Question, Row
from tests.sample_warehouse import SampleWarehouse
from tests.warehouse_facts import ask

PAGE = query_page.read()
questions = pytest.mark.parametrize("question", PAGE.questions, ids=lambda q: q.title)
SESSION = "-c TimeZone=UTC -c IntervalStyle=postgres -c DateStyle=ISO"


def answer(dsn: str, sql: str) -> list[Row]:
    """Ask as written and return what psql would show, with the names of the columns first."""
    with psycopg.connect(dsn, options=SESSION) as analyst:
        cursor = analyst.execute(sql.encode())
        assert cursor.description is not None and cursor.pgresult is not None
        found = cursor.pgresult
        names = tuple(column.name for column in cursor.description)
        cells = (
            [(found.get_value(row, at) or b"").decode() for at in range(found.nfields)]
            for row in range(found.ntuples)
        )
        return [names, *map(tuple, cells)]


@pytest.fixture(scope="module")
def printed(
    sample_warehouse: SampleWarehouse, request: pytest.FixtureRequest
) -> Mapping[int, Question]:
    """The page, with answers that were just written if that was asked for."""
    if request.config.getoption("--rewrite-docs"):
        found = {q.number: answer(sample_warehouse.analyst, q.sql) for q in PAGE.questions}
        query_page.write_answers(found)
    return {question.number: question for question in query_page.read().questions}


@questions
def test_an_analyst_gets_the_answer_that_is_printed(
    sample_warehouse: SampleWarehouse, printed: Mapping[int, Question], question: Question
) -> None:
    found = answer(sample_warehouse.analyst, question.sql)
    assert found == [*printed[question.number].answer], "run `make docs`, and look at what changed"
    assert 2 <= len(found) <= 15


@pytest.fixture(scope="module")
def only_gb_1(sample_warehouse: SampleWarehouse) -> Iterator[str]:
    """An analyst who sees one location."""
    with analyst_login(sample_warehouse.owner, "GB-1") as dsn:
        yield dsn


@questions
def test_an_analyst_of_one_location_is_told_of_no_other(only_gb_1: str, question: Question) -> None:
    names, *rows = answer(only_gb_1, question.sql)
    where = [at for at, name in enumerate(names) if name == "location"]
    assert {row[at] for row in rows for at in where} <= {"GB-1", "all of them"}


def plan(dsn: str, sql: str) -> str:
    """Return how the server goes about it."""
    return "\n".join(line for (line,) in answer(dsn, f"explain {sql}"))


@pytest.mark.parametrize("number", [10, 11])
def test_a_question_by_time_reads_the_partition_of_its_month_alone(
    sample_warehouse: SampleWarehouse, number: int
) -> None:
    found = plan(sample_warehouse.analyst, PAGE.questions[number - 1].sql)
    assert set(re.findall(r"fact_change_\d+_\d+", found)) == {"fact_change_2011_10"}


@pytest.mark.parametrize(
    "condition", ["transaction_id = 'own-3'", "ingested_at >= '2011-10-09 00:00Z'"]
)
def test_what_does_not_name_the_time_reads_every_month(
    sample_warehouse: SampleWarehouse, condition: str
) -> None:
    found = plan(sample_warehouse.analyst, f"select from change where {condition}")
    months = {f"fact_change_2011_{month}" for month in ("06", "07", "10")}
    assert set(re.findall(r"fact_change_\d+_\d+", found)) == months


# ------------------------------------------------------------------------- a second time, by hand
class Sample:
    """The rows of the run, and the clocks of the shops."""

    def __init__(self, warehouse: SampleWarehouse) -> None:
        tables = warehouse.tables
        self.changes = list(tables.changes.values())
        self.rows = tables.changes
        self.late = {key for key, note in tables.notes.items() if note.late}
        self.stock = list(tables.stock.values())
        self.combos = [c for c in tables.combos.values() if c.status is not ComboStatus.RETRACTED]
        self.tills = [row for row in self.changes if row.source == "POS"]
        self.sales = [row for row in self.tills if row.change < 0]
        zones = ask(warehouse.owner, "select location, time_zone from inventory.dim_location")
        self.zones = {location: ZoneInfo(name) for location, name in zones}

    def jacket(self, combo: ComboChanged) -> ChangeRecorded:
        """Return the jacket's row."""
        return self.rows[combo.location, combo.jacket_transaction_id]

    def pants(self, combo: ComboChanged) -> ChangeRecorded:
        """Return the pants' row."""
        return self.rows[combo.location, combo.pants_transaction_id]

    def local(self, row: ChangeRecorded) -> datetime:
        """Return when it happened by the clock of its shop."""
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row.instant)
        return instant.astimezone(self.zones[row.location])


@pytest.fixture(scope="module")
def by_hand(sample_warehouse: SampleWarehouse) -> Sample:
    """What is computed from."""
    return Sample(sample_warehouse)


Printed: TypeAlias = Mapping[int, Question]


def rows(printed: Printed, number: int, *names: str) -> list[Row]:
    """Return some columns of an answer."""
    head, *found = printed[number].answer
    places = [head.index(name) for name in names]
    return [tuple(row[place] for place in places) for row in found]


def percent(part: int, whole: int) -> str:
    """Round half up, to one digit."""
    return str((Decimal(100 * part) / whole).quantize(Decimal("0.1"), ROUND_HALF_UP))


def test_1_jackets_without_pants_at_weekends(printed: Printed, by_hand: Sample) -> None:
    sold: Counter[str] = Counter()
    paired: Counter[str] = Counter()
    for row in by_hand.sales:
        if row.category == "jacket" and by_hand.local(row).isoweekday() >= 6:
            sold[row.location] -= row.change
    for combo in by_hand.combos:
        if by_hand.local(by_hand.jacket(combo)).isoweekday() >= 6:
            paired[combo.location] += combo.quantity + combo.voided
    shops = [place for place in sold if sold[place] >= 20]
    shops.sort(key=lambda place: (paired[place] - sold[place], place))
    assert rows(printed, 1, *printed[1].answer[0]) == [
        (p, str(sold[p]), str(sold[p] - paired[p]), percent(paired[p], sold[p])) for p in shops
    ]


def test_2_suits_that_attach_worse_than_usual(printed: Printed, by_hand: Sample) -> None:
    suits = {row.base_product_id for row in by_hand.changes if row.category == "pants"} - {"47591"}
    sold: Counter[str] = Counter()
    paired: Counter[str] = Counter()
    for row in by_hand.sales:
        if row.category == "jacket" and row.base_product_id in suits:
            sold[row.base_product_id] -= row.change
    for combo in by_hand.combos:
        paired[combo.base_product_id] += combo.quantity + combo.voided
    usual = Fraction(paired.total(), sold.total())
    to_win = {suit: round(sold[suit] * usual - paired[suit]) for suit in sold if sold[suit] >= 300}
    best = sorted(to_win, key=lambda suit: (-to_win[suit], suit))[:5]
    wanted = [(s, str(sold[s]), str(paired[s]), str(to_win[s])) for s in best]
    names = ("base_product_id", "jackets_sold", "with_pants", "pairs_to_win")
    assert rows(printed, 2, *names) == wanted


def test_3_time_between_jacket_and_pants(printed: Printed, by_hand: Sample) -> None:
    gaps: defaultdict[str, list[timedelta]] = defaultdict(list)
    for combo in by_hand.combos:
        gap = abs(by_hand.local(by_hand.jacket(combo)) - by_hand.local(by_hand.pants(combo)))
        gaps[combo.location].append(gap)
        gaps["all of them"].append(gap)
    wanted = {
        (place, str(len(found)), f"0{median_low(found)}")
        for place, found in gaps.items()
        if len(found) >= 50
    }
    assert set(rows(printed, 3, "location", "combos", "median")) == wanted


def test_4_what_leaves_together(printed: Printed, by_hand: Sample) -> None:
    units: Counter[tuple[str, str]] = Counter()
    for combo in by_hand.combos:
        pair = by_hand.jacket(combo).product_id, by_hand.pants(combo).product_id
        units[pair] += combo.quantity
    best = sorted(units, key=lambda pair: (-units[pair], pair))[:6]
    names = ("jacket_product_id", "pants_product_id", "units", "percent")
    assert rows(printed, 4, *names) == [
        (*pair, str(units[pair]), percent(units[pair], units.total())) for pair in best
    ]


def test_5_combos_that_returns_undid(printed: Printed, by_hand: Sample) -> None:
    wanted = {
        (by_hand.jacket(c).product_id, by_hand.pants(c).product_id, str(c.quantity), str(c.voided))
        for c in by_hand.combos
        if c.voided
    }
    names = ("jacket_product_id", "pants_product_id", "units_standing", "units_returned")
    assert set(rows(printed, 5, *names)) == wanted


def test_6_fiscal_weeks(printed: Printed, by_hand: Sample) -> None:
    units: Counter[date] = Counter()
    days: defaultdict[date, set[date]] = defaultdict(set)
    for row in by_hand.tills:
        day = by_hand.local(row).date()
        sunday = day - timedelta(days=day.isoweekday() % 7)
        units[sunday] += max(-row.change, 0)
        days[sunday].add(day)
    first = date(2011, 1, 30)  # of fiscal 2011, as the NRF published it
    assert rows(printed, 6, "fiscal_week", "begins", "days", "units") == [
        (str((week - first).days // 7 + 1), str(week), str(len(days[week])), str(units[week]))
        for week in sorted(units)
    ]


def test_7_busiest_hours(printed: Printed, by_hand: Sample) -> None:
    units: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for row in by_hand.sales:
        units[row.location][by_hand.local(row).hour] -= row.change
    wanted = []
    for place, hours in sorted(units.items()):
        (hour, most), *_ = hours.most_common(1)
        if hours.total() >= 2_000:
            wanted.append((place, str(hour), percent(most, hours.total())))
    assert rows(printed, 7, "location", "shop_hour", "percent_of_units") == wanted


def test_8_negative_stock(printed: Printed, by_hand: Sample) -> None:
    levels: defaultdict[str, list[int]] = defaultdict(list)
    for level in by_hand.stock:
        levels[level.location].append(level.on_hand)
    wanted = {
        (place, str(len(found)), str(sum(n < 0 for n in found)), str(sum(found)), str(min(found)))
        for place, found in levels.items()
        if len(found) >= 500
    }
    names = ("location", "products", "negative", "units", "lowest")
    assert set(rows(printed, 8, *names)) == wanted


def test_9_products_that_come_back(printed: Printed, by_hand: Sample) -> None:
    sold: Counter[str] = Counter()
    returned: Counter[str] = Counter()
    for row in by_hand.tills:
        (sold if row.change < 0 else returned)[row.product_id] += abs(row.change)
    often = [product for product in returned if sold[product] >= 100]
    often.sort(key=lambda product: (-Fraction(returned[product], sold[product]), product))
    names = ("product_id", "units_sold", "units_returned", "return_percent")
    assert rows(printed, 9, *names) == [
        (p, str(sold[p]), str(returned[p]), percent(returned[p], sold[p])) for p in often[:5]
    ]


def test_10_late_arrivals(printed: Printed, by_hand: Sample) -> None:
    october = [row for row in by_hand.changes if by_hand.local(row).month == 10]
    limits = {"up to 1 minute": 60, "up to 2 minutes": 120, "up to 1 hour": 3_600}
    counts: Counter[tuple[str, str]] = Counter()
    late: Counter[tuple[str, str]] = Counter()
    for row in october:
        delay_s = (row.ingested_at - row.instant) / 1_000_000
        bucket = next((name for name, limit in limits.items() if delay_s <= limit), "longer")
        counts[row.source, bucket] += 1
        late[row.source, bucket] += (row.location, row.transaction_id) in by_hand.late
    wanted = {(*key, str(counts[key]), str(late[key])) for key in counts}
    assert set(rows(printed, 10, "source", "arrived_after", "changes", "late")) == wanted


def test_12_shops_that_traded_on_a_day(printed: Printed, by_hand: Sample) -> None:
    shops: defaultdict[str, set[str]] = defaultdict(set)
    for row in by_hand.sales:
        shops[str(by_hand.local(row).date())].add(row.location)
    wanted = [(day, str(len(shops[day]))) for day in ("2011-10-07", "2011-10-09")]
    assert rows(printed, 12, "date", "locations") == wanted


def test_13_products_in_two_ways(printed: Printed, by_hand: Sample) -> None:
    said: defaultdict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for row in by_hand.changes:
        known = said[row.product_id].setdefault((row.base_product_id, row.category), row.instant)
        said[row.product_id][row.base_product_id, row.category] = min(known, row.instant)
    wanted = {
        (product, min(ways, key=ways.__getitem__)[0], base)
        for product, ways in said.items()
        for base, _ in sorted(ways, key=ways.__getitem__)[1:]
    }
    assert set(rows(printed, 13, "product_id", "stands", "also_said")) == wanted


def test_14_what_came_twice(printed: Printed, sample_warehouse: SampleWarehouse) -> None:
    first: dict[str, Mapping[str, str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for data in sample_warehouse.delivered:
        event = json.loads(data)
        source = event.pop("source")
        held = first.setdefault(event["transaction_id"], event)
        verdict = "accepted" if held is event else "duplicate" if held == event else "conflict"
        counts[source, verdict] += 1
        counts[source, "all"] += 1
    names = ("source", "deliveries", "accepted", "duplicates", "conflicts")
    assert rows(printed, 14, *names) == [
        (s, *(str(counts[s, name]) for name in ("all", "accepted", "duplicate", "conflict")))
        for s in ("POS", "batch")
    ]
