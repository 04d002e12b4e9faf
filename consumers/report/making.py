"""Ask, write, put into place: what a report takes, apart from the command's words."""

from collections.abc import Callable
from pathlib import Path

from consumers.report.model import Comparison, Page
from consumers.report.page import page_of
from pipeline.bootstrap import AwsPorts, backoff
from pipeline.core.errors import SystemFault, UsageError
from pipeline.core.instants import to_datetime
from pipeline.ports.clock import Clock
from pipeline.ports.page_reports import Question
from pipeline.settings import Settings

DEFAULT_FILE = Path("tillstream-report.html")


class ReportFile:
    """A file that a report will be written to.

    Made before any work is done: what is missing (the extra's libraries, the folder) is said first,
    as a UsageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._render = _renderer()
        if not self.path.parent.is_dir():
            raise UsageError(f"{self.path.parent}: no such folder")
        if self.path.is_dir():
            raise UsageError(f"{self.path}: is a folder")

    def write(self, page: Page) -> None:
        """Put a page into place whole: whoever reads meanwhile has the old one or the new one.

        Raises SystemFault if the file system refuses.
        """
        partial = self.path.with_name(f"{self.path.name}.partial")
        try:
            partial.write_text(self._render(page), encoding="utf-8")
            partial.replace(self.path)
        except OSError as fault:
            raise SystemFault(f"{self.path}: {fault.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)  # what a Ctrl+C left; once in place there is none


def make_page(
    ports: AwsPorts,
    settings: Settings,
    clock: Clock,
    question: Question,
    comparison: Comparison | None = None,
) -> Page:
    """Ask the warehouse, waiting for it as long as the retry budget allows."""
    ask = backoff(settings, clock).call
    seen = ask("report", lambda: ports.page_reports.snapshot(question))
    return page_of(seen, question, to_datetime(clock.now()), comparison)


def _renderer() -> Callable[[Page], str]:
    """Import what an extra brings only where a page is made."""
    try:
        from consumers.report.rendering import render
    except ImportError as fault:
        raise UsageError(f"{fault.name} is missing: pip install 'tillstream[report]'") from None
    return render
