"""Runs and their exports, in a form that can be compared."""

import random  # noqa: TID251 - shuffles are functions of a seed
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from consumers.progress import Progress
from consumers.run_local import RunOptions, run_in_memory
from consumers.sources import Line, PartitionBy, read_lines
from pipeline.adapters.clock import SystemClock
from pipeline.core.instants import parse_instant
from pipeline.settings import Settings
from tests.reference import Expected

SAMPLE = Path(__file__).parents[2] / "localstack" / "sample"
QUIET = Progress(enabled=False)
METADATA = ("sequence_number", "sub_sequence_number", "shard_id", "ingested_at")
"""What arrival decides, and nothing else may."""
TABLES = (
    "change_log",
    "combos",
    "stock",
    "warehouse_change",
    "warehouse_combo",
    "warehouse_stock",
)


Tables = dict[str, list[dict[str, Any]]]
"""Rows by table."""


def sample(name: str) -> list[Line]:
    """Read one of the bundled files."""
    return list(read_lines([str(SAMPLE / f"{name}.jsonl.gz")]))


def numbered(lines: Iterable[bytes]) -> list[Line]:
    """Number lines from 1."""
    return [Line(number, data) for number, data in enumerate(lines, 1)]


def shuffled(lines: Sequence[Line], seed: int, within_us: int) -> list[Line]:
    """Arrive out of order, but no event more than `within_us` behind a later one."""
    rng = random.Random(seed)

    def arrival(line: Line) -> float:
        instant = parse_instant(orjson.loads(line.data)["timestamp"])
        return instant + rng.random() * within_us

    return numbered(line.data for line in sorted(lines, key=arrival))


def in_memory(
    lines: Sequence[Line],
    directory: Path,
    settings: Settings | None = None,
    shards: int = 2,
    by: PartitionBy = PartitionBy.KEY,
) -> dict[str, Any]:
    """Run on the memory stack and return the summary."""
    options = RunOptions(shards, by, False, directory)
    return run_in_memory(lines, settings or Settings(), SystemClock(), options, QUIET)


def rows(directory: Path, name: str) -> list[dict[str, Any]]:
    """Read one export file."""
    return [orjson.loads(line) for line in (directory / f"{name}.jsonl").read_bytes().splitlines()]


def tables(directory: Path) -> Tables:
    """Read all tables, less what arrival decides."""
    return {
        name: [{k: v for k, v in row.items() if k not in METADATA} for row in rows(directory, name)]
        for name in TABLES
    }


def wanted_combos(expected: Expected) -> list[tuple[Any, ...]]:
    """Return the oracle's combos as exports show them."""
    return sorted(
        (
            c.combo_id,
            c.jacket_transaction_id,
            c.pants_transaction_id,
            c.quantity,
            c.voided,
            c.status,
        )
        for c in expected.combos.values()
    )


def found_combos(directory: Path) -> list[tuple[Any, ...]]:
    """Return the exported combos in the oracle's form."""
    fields = ("combo_id", "jacket_transaction_id", "pants_transaction_id")
    counts = ("quantity", "voided", "status")
    return sorted(
        tuple(row[name] for name in (*fields, *counts)) for row in rows(directory, "combos")
    )


def wanted_notes(expected: Expected) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Return the oracle's annotations by row."""
    return {
        key: (row.combo, row.combo_id, row.note.combo_count, row.note.late)
        for key, row in expected.rows.items()
    }


def found_notes(directory: Path) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Return the exported annotations in the oracle's form."""
    return {
        (row["location"], row["transaction_id"]): (
            row["combo"],
            row["combo_id"],
            row.get("combo_count", int(row["combo"])),
            row["late"],
        )
        for row in rows(directory, "change_log")
    }
