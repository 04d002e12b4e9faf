"""What the commands do; `cli` is only their words."""

import gc
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.table import Table

from consumers.consume import How
from consumers.consume import consume as run_consumer
from consumers.deployment import deploy as run_deploy
from consumers.exports import Json
from consumers.fleet.properties import FleetOptions, daemon_properties, file_text
from consumers.fleet.supervision import run_fleet
from consumers.handlers import Consumer
from consumers.health import Address
from consumers.progress import Progress
from consumers.publishing import arriving, chunked, send
from consumers.report.making import ReportFile
from consumers.run_local import RunOptions, StackKind, run_embedded, run_in_memory
from consumers.simulated_traffic import STEP_US, traffic
from consumers.sources import PartitionBy, Partitioner, read_lines
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, backoff
from pipeline.core.errors import Stopping, UsageError
from pipeline.core.instants import DAY, SECOND, from_datetime
from pipeline.ports.streams import TRIM_HORIZON, Start
from pipeline.runtime.handler import BatchReport
from pipeline.runtime.stock_reader import StockLevel, StockReader
from pipeline.settings import Settings

if TYPE_CHECKING:
    from consumers.localstack import Status

COLLECT_AFTER = 100_000
"""Container objects made, less those gone, before the collector runs; some ten batches."""


def run_local(
    files: list[str], stack: StackKind, settings: Settings, options: RunOptions, progress: Progress
) -> Json:
    """Run files through the consumers."""
    lines = list(read_lines(files))
    try:
        options.directory.mkdir(parents=True, exist_ok=True)
    except OSError as fault:  # said now, not after the run
        raise UsageError(f"--export {options.directory}: {fault.strerror}") from None
    run = run_in_memory if stack is StackKind.MEMORY else run_embedded
    return run(lines, settings, SystemClock(), options, progress)


def show_summary(summary: Json, directory: Path, out: Console) -> None:
    """Print a summary for people."""
    table = Table(show_header=False, box=None)
    for name in ("lines", "read", "accepted", "duplicates", "conflicts", "rejected", "late"):
        table.add_row(name, str(summary[name]))
    for reason, count in summary["rejected_by_reason"].items():
        table.add_row(f"  {reason}", str(count))
    combos, stock = summary["combos"], summary["stock"]
    table.add_row("combos", f"{combos['active']} active, {combos['cancelled']} cancelled")
    table.add_row("  units", f"{combos['quantity']} standing, {combos['voided']} voided")
    table.add_row("stock", f"{stock['levels']} levels, {stock['on_hand']} on hand")
    out.print(table)
    out.print(f"exports in {directory}", markup=False)
    if summary["reconciled"]:
        out.print("reconciled: DynamoDB and PostgreSQL agree row by row; nothing is lost")
    for line in summary["lost_lines"]:
        out.print(f"LOST: line {line} is in no store")
    for difference in summary["differences"]:
        out.print(f"DIFFERS: {difference}", markup=False)


def publish(
    file: str, rate: float | None, by: PartitionBy, settings: Settings, progress: Progress
) -> Json:
    """Publish a file, or standard input as it arrives."""
    clock = SystemClock()
    ports, patience = AwsPorts(settings, clock), backoff(settings, clock)
    shards = patience.call("shards", ports.events.shards)
    partitioner = Partitioner(settings.rules(), by, shards)
    per_put = max(1, min(int(rate / 4), 500)) if rate else 500
    lines = read_lines([file])
    chunks = arriving(lines, per_put) if file == "-" else chunked(lines, per_put)
    published, too_large = 0, []
    with progress.bars({"publish": None}) as bars:
        for chunk in chunks:
            for line, position in send([chunk], ports.events, partitioner, patience):
                if position is None:
                    too_large.append(line.number)
                else:
                    published += 1
            bars.update("publish", published)
            if rate:
                clock.wait(len(chunk) / rate)
    return {"published": published, "too_large": too_large}


def simulate(seed: int, count: int | None, rate: float | None, start: datetime | None) -> None:
    """Print simulated traffic."""
    clock = SystemClock()
    if start is not None:
        began = from_datetime(start.replace(tzinfo=UTC))
    elif rate:  # as it happens: a step of the clock for each line
        began = clock.now()
    else:  # long enough ago for none of it to lie in the future
        began = clock.now() - (2 * STEP_US * count if count else 365 * DAY)
    step_us = int(SECOND / rate) if rate else STEP_US
    for number, line in enumerate(traffic(seed, began, step_us), 1):
        sys.stdout.buffer.write(line + b"\n")
        if rate:
            sys.stdout.buffer.flush()
            clock.wait(1 / rate)
        if number == count:
            break
    sys.stdout.buffer.flush()


@dataclass(frozen=True, slots=True)
class ConsumeOptions:
    """The switches of `consume`."""

    until_drained: bool
    from_latest: bool
    as_json: bool
    tied_to_stdin: bool
    health: Address | None = None


