"""The contracts of `ports.warehouse_repair` and `warehouse_rebuild`, in memory and PostgreSQL."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import psycopg
import pytest

from consumers.embedded import Endpoints
from pipeline.adapters.memory_rebuild import MemoryWarehouseRebuild
from pipeline.adapters.memory_repair import MemoryWarehouseRepair
from pipeline.adapters.memory_warehouse import MemoryWarehouse
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.adapters.postgres.migrations import migrate
from pipeline.adapters.postgres.rebuild import PostgresWarehouseRebuild
from pipeline.adapters.postgres.repair import PostgresWarehouseRepair
from pipeline.core.changes import TableFact
from pipeline.core.instants import DAY
from pipeline.core.reconciling import EVERYTHING, Part
from pipeline.ports.warehouse import Warehouse
from pipeline.ports.warehouse_rebuild import Doubt, WarehouseRebuild
from pipeline.ports.warehouse_repair import Orphan, WarehouseRepair
from tests.contract.test_warehouse_contract import (
    AWKWARD,
    NOON,
    Contents,
    batch,
    change,
    combo,
    contents,
    note,
    stock,
)
from tests.databases import new_database

TRUNCATE = """
truncate inventory.fact_change, inventory.change_annotation, inventory.fact_combo,
    inventory.stock_level, inventory.etl_position, inventory.dim_location, inventory.dim_product,
    inventory.dim_date, inventory.fact_refusal
