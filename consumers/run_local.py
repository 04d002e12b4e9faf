"""`run-local`: files of records through the three consumers,
and the exports of what came of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from consumers.contents import Compared, read_sides, refusal_findings, sink_findings
from consumers.exports import Json, Judge, export
from consumers.memory_run import MemoryRun
from consumers.progress import Progress
from consumers.publishing import UNPUBLISHED
from consumers.sources import Line, PartitionBy
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import Ports, stream_names
from pipeline.core.positions import Position
from pipeline.settings import Settings


class StackKind(StrEnum):
    """Where to run: everything in memory, or real servers that the run starts and stops."""

    MEMORY = "memory"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run cuts and spreads its lines, and where its exports go."""

    shards: int
    partition_by: PartitionBy
    with_retracted: bool
    directory: Path


def run_in_memory(
    lines: Sequence[Line],
    settings: Settings,
    clock: SystemClock,
    options: RunOptions,
    progress: Progress,
) -> Json:
    """Run over the ports in memory and export."""
    run = MemoryRun(settings, clock, options.shards)
    run.publish(lines, options.partition_by)
    with progress.bars({"consume": len(lines)}) as bars:
        for done in run.consume(lines):
            bars.update("consume", done)
    return write_exports(lines, run.placed, run.ports, settings, options)


def run_embedded(
    lines: Sequence[Line],
    settings: Settings,
    clock: SystemClock,
    options: RunOptions,
    progress: Progress,
) -> Json:
    """Run over servers that are started here, with the consumers as processes, and export."""
    from consumers.embedded_run import embedded_stack, read_map

    progress.say("starting the embedded servers")
    with embedded_stack(settings, clock, progress) as run:
        run.deploy(options.shards)
        options.directory.mkdir(parents=True, exist_ok=True)
        map_file = options.directory / "positions.jsonl"
        map_file.unlink(missing_ok=True)  # of an earlier run, whose servers are gone
        run.publish(lines, options.partition_by, map_file)
        run.consume()
        return write_exports(lines, read_map(map_file), run.ports, run.settings, options)


def write_exports(
    lines: Sequence[Line],
    placed: dict[int, list[Position]],
    ports: Ports,
    settings: Settings,
    options: RunOptions,
) -> Json:
    """Read the stores back, judge every line and write the export files."""
    sides = read_sides(ports)
    stream, _ = stream_names(settings)  # the quarantine holds what sinks refused of facts, too
    refused = [r for r in ports.quarantine.scan() if r.record.position.stream == stream]
    published = [r for r in refused if r.record.position.shard_id != UNPUBLISHED]
    told = refusal_findings(published, ports.warehouse.rows().refusals, settings.rules())
    judge = Judge(settings.rules(), placed, sides[0], refused)
    compared = Compared(*sides, [*sink_findings(*sides), *told])
    return export(options.directory, lines, judge, compared, with_retracted=options.with_retracted)
