"""The demo: real POS traffic through the whole system, and what it did, in a minute."""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from consumers.deployment import resource
from consumers.embedded_run import EmbeddedRun, embedded_stack, read_map
from consumers.exports import Json
from consumers.progress import Progress
from consumers.report.making import ReportFile, make_page
from consumers.report.model import Comparison, Number, say
from consumers.run_local import RunOptions, write_exports
from consumers.sources import Line, PartitionBy, read_lines
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import backoff
from pipeline.ports.page_reports import Question
from pipeline.runtime.stock_reader import StockReader
from pipeline.settings import Settings

SLICE = {"pos_suits.jsonl.gz": 2_000, "pos_week.jsonl.gz": 1_000}
"""Deliveries taken from the start of each sample file."""
SHOWN = 10
"""Rows of each table."""
REFRESH_WAIT_S = 0.2


def demo_lines() -> list[Line]:
    """Read the slice of the bundled sample, renumbered from 1."""
    found: list[bytes] = []
    for name, deliveries in SLICE.items():
        path = str(resource("localstack", "sample", name))
        found += [line.data for line in islice(read_lines([path]), deliveries)]
    return [Line(number, data) for number, data in enumerate(found, 1)]


def run_demo(
    settings: Settings, clock: SystemClock, shards: int, page_file: ReportFile, progress: Progress
) -> Json:
    """Run the slice through everything, write its page and return the report."""
    lines = demo_lines()
    progress.say("starting PostgreSQL, Redis and an AWS emulator")
    with (
        embedded_stack(settings, clock, progress) as run,
        TemporaryDirectory(prefix="tillstream-demo-") as folder,
    ):
        run.deploy(shards)
        progress.say(f"publishing {len(lines):,} deliveries of real POS traffic")
        map_file = Path(folder) / "positions.jsonl"
        run.publish(lines, PartitionBy.KEY, map_file)
        progress.say("running inventory, cache and etl side by side until the streams are drained")
        run.consume()
        options = RunOptions(shards, PartitionBy.KEY, False, Path(folder))
        report = write_exports(lines, read_map(map_file), run.ports, run.settings, options)
        while not run.ports.upkeep.refresh():  # a consumer's own, not over yet
            clock.wait(REFRESH_WAIT_S)
        reports = run.ports.reports
        report["best_sellers"] = [row._asdict() for row in reports.best_sellers(SHOWN)]
        report["stock_fallen_most"] = [row._asdict() for row in reports.steepest_falls(SHOWN)]
        report["cache"] = _cache_report(run, clock)
        stale = report["cache"]["older_than_their_row"]
        report["differences"] += [f"cache entry older than its row: {entry}" for entry in stale]
        report["reconciled"] = report["reconciled"] and not stale
        compared = comparison(report)
        page_file.write(make_page(run.ports, run.settings, clock, Question(), compared))
        report["report"] = str(page_file.path)
        return report


def comparison(report: Json) -> Comparison:
    """Say on the page what came of comparing the stores row by row."""
    stock, combos = report["stock"], report["combos"]
    words = (
        "DynamoDB and PostgreSQL were compared: {} changes, {} combos, {} stock levels with {}"
        " units on hand in sum, and every delivery that was refused; and each cache entry with its"
        " row."
    )
    numbers = (
        Number("stores.changes", report["accepted"]),
        Number("stores.combos", combos["active"] + combos["cancelled"]),
        Number("stores.stock_levels", stock["levels"]),
        Number("stores.on_hand", stock["on_hand"]),
    )
    lost = [f"line {line} is in no store" for line in report["lost_lines"]]
    return Comparison(
        report["reconciled"], say(words, *numbers), (*report["differences"], *lost[:SHOWN])
    )


def _cache_report(run: EmbeddedRun, clock: SystemClock) -> Json:
    """Look at every stock level's cache entry, then read some of them through the cache."""
    reader = StockReader(run.ports.cache, run.ports.states, backoff(run.settings, clock))
    invalidated, older = [], []
    for state in run.ports.states.scan("stock"):
        location, product_id = state.key.parts
        held = run.ports.cache.get((location, product_id))
        if held is None or held.revision < state.version:
            older.append(f"{location}/{product_id}")
        elif held.on_hand is None:
            invalidated.append((location, product_id))
    shown: list[dict[str, Any]] = []
    for location, product_id in sorted(invalidated)[:SHOWN]:
        first, again = (reader.read(location, product_id) for _ in range(2))
        assert first is not None and again is not None
        shown.append(
            {
                "location": location,
                "product_id": product_id,
                "revision": first.revision,
                "on_hand": again.on_hand,
                "cached_after_read": again.cached,
            }
        )
    return {"invalidated": len(invalidated), "shown": shown, "older_than_their_row": older}


def show(report: Json, out: Console) -> None:
    """Print the report for people."""
    out.rule("what came in")
    for name in ("read", "accepted", "duplicates", "conflicts", "rejected"):
        out.print(f"{name:<12}{report[name]:>8,}")
    for reason, count in report["rejected_by_reason"].items():
        out.print(f"  {reason:<20}{count:>8,}")
    combos = report["combos"]
    out.rule("jacket + pants combos")
    out.print(
        f"{combos['active']:,} active, {combos['cancelled']:,} cancelled;"
        f" {combos['quantity']:,} units stand, {combos['voided']:,} were undone by returns"
    )
    _table(out, "ten best sellers (PostgreSQL)", report["best_sellers"])
    _table(out, "stock that fell most (PostgreSQL)", report["stock_fallen_most"])
    cache = report["cache"]
    _table(out, f"{cache['invalidated']:,} cache entries invalidated; read through", cache["shown"])
    out.rule("reconciliation")
    for difference in report["differences"]:
        out.print(f"DIFFERS: {difference}", markup=False)
    for line in report["lost_lines"]:
        out.print(f"LOST: line {line}")
    if report["reconciled"]:
        stock = report["stock"]
        out.print(
            f"DynamoDB and PostgreSQL agree row by row: {report['accepted']:,} changes,"
            f" {combos['active'] + combos['cancelled']:,} combos, {stock['levels']:,} stock levels"
            f" with {stock['on_hand']:,} units on hand in sum, and every delivery that was refused."
            " No cache entry is older than its row."
        )
    out.print(f"report: {report['report']}", markup=False)


def _table(out: Console, title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in rows[0] if rows else ():
        numeric = isinstance(rows[0][name], int)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{v:,}" if type(v) is int else str(v) for v in row.values()))
    out.print(table)
