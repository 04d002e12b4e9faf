"""The words of the commands that compare and mend, and of those about the warehouse."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from consumers.audit.auditing import audit
from consumers.audit.report import report
from consumers.audit.report import show as show_audit
from consumers.dictionary import page, plain
from consumers.exports import Json
from consumers.progress import Progress
from consumers.warehouse_rebuild import SEGMENTS, RebuildOptions, WarehouseRebuilding
from consumers.warehouse_rebuild import show as show_rebuild
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.core.errors import UsageError
from pipeline.core.instants import from_datetime
from pipeline.core.reconciling import Part
from pipeline.settings import Settings

FAILED = 1

Location = Annotated[str | None, typer.Option(metavar="NAME", help="This location alone.")]
Since = Annotated[
    datetime | None,
    typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="This UTC day or later."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@dataclass(frozen=True, slots=True)
class Words:
    """What the command line has already: how commands end, read settings and print."""

    exit_codes: Callable[[], AbstractContextManager[None]]
    settings: Callable[[], Settings]
    print_json: Callable[[Any], None]
    out: Console


class Maintenance:
    """The commands, with the words that they share with all others."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def audit(
        self,
        location: Location = None,
        since: Since = None,
        repair: Annotated[bool, typer.Option("--repair", help="Mend what differs.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Compare claims, change log, states, combos, stock, warehouse and cache with each other.

        By location and business day (UTC), with control totals; says what is missing, extra or
        different. Exit code 0: nothing is; 1: something is (with --repair: something is left). With
        --since, what needs all days is left out: stock, states and combos against the log.

        --repair needs nothing to stop. It writes to the tables and publishes facts; what the sinks
        lacked is there once etl and cache have read them. It may be broken off, and done again.

        Example: tillstream audit --location GB-1 --since 2026-01-31
        """
        with self._words.exit_codes():
            settings, clock = self._words.settings(), SystemClock()
            ports, part = AwsPorts(settings, clock), _part(location, since)
            told = report(audit(ports, settings, clock, part, mend=repair))
            if as_json:
                self._words.print_json(told)
            else:
                show_audit(told, self._words.out)
            if not told["clean"]:
                raise typer.Exit(FAILED)

    def rebuild(  # noqa: PLR0913 - an option a parameter: that is what Typer reads
        self,
        location: Location = None,
        since: Since = None,
        segments: Annotated[
            int, typer.Option(min=1, max=1_000, help="Parts that a table is scanned in.")
        ] = SEGMENTS,
        restart: Annotated[
            bool, typer.Option("--restart", help="Do not go on with one that was killed.")
        ] = False,
        remove_unknown: Annotated[
            bool, typer.Option("--remove-unknown", help="Remove changes that no table knows.")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        """Rebuild the warehouse, or a part of it, from the tables.

        Scans them into a shadow, compares control totals, and swaps in one transaction: readers
        see the old or the new, and consumers may go on. One that was killed goes on where it was.
        Needs the owner of the schema. Exit code 1 if changes would be removed that no table knows.

        Example: tillstream warehouse rebuild --location GB-1 --since 2026-01-31
        """
        with self._words.exit_codes():
            settings, clock = self._words.settings(), SystemClock()
            options = RebuildOptions(_part(location, since), segments, restart, remove_unknown)
            ports = AwsPorts(settings, clock)
            told = WarehouseRebuilding(ports, settings, clock, Progress()).run(options)
            if as_json:
                self._words.print_json(told)
            else:
                show_rebuild(told, self._words.out)
            if not told["done"]:
                raise typer.Exit(FAILED)

    def dictionary(
        self,
        file: Annotated[
            Path | None, typer.Option("--out", metavar="FILE", help="Write it here.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Describe the warehouse's tables, views and functions, in Markdown.

        From the comments of the schema; whatever the login may read, and no more. Reads only; asks
        the replica for reports, if there is one.

        Example: tillstream warehouse dictionary --out data-dictionary.md
        """
        with self._words.exit_codes():
            described = AwsPorts(self._words.settings(), SystemClock()).dictionary.read()
            text = _indented(plain(described)) if as_json else page(described)
            if file is None:
                self._words.out.file.write(text)
            else:
                _write(file, text)


def _indented(value: Json) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise UsageError(f"--out {file}: {fault.strerror}") from None


def _part(location: str | None, since: datetime | None) -> Part:
    return Part(location, None if since is None else from_datetime(since.replace(tzinfo=UTC)))


def add_commands(app: typer.Typer, words: Words) -> None:
    """Add the commands to a command line."""
    commands = Maintenance(words)
    app.command("audit")(commands.audit)
    warehouse = typer.Typer(help="Look after the warehouse.", no_args_is_help=True)
    warehouse.command("rebuild")(commands.rebuild)
    warehouse.command("dictionary")(commands.dictionary)
    app.add_typer(warehouse, name="warehouse")
