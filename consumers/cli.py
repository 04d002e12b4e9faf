"""The command line. Every command ends with 0, 1 (failed), 2 (usage) or 130 (interrupted)."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console

from consumers import commands, maintenance
from consumers.fleet.properties import FleetOptions, parse_overrides
from consumers.handlers import Consumer
from consumers.health import address
from consumers.progress import Progress
from consumers.report import command as report_command
from consumers.report.making import DEFAULT_FILE
from consumers.run_local import RunOptions, StackKind
from consumers.sources import PartitionBy
from pipeline.core.errors import Stopping, TillstreamError, UsageError
from pipeline.settings import EMBEDDED_FILE, Settings

FAILED, USAGE, INTERRUPTED = 1, 2, 130
DEFAULT_EXPORT = Path("tillstream-export")

app = typer.Typer(
    name="tillstream",
    help="Retail events counted once: Kinesis to DynamoDB, PostgreSQL and Redis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)
_target: ContextVar[str | None] = ContextVar("target", default=None)
"""The option that stands before the command."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Shards = Annotated[int, typer.Option(min=1, max=100, help="Shards of each stream.")]
By = Annotated[PartitionBy, typer.Option(help="What decides the shard of an event.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="kcl only: a daemon's property.")
]
_NONE: list[str] = []


class Engine(StrEnum):
    """What owns the loop, the leases and the checkpoints."""

    LOCAL = "local"
    KCL = "kcl"


def main() -> None:
    """Run the command line."""
    app()


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn whatever ends a command into one clear line and an exit code."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except UsageError as fault:
        _fail(str(fault), USAGE)
    except ValidationError as fault:
        _fail(_settings_fault(fault), USAGE)
    except UnicodeEncodeError:
        _fail("an argument is not UTF-8", USAGE)
    except (KeyboardInterrupt, Stopping):
        _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        _fail("the reader of the output has gone", FAILED)
    except TillstreamError as fault:
        _fail(str(fault), FAILED)
    except OSError as fault:  # a full disk behind the output, for one
        _fail(f"{fault.filename or 'output'}: {fault.strerror}", FAILED)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _fail(message: str, code: int) -> None:
    _err.print(f"tillstream: {message}", markup=False)
    raise typer.Exit(code)


def _settings_fault(fault: ValidationError) -> str:
    lines = []
    for error in fault.errors():
        name = "_".join(map(str, error["loc"])).lower()
        lines.append(f"{name}: {error['msg']} (got {error['input']!r})")
    return "; ".join(lines)


def _own_servers(**overrides: Any) -> Settings:
    """Read the settings for a command that starts its servers itself."""
    if _target.get() is not None:
        raise UsageError("this command starts servers of its own: leave --target out")
    return _settings(target="aws", **overrides)


def _settings(**overrides: Any) -> Settings:
    overrides.setdefault("target", _target.get())
    return Settings(**{name: value for name, value in overrides.items() if value is not None})


def _print_json(value: Any) -> None:
    _out.file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def _show_version(wanted: bool) -> None:
    if wanted:
        _out.print(f"tillstream {version('tillstream')}")
        raise typer.Exit


@app.callback()
def _every_command(
    target: Annotated[
        str | None, typer.Option(metavar="aws|localstack|embedded", help="Where everything is.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Retail events counted once: Kinesis to DynamoDB, PostgreSQL and Redis."""
    _target.set(target)  # by each command anew, so that none inherits another's


@app.command()
def demo(
    as_json: AsJson = False,
    shards: Shards = 2,
    report_file: Annotated[
        Path, typer.Option("--report", metavar="FILE", help="Where to write its report.")
    ] = DEFAULT_FILE,
) -> None:
    """Run the whole system here on real POS traffic, show what it did, and stop it again.

    Starts every server it needs, all from Python wheels, and leaves a report of it, one HTML page.
    Exit code 1 if the stores disagree.

    Example: tillstream demo
    """
    with _exit_codes():
        report = commands.demo(_own_servers(), shards, report_file, Progress())
        if as_json:
            _print_json(report)
        else:
            commands.show_demo(report, _out)
        if not report["reconciled"]:
            raise typer.Exit(FAILED)


@app.command("run-local")
def run_local(  # noqa: PLR0913 - an option a parameter: that is what Typer reads
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=".jsonl, .gz, .b64, -")],
    export: Annotated[Path, typer.Option(help="Folder for the exports.")] = DEFAULT_EXPORT,
    stack: Annotated[StackKind, typer.Option(help="Real servers, or memory.")] = StackKind.EMBEDDED,
    shards: Shards = 2,
    partition_by: By = PartitionBy.KEY,
    batch_size: Annotated[int | None, typer.Option(help="Records a batch.")] = None,
    with_retracted: Annotated[bool, typer.Option(help="Export retracted combos too.")] = False,
    arrival_clock: Annotated[
        str | None, typer.Option(metavar="ISO", help="Arrival time of every record.")
    ] = None,
    combo_window: Annotated[str | None, typer.Option(metavar="DURATION")] = None,
    return_window: Annotated[str | None, typer.Option(metavar="DURATION")] = None,
    allowed_lateness: Annotated[str | None, typer.Option(metavar="DURATION")] = None,
    dedupe_scope: Annotated[str | None, typer.Option(metavar="global|location")] = None,
    combo_sources: Annotated[str | None, typer.Option(metavar="A,B")] = None,
    categories: Annotated[str | None, typer.Option(metavar="A,B")] = None,
    sources: Annotated[str | None, typer.Option(metavar="A,B")] = None,
    as_json: AsJson = False,
) -> None:
    """Run files of records through the three consumers and export what came of them.

    A line is one record; a file named *.b64 holds one base64 record a line. Lines are numbered from
    1 over all files. Durations: 600, 10m, 1h, PT10M. Exit code 1 if the stores disagree.

    Example: tillstream run-local pos.jsonl.gz --export out --allowed-lateness 24h
    """
    with _exit_codes():
        settings = _own_servers(
            batch_records_max=batch_size,
            arrival_clock=arrival_clock,
            combo_window=combo_window,
            return_window=return_window,
            allowed_lateness=allowed_lateness,
            dedupe_scope=dedupe_scope,
            combo_sources=combo_sources,
            categories=categories,
            sources=sources,
        )
        options = RunOptions(shards, partition_by, with_retracted, export)
        summary = commands.run_local(files, stack, settings, options, Progress())
        if as_json:
            _print_json(summary)
        else:
            commands.show_summary(summary, export, _out)
        if not summary["reconciled"]:
            raise typer.Exit(FAILED)


@app.command()
def publish(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Lines to publish; - is stdin.")],
    rate: Annotated[float | None, typer.Option(min=0.001, help="Records a second.")] = None,
    partition_by: By = PartitionBy.KEY,
    as_json: AsJson = False,
) -> None:
    """Put records on the stream, one a line. Lines too large for a record are named; exit code 1.

    Example: tillstream simulate-pos --rate 50 | tillstream publish -
    """
    with _exit_codes():
        report = commands.publish(file, rate, partition_by, _settings(), Progress())
        if as_json:
            _print_json(report)
        else:
            _out.print(f"published {report['published']} records")
        for line in report["too_large"]:
            _err.print(f"tillstream: line {line} is over the size of a Kinesis record")
        if report["too_large"]:
            raise typer.Exit(FAILED)


@app.command("simulate-pos")
def simulate_pos(
    seed: Annotated[int, typer.Option(help="The same seed, the same traffic.")] = 1,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many lines.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Lines a second.")] = None,
    start: Annotated[datetime | None, typer.Option(help="Instant of the first sale, UTC.")] = None,
) -> None:
    """Print endless POS traffic: sales, returns, duplicates, disorder, malformed records.

    Example: tillstream simulate-pos --seed 7 --count 1000 > traffic.jsonl
    """
    with _exit_codes():
        commands.simulate(seed, count, rate, start)


@app.command()
def consume(  # noqa: PLR0913 - an option a parameter
    consumer: Annotated[Consumer, typer.Argument(help="Which consumer.")],
    until_drained: Annotated[bool, typer.Option(help="End once nothing is left.")] = False,
    from_latest: Annotated[bool, typer.Option(help="cache only: skip what is there.")] = False,
    engine: Annotated[Engine, typer.Option(help="One process, or a fleet.")] = Engine.LOCAL,
    workers: Annotated[int, typer.Option(min=1, max=64, help="kcl only: daemons.")] = 1,
    overrides: Overrides = _NONE,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a batch.")] = False,
    health_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="local only: GET /health, GET /live.")
    ] = None,
    health_host: Annotated[
        str | None, typer.Option(help="Where that listens; 127.0.0.1 by default.")
    ] = None,
    tied_to_stdin: Annotated[bool, typer.Option(hidden=True)] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v")] = False,
) -> None:
    """Run one consumer until SIGTERM (exit code 0) or Ctrl+C (130).

    Both finish the batch at hand and checkpoint it first. `--engine kcl` runs daemons of the
    Kinesis Client Library, which share the shards with those on other machines, and starts one
    again when it ends; exit code 1 if it does not stay up.

    Example: tillstream consume inventory --until-drained
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for chatty in () if verbose else ("psycopg.pool", "urllib3.connectionpool"):
        logging.getLogger(chatty).setLevel(logging.ERROR)  # each try; what matters we say ourselves
    with _exit_codes():
        health = address(health_port, health_host)
        how = commands.ConsumeOptions(until_drained, from_latest, as_json, tied_to_stdin, health)
        if engine is Engine.KCL:
            fleet = FleetOptions(workers, parse_overrides(overrides), from_latest, verbose)
            interrupted = commands.consume_on_kcl(consumer, _settings(), how, fleet)
        elif workers > 1 or overrides:
            raise UsageError("--workers and --set are of --engine kcl")
        else:
            interrupted = commands.consume(consumer, _settings(), how, _out)
        if interrupted:
            raise KeyboardInterrupt


@app.command("kcl-properties")
def kcl_properties(
    consumer: Annotated[Consumer, typer.Argument(help="Which consumer.")],
    overrides: Overrides = _NONE,
    from_latest: Annotated[bool, typer.Option(help="cache only: skip what is there.")] = False,
) -> None:
    """Print the properties file that a daemon of `consume --engine kcl` is given.

    A key that the daemon would ignore is refused, and so is a value that it would not apply.

    Example: tillstream kcl-properties inventory --set maxLeasesForWorker=8
    """
    with _exit_codes():
        fleet = FleetOptions(overrides=parse_overrides(overrides), from_latest=from_latest)
        _out.file.write(commands.kcl_properties(consumer, _settings(), fleet))


@app.command()
def deploy(
    shards: Shards = 2,
    protect: Annotated[bool, typer.Option(help="Refuse to delete tables.")] = True,
    as_json: AsJson = False,
) -> None:
    """Create or update streams, tables, bucket and warehouse schema. Safe to repeat.

    Example: TILLSTREAM_PREFIX=shop1 tillstream deploy --shards 4
    """
    with _exit_codes():
        outputs = commands.deploy(_settings(), shards, protect)
        if as_json:
            _print_json(dict(outputs))
        else:
            for name, value in sorted(outputs.items()):
                _out.print(f"{name:<32} {value}", markup=False)


@app.command()
def stock(location: str, product: str, as_json: AsJson = False) -> None:
    """Show how many units of a product a location has, through the cache.

    Example: tillstream stock GB-1 J47566
    """
    with _exit_codes():
        level = commands.stock(_settings(), location, product)
        if level is None:
            _fail(f"no event ever moved {product} at {location}", FAILED)
        elif as_json:
            _print_json(level._asdict())
        else:
            _out.print(f"{level.on_hand} {'(cached)' if level.cached else '(from the table)'}")


@app.command()
def stack(
    env_file: Annotated[Path, typer.Option(help="Where to write the settings.")] = EMBEDDED_FILE,
    shards: Shards = 2,
) -> None:
    """Run the embedded servers until Ctrl+C, deployed and ready for the other commands.

    Example: tillstream stack; in another terminal: tillstream --target embedded stock GB-1 J1
    """
    with _exit_codes():
        commands.stack(_own_servers(), shards, env_file, Progress())


@app.command()
def localstack(
    action: Annotated[commands.Action, typer.Argument(help="What to do with it.")],
    as_json: AsJson = False,
) -> None:
    """Start, stop or look at LocalStack on this machine, without Docker; for `--target localstack`.

    With PostgreSQL and Redis beside it, on fixed ports of loopback. `up` installs what is missing
    and waits until all is ready; `status` ends with exit code 1 unless all of it is up.

    Example: tillstream localstack up; tillstream --target localstack deploy
    """
    with _exit_codes():
        found = commands.localstack(action, Progress())
        if as_json:
            _print_json([part._asdict() for part in found])
        else:
            commands.show_localstack(found, _out)
        if action is not commands.Action.DOWN and any(part.version is None for part in found):
            raise typer.Exit(FAILED)


_words = maintenance.Words(_exit_codes, _settings, _print_json, _out)
maintenance.add_commands(app, _words)
report_command.add_command(app, _words)


if __name__ == "__main__":
    main()