"""


class House(NamedTuple):
    """A warehouse, and what mends it."""

    warehouse: Warehouse
    repair: WarehouseRepair
    rebuild: WarehouseRebuild
    execute: Callable[[str], None]


@pytest.fixture(scope="module")
def dsn(servers: Endpoints) -> Iterator[str]:
    with new_database(servers.postgres_dsn) as found:
        migrate(found)
        yield found


@pytest.fixture
def postgres(dsn: str) -> Iterator[House]:
    def execute(statement: str) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute(statement.encode())

    execute(TRUNCATE)
    execute("drop schema if exists inventory_rebuild cascade")
    with PostgresWarehouse(dsn) as warehouse:
        rebuild = PostgresWarehouseRebuild(dsn)
        yield House(warehouse, PostgresWarehouseRepair(dsn), rebuild, execute)


@pytest.fixture(params=["memory", "postgres"])
def house(request: pytest.FixtureRequest) -> House:
    if request.param == "postgres":
        found: House = request.getfixturevalue("postgres")
        return found
    held = MemoryWarehouse()
    tables = held.changes, held.effects, held.dimensions
    return House(
        held, MemoryWarehouseRepair(*tables), MemoryWarehouseRebuild(*tables), lambda _: None
    )


ALL: tuple[TableFact, ...] = (change(), change("t2"), note(4), combo(5), stock(6))


def nothing(_: Sequence[Doubt]) -> Sequence[TableFact]:
    """Answer that the tables have nothing of what was asked for."""
    return ()


# ------------------------------------------------------------------------------------- the repairs
def test_rows_are_discarded_that_say_exactly_this(house: House) -> None:
    house.warehouse.load(batch(*ALL))
    house.repair.discard(ALL)
    left = contents(house.warehouse)
    assert (left.changes, left.combos, left.stock) == ({}, {}, {})


@pytest.mark.parametrize(
    "fact",
    [
        change(change=-9),
        change(instant=NOON + 1),
        change(sequence=13),
        note(4)._replace(late=True),
        note(4)._replace(combo_ids=("c0",)),
        combo(5)._replace(quantity=9),
        stock(6)._replace(revision=7),
    ],
)
def test_row_that_says_anything_else_stays(house: House, fact: TableFact) -> None:
    house.warehouse.load(batch(*ALL))
    before = contents(house.warehouse)
    house.repair.discard([fact])
    assert contents(house.warehouse) == before


def test_row_that_was_discarded_can_be_loaded_again(house: House) -> None:
    house.warehouse.load(batch(change(change=-9)))
    house.repair.discard([change(change=-9)])
    house.warehouse.load(batch(change(), last=2))
    assert list(contents(house.warehouse).changes) == [(change(), None)]


@pytest.mark.parametrize("awkward", AWKWARD)
def test_awkward_rows_are_discarded(house: House, awkward: str) -> None:
    odd = change(awkward, location=awkward, product_id=awkward)
    house.warehouse.load(batch(odd))
    house.repair.discard([odd])
    assert not contents(house.warehouse).changes


def test_loaded_warehouse_has_no_orphans(house: House) -> None:
    house.warehouse.load(batch(*ALL))
    assert list(house.repair.orphans()) == []


def test_dimension_rows_that_nothing_uses_are_orphans_until_mended(house: House) -> None:
    house.warehouse.load(batch(change(location="GB-9", product_id="J9"), change()))
    house.repair.discard([change(location="GB-9", product_id="J9")])
    found = list(house.repair.orphans())
    assert found == [Orphan("location", "GB-9", False), Orphan("product", "J9", False)]
    house.repair.mend(found)
    assert list(house.repair.orphans()) == []


def test_dimension_row_that_is_used_after_all_stays(house: House) -> None:
    house.warehouse.load(batch(change()))
    house.repair.mend([Orphan("location", "GB-1", False), Orphan("product", "J1", False)])
    assert list(house.repair.orphans()) == []


def test_missing_dimension_rows_are_found_and_come_back(postgres: House) -> None:
    postgres.warehouse.load(batch(change()))
    for table in ("dim_location", "dim_product", "dim_date"):
        postgres.execute(f"delete from inventory.{table}")
    missing = [("location", "GB-1"), ("product", "J1"), ("date", "2011-10-03")]
    found = list(postgres.repair.orphans())
    assert found == [Orphan(dimension, key, True) for dimension, key in missing]  # type: ignore[arg-type] # dimensions, all three
    postgres.repair.mend(found)
    postgres.warehouse.load(batch(change(), last=2))
    assert list(postgres.repair.orphans()) == []


def test_location_that_was_set_up_by_hand_is_no_orphan(postgres: House) -> None:
    postgres.execute("insert into inventory.dim_location values ('GB-2', 'Europe/London')")
    assert list(postgres.repair.orphans()) == []


# ------------------------------------------------------------------------------------- the rebuild
def rebuilt(house: House, facts: Sequence[TableFact], part: Part = EVERYTHING) -> Contents:
    house.rebuild.begin(part, 1)
    house.rebuild.stage("all", facts, last=True)
    assert house.rebuild.swap(nothing, remove_unknown=True).done
    return contents(house.warehouse)


def loaded(facts: Sequence[TableFact]) -> Contents:
    empty = MemoryWarehouse()
    empty.load(batch(*facts))
    return contents(empty)


def test_empty_warehouse_is_filled(house: House) -> None:
    assert rebuilt(house, ALL) == loaded(ALL)
    assert list(house.repair.orphans()) == []


def test_repeated_facts_are_one_row_of_the_highest_revision(house: House) -> None:
    assert rebuilt(house, [*ALL, combo(7), *ALL, note(9)]) == loaded([*ALL, combo(7), note(9)])


def test_wrong_rows_are_replaced_and_unknown_ones_removed(house: House) -> None:
    wrong: list[TableFact] = [
        change(change=-9),
        change("t3"),
        note(4)._replace(late=True),
        note(9, "t2"),
        combo(5)._replace(quantity=99),
        combo(9, "c9"),
        stock(900),
        stock(1, "J9"),
    ]
    house.warehouse.load(batch(*wrong))
    assert rebuilt(house, ALL) == loaded(ALL)


def test_row_at_the_wrong_instant_is_moved(house: House) -> None:
    house.warehouse.load(batch(change(instant=NOON + 40 * DAY)))
    assert rebuilt(house, ALL) == loaded(ALL)


def test_position_is_left_alone(house: House) -> None:
    house.warehouse.load(batch(change(), last=7))
    rebuilt(house, ALL)
    assert house.warehouse.position("etl", "shard-1") == (7, 0)


def test_facts_that_were_loaded_meanwhile_stay(house: House) -> None:
    late: list[TableFact] = [change("t3"), note(8), combo(9), stock(10), combo(1, "c2")]
    house.warehouse.load(batch(*ALL))
    house.rebuild.begin(EVERYTHING, 1)
    house.rebuild.stage("all", ALL, last=True)
    house.warehouse.load(batch(*late, last=2))
    asked: list[Doubt] = []

    def read(doubts: Sequence[Doubt]) -> Sequence[TableFact]:
        asked.extend(doubts)
        return late

    assert house.rebuild.swap(read, remove_unknown=False).done
    assert contents(house.warehouse) == loaded([*ALL, *late])
    assert {doubt.key for doubt in asked} == {
        ("change", "GB-1", "t3"),
        ("annotation", "GB-1", "t1"),
        ("combo", "c1"),
        ("combo", "c2"),
        ("stock", "GB-1", "J1"),
    }


def test_facts_that_are_loaded_during_the_swap_stay(postgres: House) -> None:
    """A loader comes in after the first look for doubts, and before the lock."""
    postgres.warehouse.load(batch(change("strange"), *ALL))
    postgres.rebuild.begin(EVERYTHING, 1)
    postgres.rebuild.stage("all", ALL, last=True)
    late: list[TableFact] = [combo(9), change("t3")]
    rounds: list[Sequence[Doubt]] = []

    def read(doubts: Sequence[Doubt]) -> Sequence[TableFact]:
        rounds.append(doubts)
        if len(rounds) == 1:
            postgres.warehouse.load(batch(*late, last=2))
            return ()
        return late

    assert postgres.rebuild.swap(read, remove_unknown=True).done
    assert contents(postgres.warehouse) == loaded([*ALL, *late])
    assert [len(doubts) for doubts in rounds] == [1, 2]


def test_readers_see_the_old_part_until_the_swap(house: House) -> None:
    house.warehouse.load(batch(change(change=-9)))
    house.rebuild.begin(EVERYTHING, 1)
    house.rebuild.stage("all", ALL, last=True)
    assert contents(house.warehouse) == loaded([change(change=-9)])


def test_reader_in_the_middle_of_a_report_is_not_disturbed(postgres: House) -> None:
    many = [change(f"t{number}") for number in range(20_000)]
    postgres.warehouse.load(batch(*many))
    reading = postgres.warehouse.rows().changes
    seen = 1 if next(reading) else 0
    rebuilt(postgres, ALL)
    assert seen + sum(1 for _ in reading) == 20_000


def test_unknown_changes_are_not_removed_unasked(house: House) -> None:
    house.warehouse.load(batch(*ALL, change("t3"), change("t4")))
    house.rebuild.begin(EVERYTHING, 1)
    house.rebuild.stage("all", ALL, last=True)
    refused = house.rebuild.swap(nothing, remove_unknown=False)
    assert (refused.done, refused.unknown) == (False, 2)
    assert contents(house.warehouse) == loaded([*ALL, change("t3"), change("t4")])
    assert house.rebuild.begin(EVERYTHING, 1) == {"all"}


def test_totals_are_those_of_both_sides(house: House) -> None:
    house.warehouse.load(batch(change(change=-9), combo(5), stock(2)))
    house.rebuild.begin(EVERYTHING, 1)
    house.rebuild.stage("all", ALL, last=True)
    before, after = house.rebuild.swap(nothing, remove_unknown=True)[2:]
    assert [tuple(total) for total in before] == [(1, 9, -9), (1, 5, 0), (1, -2)]
    assert [tuple(total) for total in after] == [(2, 2, -2), (1, 5, 0), (1, -6)]


# ------------------------------------------------------------------------------------------ parts
ELSEWHERE: tuple[TableFact, ...] = (
    change("t5", location="GB-2"),
    note(3, "t5", "GB-2"),
    combo(3, "c3", "GB-2"),
    stock(3, location="GB-2"),
)


def test_other_locations_are_left_alone(house: House) -> None:
    house.warehouse.load(batch(change(change=-9), stock(2), *ELSEWHERE))
    assert rebuilt(house, ALL, Part("GB-1")) == loaded([*ALL, *ELSEWHERE])


def test_earlier_days_are_left_alone(house: House) -> None:
    earlier = change("t0", instant=NOON - DAY), note(2, "t0"), combo(2, "c0")
    old = earlier[0], earlier[1], earlier[2]._replace(paired_at=NOON - DAY)
    house.warehouse.load(batch(*old, change("t9"), note(9, "t9"), combo(5, "c9")))
    since = Part(since=NOON - DAY // 2)
    assert rebuilt(house, ALL, since) == loaded([*ALL, *old])


# --------------------------------------------------------------------------------------- resuming
def test_rebuild_that_broke_off_goes_on(house: House) -> None:
    house.rebuild.begin(EVERYTHING, 4)
    house.rebuild.stage("one", [change()], last=True)
    house.rebuild.stage("two", [change("t2")], last=False)
    assert house.rebuild.begin(EVERYTHING, 4) == {"one"}
    house.rebuild.stage("two", [change("t2"), change("t3")], last=True)
    house.rebuild.swap(nothing, remove_unknown=False)
    assert contents(house.warehouse) == loaded([change(), change("t2"), change("t3")])


@pytest.mark.parametrize(("part", "segments"), [(Part("GB-1"), 4), (EVERYTHING, 5)])
def test_another_rebuild_starts_anew(house: House, part: Part, segments: int) -> None:
    house.rebuild.begin(EVERYTHING, 4)
    house.rebuild.stage("one", [change()], last=True)
    assert house.rebuild.begin(part, segments) == frozenset()


def test_rebuild_that_was_discarded_starts_anew(house: House) -> None:
    house.rebuild.begin(EVERYTHING, 4)
    house.rebuild.stage("one", [change()], last=True)
    house.rebuild.discard()
    assert house.rebuild.begin(EVERYTHING, 4) == frozenset()


def test_rebuild_that_was_swapped_in_starts_anew(house: House) -> None:
    rebuilt(house, ALL)
    assert house.rebuild.begin(EVERYTHING, 1) == frozenset()


def test_rebuild_of_yesterday_starts_anew(postgres: House) -> None:
    postgres.rebuild.begin(EVERYTHING, 4)
    postgres.rebuild.stage("one", [change()], last=True)
    postgres.execute("update inventory_rebuild.job set begun_at = begun_at - interval '25 hours'")
    assert postgres.rebuild.begin(EVERYTHING, 4) == frozenset()


def test_product_is_described_by_its_earliest_row_that_is_left(postgres: House) -> None:
    junk = change("t0", instant=NOON - DAY, category="tie")
    postgres.warehouse.load(batch(junk, change()))
    rebuilt(postgres, ALL)
    described = "select category from inventory.dim_product where product_id = 'J1'"
    postgres.execute(f"do $$ begin assert ({described}) = 'jacket'; end $$")
