"""The words of the command `report`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from consumers.maintenance import AsJson, Location, Words
from consumers.report.making import DEFAULT_FILE, ReportFile, make_page
from consumers.report.model import as_json as numbers
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.ports.page_reports import Question


def add_command(app: typer.Typer, words: Words) -> None:
    """Add the command to a command line."""

    @app.command()
    def report(
        out: Annotated[
            Path, typer.Option(metavar="FILE", help="Where to write it.")
        ] = DEFAULT_FILE,
        days: Annotated[
            int | None,
            typer.Option(
                metavar="N",
                min=1,
                max=36_525,
                help="Days back from the newest one with sales; with --since, the shorter.",
            ),
        ] = None,
        since: Annotated[
            datetime | None,
            typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="This day or later."),
        ] = None,
        location: Location = None,
        as_json: AsJson = False,
    ) -> None:
        """Write one HTML page, complete in itself, of what the warehouse knows.

        Sales, combos, attach rate, returns, stock, quality and freshness of the data, and control
        totals; days are those of each shop's own clock. All numbers are of one moment, and as new
        as the stored reports. --json prints the numbers that are on the page.

        Example: tillstream report --out june.html --since 2011-06-01 --location GB-1
        """
        with words.exit_codes():
            settings, clock = words.settings(), SystemClock()
            file = ReportFile(out)
            first_day = None if since is None else since.date()
            question = Question(location, first_day, days)
            page = make_page(AwsPorts(settings, clock), settings, clock, question)
            file.write(page)
            if as_json:
                words.print_json({"report": str(file.path), **numbers(page)})
            else:
                words.out.print(f"report: {file.path}", markup=False)
