"""Ask, write, put into place: what a report takes, apart from the command's words."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from stat import S_IMODE
from tempfile import NamedTemporaryFile

from consumers.report.model import Comparison, Page
from consumers.report.page import page_of
from pipeline.bootstrap import AwsPorts, backoff
from pipeline.core.errors import SystemFault, UsageError
from pipeline.core.instants import to_datetime
from pipeline.ports.clock import Clock
from pipeline.ports.page_reports import Question
from pipeline.settings import Settings

DEFAULT_FILE = Path("tillstream-report.html")
PATIENCE_S = 5.0
"""For a warehouse that does not answer: somebody waits in front of the screen."""
READABLE = 0o644
"""The mode of a file that was not there before."""


class ReportFile:
    """A file that a report will be written to.

    Made before any work is done: what is missing (the extra's libraries, the folder) is said first,
    as a UsageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._render = _renderer()
        try:
            self._target = self.path.resolve()  # of a link, what it names
            if not self._target.parent.is_dir():
                raise UsageError(f"{self._target.parent}: no such folder")
            if self._target.exists() and not self._target.is_file():
                raise UsageError(f"{self.path}: is a folder or a device, and no file")
        except OSError as fault:
            raise UsageError(f"{self.path}: {fault.strerror}") from None

    def write(self, page: Page) -> None:
        """Put a page into place whole: whoever reads meanwhile has the old one or the new one.

        Raises SystemFault if the file system refuses.
        """
        html, target = self._render(page), self._target
        try:
            mode = S_IMODE(target.stat().st_mode) if target.exists() else READABLE
            with NamedTemporaryFile(
                "w", encoding="utf-8", dir=target.parent, prefix=".tillstream-report-", delete=False
            ) as file:
                partial = Path(file.name)
                try:
                    file.write(html)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    partial.replace(target)
                finally:
                    partial.unlink(missing_ok=True)  # what was broken off
        except OSError as fault:
            raise SystemFault(f"{self.path}: {fault.strerror}") from None


def make_page(
    ports: AwsPorts,
    settings: Settings,
    clock: Clock,
    question: Question,
    comparison: Comparison | None = None,
) -> Page:
    """Ask the warehouse, once more if it does not answer at once.

    Raises UsageError for a location that it does not know: a quiet shop is known.
    """
    ask = replace(backoff(settings, clock), budget_s=PATIENCE_S).call
    seen = ask("report", lambda: ports.page_reports.snapshot(question))
    if not seen.location_known:
        raise UsageError(f"the warehouse knows no location {question.location!r}")
    return page_of(seen, question, to_datetime(clock.now()), comparison)


def _renderer() -> Callable[[Page], str]:
    """Import what an extra brings only where a page is made."""
    try:
        from consumers.report.rendering import render
    except ImportError as fault:
        raise UsageError(f"{fault.name} is missing: pip install 'tillstream[report]'") from None
    return render