def consume(consumer: Consumer, settings: Settings, how: ConsumeOptions, out: Console) -> bool:
    """Run a consumer; true if it ended because of a Ctrl+C."""
    clock = SystemClock()
    totals: Counter[str] = Counter()
    lock = threading.Lock()

    def observe(shard_id: str, report: BatchReport, behind_ms: int) -> None:
        with lock:
            totals.update(report.counts)
            if how.as_json:
                line = {"shard": shard_id, "behind_ms": behind_ms, "counts": dict(report.counts)}
                sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
                sys.stdout.buffer.flush()

    if how.tied_to_stdin:
        threading.Thread(target=_stop_with_stdin, args=(clock,), daemon=True).start()
    start = Start("AT_TIMESTAMP", clock.now()) if how.from_latest else TRIM_HORIZON
    collect_rarely()
    with _stopping_on_signals(clock) as interrupted:
        run_consumer(consumer, settings, clock, observe, How(start, how.until_drained, how.health))
    if not how.as_json:
        counts = ", ".join(f"{name} {n}" for name, n in totals.items() if n) or "nothing to read"
        out.print(f"{consumer}: {counts}")
    return interrupted.is_set()


def consume_on_kcl(
    consumer: Consumer, settings: Settings, how: ConsumeOptions, fleet: FleetOptions
) -> bool:
    """Run a consumer's daemons; true if they ended because of a Ctrl+C."""
    if how.until_drained or how.as_json or how.tied_to_stdin or how.health:
        raise UsageError("--until-drained, --json and --health-port are of the local engine")
    clock = SystemClock()
    with _stopping_on_signals(clock) as interrupted, suppress(Stopping):
        run_fleet(consumer, settings, fleet, clock)
    return interrupted.is_set()


def kcl_properties(consumer: Consumer, settings: Settings, fleet: FleetOptions) -> str:
    """Write what a daemon of a consumer is told."""
    return file_text(daemon_properties(consumer, settings, fleet))


def collect_rarely() -> None:
    """Let the garbage collector look at new objects only now and then.

    Batches are made of tuples without cycles, which go by reference count; looking them over for
    cycles by default settings costs the core a fifth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _stop_with_stdin(clock: SystemClock) -> None:
    # Not through sys.stdin: its lock, held by this thread, would abort the interpreter's exit.
    while os.read(0, 4096):
        pass
    clock.stop.set()


@contextmanager
def _stopping_on_signals(clock: SystemClock) -> Iterator[threading.Event]:
    """Let SIGTERM and the first Ctrl+C end the work at a checkpoint.

    A second Ctrl+C ends at once.
    """
    interrupted = threading.Event()

    def stop(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            if interrupted.is_set():
                raise KeyboardInterrupt
            interrupted.set()
        clock.stop.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def deploy(settings: Settings, shards: int, protect: bool) -> Mapping[str, str]:
    """Deploy everything."""
    return run_deploy(settings, SystemClock(), shards, protect=protect)


def stock(settings: Settings, location: str, product: str) -> StockLevel | None:
    """Read one stock level through the cache."""
    clock = SystemClock()
    ports = AwsPorts(settings, clock)
    return StockReader(ports.cache, ports.states, backoff(settings, clock)).read(location, product)


def stack(settings: Settings, shards: int, env_file: Path, progress: Progress) -> None:
    """Run the embedded servers until a signal comes."""
    from consumers.embedded_run import embedded_stack

    clock = SystemClock()
    with embedded_stack(settings, clock, progress) as run:
        run.deploy(shards)
        lines = [f"{name}={value}\n" for name, value in run.endpoints.environment().items()]
        env_file.write_text("".join(lines))
        progress.say(f"ready; settings in {env_file}; Ctrl+C stops everything")
        try:
            threading.Event().wait()
        finally:
            env_file.unlink(missing_ok=True)


def demo(settings: Settings, shards: int, report_file: Path, progress: Progress) -> Json:
    """Run the demo."""
    from consumers.demo import run_demo

    return run_demo(settings, SystemClock(), shards, ReportFile(report_file), progress)


def show_demo(report: Json, out: Console) -> None:
    """Print the demo's report for people."""
    from consumers.demo import show

    show(report, out)


class Action(StrEnum):
    """What can be done with LocalStack."""

    UP = "up"
    DOWN = "down"
    STATUS = "status"


def localstack(action: Action, progress: Progress) -> "list[Status]":
    """Start or stop LocalStack, then say how it is."""
    from consumers.localstack import LocalStack

    stack = LocalStack(progress)
    if action is Action.UP and not stack.up():
        progress.say("LocalStack is up already")
    if action is Action.DOWN and not stack.down():
        progress.say("there is nothing to stop")
    return stack.status()


def show_localstack(found: "list[Status]", out: Console) -> None:
    """Print how the servers are."""
    for part in found:
        state = "down" if part.version is None else f"{part.version:<8}{part.address}"
        inside = "".join(f"; {name} {version}" for name, version in part.inside.items())
        elsewhere = "" if part.version is None or part.ours else "  (started by somebody else)"
        out.print(f"{part.name:<12}{state}{inside}{elsewhere}", markup=False)
