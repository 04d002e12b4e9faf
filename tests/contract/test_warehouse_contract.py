"""The contract of `ports.warehouse`, kept alike by PostgreSQL and by the one in memory."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, permutations
from typing import Any, NamedTuple

import pytest

from pipeline.adapters.memory_warehouse import MemoryWarehouse
from pipeline.adapters.postgres import PostgresWarehouse
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    DeliveryRefused,
    Effect,
    Fact,
    RefusedAs,
    StockChanged,
)
from pipeline.core.errors import FellBehind, ValueRefused
from pipeline.core.instants import EARLIEST, parse_instant
from pipeline.ports.warehouse import FactBatch, Warehouse

NOON = parse_instant("2011-10-03T12:00:00.000001Z")
SEQUENCE_129_DIGITS = 10**129 - 1
AWKWARD = [
    "O'Neill",
    'say "hi"',
    "back\\slash",
    "\\N",
    "100 % %s {0}",
    "🧥👖",
    "null",
    "{a,b}",
    "e\u0301",
    "\u00e9",
    "\ufeffx",
    "\U0010ffff",
    "é" * 128,
]


def change(transaction_id: str = "t1", **fields: Any) -> ChangeRecorded:
    row = ChangeRecorded(
        "GB-1", transaction_id, "J1", "1", "jacket", -1, NOON, "POS", "shard-7", 12, 3, NOON + 5
    )
    return row._replace(**fields)


def note(revision: int, transaction_id: str = "t1", location: str = "GB-1") -> ChangeAnnotated:
    return ChangeAnnotated(location, transaction_id, (f"c{revision}", "c0"), 2, False, revision)


def combo(revision: int, combo_id: str = "c1", location: str = "GB-1") -> ComboChanged:
    status = ComboStatus.ACTIVE
    return ComboChanged(combo_id, location, "1", "t1", "t2", NOON, revision, 0, status, revision)


def stock(revision: int, product_id: str = "J1", location: str = "GB-1") -> StockChanged:
    return StockChanged(location, product_id, -revision, revision)


def batch(*facts: Fact, last: int = 1, shard_id: str = "shard-1") -> FactBatch:
    return FactBatch("etl", shard_id, (last, 0), facts)


def refusal(sequence: int = 12, sub: int = 0, **fields: Any) -> DeliveryRefused:
    said = ("GB-1", "t1", "POS", NOON)
    found = DeliveryRefused(RefusedAs.DUPLICATE, "", *said, "shard-7", sequence, sub, NOON + 5)
    return found._replace(**fields)


def rejected(reason: str, sequence: int = 12) -> DeliveryRefused:
    nothing = (None, None, None, None)
    return DeliveryRefused(RefusedAs.REJECTED, reason, *nothing, "shard-7", sequence, 0, NOON)


class Contents(NamedTuple):
    """All rows, repeats counted."""

    changes: Counter[tuple[ChangeRecorded, ChangeAnnotated | None]]
    combos: Counter[ComboChanged]
    stock: Counter[StockChanged]
    refusals: Counter[DeliveryRefused]


def only(**found: Counter[Any]) -> Contents:
    return Contents(*[found.get(name, Counter()) for name in Contents._fields])


def contents(warehouse: Warehouse) -> Contents:
    rows = warehouse.rows()
    return Contents(
        Counter(rows.changes), Counter(rows.combos), Counter(rows.stock), Counter(rows.refusals)
    )


@pytest.fixture(params=["memory", "postgres"])
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    if request.param == "memory":
        return MemoryWarehouse()
    found: PostgresWarehouse = request.getfixturevalue("postgres")
    return found


# -------------------------------------------------------------------------------- what is loaded
def test_rows_are_exactly_the_facts(warehouse: Warehouse) -> None:
    warehouse.load(batch(change("t1"), change("t2"), note(4), combo(5), stock(6), refusal()))
    assert contents(warehouse) == Contents(
        Counter([(change("t1"), note(4)), (change("t2"), None)]),
        Counter([combo(5)]),
        Counter([stock(6)]),
        Counter([refusal()]),
    )


def test_loading_a_batch_twice_changes_nothing(warehouse: Warehouse) -> None:
    twice = batch(change(), note(4), combo(5), stock(6), refusal(), rejected("empty", 13))
    warehouse.load(twice)
    before = contents(warehouse)
    warehouse.load(twice)
    assert contents(warehouse) == before


def test_a_repeated_fact_in_a_batch_is_one_row(warehouse: Warehouse) -> None:
    warehouse.load(batch(change(), change(), combo(5), combo(5), refusal(), refusal()))
    assert contents(warehouse) == Contents(
        Counter([(change(), None)]), Counter([combo(5)]), Counter(), Counter([refusal()])
    )


def test_the_order_of_facts_does_not_matter(warehouse: Warehouse) -> None:
    def facts_of(shop: str) -> Sequence[Fact]:
        effects: list[Effect] = []
        for revision in (1, 2):
            effects += note(revision, location=shop), stock(revision, location=shop)
            effects.append(combo(revision, combo_id=shop, location=shop))
        return change(location=shop), *effects

    orders = list(islice(permutations(range(7)), 0, None, 42))  # 120 of 5,040, evenly spread
    for number, order in enumerate(orders):
        facts = facts_of(f"shop-{number}")
        for place in order:
            warehouse.load(batch(facts[place]))
    shops = [f"shop-{number}" for number in range(len(orders))]
    assert contents(warehouse) == only(
        changes=Counter((change(location=shop), note(2, location=shop)) for shop in shops),
        combos=Counter(combo(2, combo_id=shop, location=shop) for shop in shops),
        stock=Counter(stock(2, location=shop) for shop in shops),
    )


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
@pytest.mark.parametrize("effect", [note, combo, stock])
def test_the_highest_revision_in_a_batch_wins(
    warehouse: Warehouse, effect: Any, order: tuple[int, ...]
) -> None:
    warehouse.load(batch(change(), *(effect(revision) for revision in order)))
    assert effect(3) in everything(warehouse)


@pytest.mark.parametrize("effect", [note, combo, stock])
def test_a_higher_revision_replaces_a_lower_one(warehouse: Warehouse, effect: Any) -> None:
    warehouse.load(batch(change(), effect(1), last=1))
    warehouse.load(batch(effect(2**40 + 1), last=2))
    assert effect(2**40 + 1) in everything(warehouse)


@pytest.mark.parametrize("effect", [note, combo, stock])
def test_a_lower_revision_changes_nothing(warehouse: Warehouse, effect: Any) -> None:
    warehouse.load(batch(change(), effect(2), last=1))
    warehouse.load(batch(effect(1), last=2))
    assert effect(2) in everything(warehouse)


def everything(warehouse: Warehouse) -> set[object]:
    found = contents(warehouse)
    notes = {annotation for _, annotation in found.changes}
    return {*notes, *found.combos, *found.stock}


def test_an_annotation_may_come_before_its_row(warehouse: Warehouse) -> None:
    warehouse.load(batch(note(4), last=1))
    warehouse.load(batch(change(), last=2))
    assert contents(warehouse).changes == Counter([(change(), note(4))])


def test_an_annotation_alone_is_no_row(warehouse: Warehouse) -> None:
    warehouse.load(batch(note(4)))
    assert not contents(warehouse).changes


def test_an_annotation_without_combos_comes_back(warehouse: Warehouse) -> None:
    late = ChangeAnnotated("GB-1", "t1", (), 0, True, 3)
    warehouse.load(batch(change(), late))
    assert contents(warehouse).changes == Counter([(change(), late)])


@pytest.mark.parametrize("awkward", AWKWARD)
def test_identifiers_come_back_as_they_were(warehouse: Warehouse, awkward: str) -> None:
    row = change(awkward, location=awkward, product_id=awkward, base_product_id=awkward)
    annotation = ChangeAnnotated(awkward, awkward, (awkward, "x"), 2, False, 1)
    made = combo(1, awkward, awkward)._replace(jacket_transaction_id=awkward)
    level = stock(1, awkward, awkward)
    repeat = refusal(location=awkward, transaction_id=awkward)
    warehouse.load(batch(row, annotation, made, level, repeat))
    assert contents(warehouse) == Contents(
        Counter([(row, annotation)]), Counter([made]), Counter([level]), Counter([repeat])
    )


def test_identifiers_differ_by_code_point_alone(warehouse: Warehouse) -> None:
    rows = [change(name) for name in ("e\u0301", "\u00e9", "E", "e", "ｅ")]
    warehouse.load(batch(*rows))
    assert contents(warehouse).changes == Counter((row, None) for row in rows)


@pytest.mark.parametrize("instant", [EARLIEST, NOON, parse_instant("9999-12-31T23:59:59.999999Z")])
def test_instants_come_back_to_the_microsecond(warehouse: Warehouse, instant: int) -> None:
    row = change(instant=instant, ingested_at=instant)
    warehouse.load(batch(row))
    assert contents(warehouse).changes == Counter([(row, None)])


def test_a_sequence_number_of_129_digits_comes_back(warehouse: Warehouse) -> None:
    row = change(sequence=SEQUENCE_129_DIGITS)
    warehouse.load(batch(row))
    assert contents(warehouse).changes == Counter([(row, None)])


@pytest.mark.parametrize(
    "fact",
    [
        refusal(verdict=RefusedAs.CONFLICT),
        refusal(SEQUENCE_129_DIGITS, 3),
        refusal(instant=EARLIEST, ingested_at=parse_instant("9999-12-31T23:59:59.999999Z")),
        rejected("malformed_json"),
    ],
)
def test_a_refused_delivery_comes_back_as_it_was(
    warehouse: Warehouse, fact: DeliveryRefused
) -> None:
    warehouse.load(batch(fact))
    assert contents(warehouse) == only(refusals=Counter([fact]))


def test_refused_deliveries_are_told_apart_by_their_place_alone(warehouse: Warehouse) -> None:
    facts = [refusal(12), refusal(13), refusal(12, 1), refusal(12, shard_id="shard-8")]
    for number, fact in enumerate([*facts, *facts], 1):
        warehouse.load(batch(fact, last=number))
    assert contents(warehouse) == only(refusals=Counter(facts))


def test_an_empty_warehouse_has_no_rows(warehouse: Warehouse) -> None:
    assert contents(warehouse) == only()


# ---------------------------------------------------------------------------------- the position
def test_a_shard_never_loaded_has_no_position(warehouse: Warehouse) -> None:
    warehouse.load(batch(change(), shard_id="shard-1"))
    assert warehouse.position("etl", "shard-2") is None


def test_a_position_belongs_to_its_consumer(warehouse: Warehouse) -> None:
    warehouse.load(batch(change()))
    assert warehouse.position("another", "shard-1") is None


def test_the_position_is_that_of_the_last_batch(warehouse: Warehouse) -> None:
    warehouse.load(FactBatch("etl", "shard-1", (9, 4), [change()]))
    warehouse.load(FactBatch("etl", "shard-1", (10, 2), [change()]))
    assert warehouse.position("etl", "shard-1") == (10, 2)


def test_a_batch_without_facts_moves_the_position(warehouse: Warehouse) -> None:
    warehouse.load(batch(last=5))
    assert warehouse.position("etl", "shard-1") == (5, 0)


def test_a_position_of_129_digits_comes_back(warehouse: Warehouse) -> None:
    warehouse.load(batch(last=SEQUENCE_129_DIGITS))
    assert warehouse.position("etl", "shard-1") == (SEQUENCE_129_DIGITS, 0)


@pytest.mark.parametrize("old", [(9, 7), (10, 1)])
def test_the_position_never_moves_back(warehouse: Warehouse, old: tuple[int, int]) -> None:
    warehouse.load(FactBatch("etl", "shard-1", (10, 2), []))
    warehouse.load(FactBatch("etl", "shard-1", old, []))
    assert warehouse.position("etl", "shard-1") == (10, 2)


def test_batch_that_does_not_join_on_is_refused_whole(warehouse: Warehouse) -> None:
    warehouse.load(FactBatch("etl", "shard-1", (10, 2), []))
    for after in ((10, 3), (11, 0)):
        with pytest.raises(FellBehind, match="shard-1"):
            warehouse.load(FactBatch("etl", "shard-1", (12, 0), [change()], after))
    assert (list(warehouse.rows().changes), warehouse.position("etl", "shard-1")) == ([], (10, 2))


def test_first_batch_of_a_warehouse_that_lost_everything_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(FellBehind):
        warehouse.load(FactBatch("etl", "shard-1", (12, 0), [change()], (11, 0)))
    assert warehouse.position("etl", "shard-1") is None


@pytest.mark.parametrize("after", [None, (9, 0), (10, 2)])
def test_batch_that_joins_on_or_overlaps_is_loaded(
    warehouse: Warehouse, after: tuple[int, int] | None
) -> None:
    warehouse.load(FactBatch("etl", "shard-1", (10, 2), []))
    warehouse.load(FactBatch("etl", "shard-1", (12, 0), [change()], after))
    assert warehouse.position("etl", "shard-1") == (12, 0)
    assert len(list(warehouse.rows().changes)) == 1


TOO_LARGE = 2**63
IMPOSSIBLE = [
    stock(1)._replace(on_hand=TOO_LARGE),
    stock(1)._replace(on_hand=-TOO_LARGE - 1),
    combo(TOO_LARGE),
    change("\ud800"),
    change("a\0b"),
    note(1, "a\0b"),
    refusal(source="a\0b"),
    refusal(sub=TOO_LARGE),
]


@pytest.mark.parametrize("fact", IMPOSSIBLE, ids=repr)
def test_value_that_cannot_be_stored_is_refused_and_nothing_is_loaded(
    warehouse: Warehouse, fact: Fact
) -> None:
    with pytest.raises(ValueRefused):
        warehouse.load(batch(change("t1"), combo(1), fact, stock(1, "J2")))
    assert (contents(warehouse), warehouse.position("etl", "shard-1")) == (
        only(),
        None,
    )


def test_an_old_batch_from_a_zombie_takes_nothing_back(warehouse: Warehouse) -> None:
    old = batch(change(), note(1), combo(1), stock(1), last=1)
    warehouse.load(old)
    warehouse.load(batch(note(2), combo(2), stock(2), last=2))
    warehouse.load(old)
    assert (contents(warehouse), warehouse.position("etl", "shard-1")) == (
        only(
            changes=Counter([(change(), note(2))]),
            combos=Counter([combo(2)]),
            stock=Counter([stock(2)]),
        ),
        (2, 0),
    )


def test_shards_that_load_the_same_keys_at_once_agree(warehouse: Warehouse) -> None:
    keys = [f"k{number}" for number in range(200)]

    def load(shard: int) -> None:
        for revision in range(1, 11):
            facts: list[Fact] = []
            for key in keys if shard % 2 else reversed(keys):
                own = revision * 4 + shard
                facts += change(key, product_id=key), note(own, key), combo(own, key)
                facts.append(stock(own, key))
            warehouse.load(batch(*facts, last=revision, shard_id=f"shard-{shard}"))

    with ThreadPoolExecutor(4) as shards:
        list(shards.map(load, range(4)))
    assert contents(warehouse) == only(
        changes=Counter((change(key, product_id=key), note(43, key)) for key in keys),
        combos=Counter(combo(43, key) for key in keys),
        stock=Counter(stock(43, key) for key in keys),
    )
