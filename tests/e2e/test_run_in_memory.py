"""Files through the whole system in memory, against known sums and against the oracle."""

import random  # noqa: TID251 - seeded
from pathlib import Path

import pytest

from consumers.demo import demo_lines
from consumers.sources import Line, PartitionBy
from pipeline.core.instants import HOUR, parse_instant
from pipeline.core.rules import Rules
from pipeline.settings import Settings
from tests.e2e.hostile import event
from tests.e2e.runs import (
    Tables,
    found_combos,
    found_notes,
    in_memory,
    numbered,
    rows,
    sample,
    shuffled,
    tables,
    wanted_combos,
    wanted_notes,
)
from tests.reference import expected

NOW = parse_instant("2026-01-01T00:00:00Z")
WITHIN = HOUR - 1


@pytest.mark.parametrize(
    ("name", "accepted", "combos", "units"),
    [("pos_suits", 6_619, 484, 4_258), ("pos_week", 14_099, 66, 471)],
)
def test_sample_is_counted_once_and_paired(
    tmp_path: Path, name: str, accepted: int, combos: int, units: int
) -> None:
    summary = in_memory(sample(name), tmp_path)
    found = summary["accepted"], summary["combos"]["active"], summary["combos"]["quantity"]
    assert (*found, summary["reconciled"]) == (accepted, combos, units, True)


@pytest.mark.parametrize("name", ["pos_suits", "pos_week"])
def test_sample_agrees_with_the_oracle_row_by_row(tmp_path: Path, name: str) -> None:
    lines = sample(name)
    in_memory(lines, tmp_path)
    oracle = expected([line.data for line in lines], NOW, Rules())
    assert found_combos(tmp_path) == wanted_combos(oracle)
    assert found_notes(tmp_path) == wanted_notes(oracle)
    stock = {(r["location"], r["product_id"]): r["on_hand"] for r in rows(tmp_path, "stock")}
    assert stock == oracle.stock


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The demo's deliveries as they came."""
    folder = tmp_path_factory.mktemp("in_order")
    in_memory(demo_lines(), folder)
    return tables(folder)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("shards", "batch"), [(1, 1), (2, 7), (3, 100), (5, 500)])
def test_tables_do_not_depend_on_arrival_order_shards_or_batches(
    tmp_path: Path, in_order: Tables, seed: int, shards: int, batch: int
) -> None:
    settings = Settings(batch_records_max=batch)
    in_memory(shuffled(demo_lines(), seed, WITHIN), tmp_path, settings, shards)
    assert tables(tmp_path) == in_order


@pytest.mark.parametrize("name", ["pos_suits"])
def test_whole_sample_shuffled_gives_the_same_tables(tmp_path: Path, name: str) -> None:
    lines = sample(name)
    in_memory(lines, tmp_path / "as_it_came")
    in_memory(shuffled(lines, 11, WITHIN), tmp_path / "shuffled", shards=4)
    assert tables(tmp_path / "shuffled") == tables(tmp_path / "as_it_came")


@pytest.mark.parametrize("by", list(PartitionBy))
def test_tables_do_not_depend_on_what_decides_the_shard(
    tmp_path: Path, in_order: Tables, by: PartitionBy
) -> None:
    settings = Settings.model_validate({"allowed_lateness": "400d"})
    in_memory(demo_lines(), tmp_path, settings, shards=6, by=by)
    assert tables(tmp_path) == in_order


@pytest.mark.parametrize("name", ["change", "combo", "stock"])
def test_warehouse_says_the_same_as_the_tables(tmp_path: Path, name: str) -> None:
    in_memory(demo_lines(), tmp_path)
    table = {"change": "change_log", "combo": "combos", "stock": "stock"}[name]
    assert rows(tmp_path, f"warehouse_{name}") == rows(tmp_path, table)


def hot_key(events: int) -> list[Line]:
    """Sell one suit at one place, out of order, more often in an hour than its state may hold."""
    rng = random.Random(5)
    seconds = [rng.randrange(3_600) for _ in range(events)]
    return numbered(
        event(
            f"hot-{n}",
            category="jacket" if n % 2 else "pants",
            product_id="J1" if n % 2 else "P1",
            timestamp=f"2011-06-01T10:{second // 60:02d}:{second % 60:02d}Z",
        )
        for n, second in enumerate(seconds)
    )


def test_key_over_its_caps_is_bounded_and_loses_nothing(tmp_path: Path) -> None:
    settings = Settings(state_entries_max=100, outbox_effects_max=50)
    summary = in_memory(hot_key(300), tmp_path, settings, shards=1)
    assert (summary["accepted"], summary["reconciled"]) == (300, True)


def test_arrival_before_2000_is_read_back(tmp_path: Path) -> None:
    early = Settings.model_validate({"arrival_clock": "1999-12-31T23:58:00Z"})
    lines = numbered([event("t", timestamp="2000-01-01T00:00:00Z"), b"broken"])
    summary = in_memory(lines, tmp_path, early)
    assert (summary["accepted"], summary["rejected"], summary["reconciled"]) == (1, 1, True)


def test_year_that_cannot_be_written_is_in_the_future(tmp_path: Path) -> None:
    late = Settings.model_validate({"arrival_clock": "9999-12-31T23:59:59Z"})
    in_memory(numbered([event("t", timestamp="9999-12-31T23:59:59-00:04")]), tmp_path, late)
    assert rows(tmp_path, "verdicts") == [{"line": 1, "verdict": "rejected:future_timestamp"}]
