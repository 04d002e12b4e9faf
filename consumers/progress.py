"""Progress bars for people, silence for scripts: on stderr, and only if it is a terminal."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bars,
)


class Running:
    """Bars that are being shown, by title."""

    def __init__(self, bars: Bars, tasks: Mapping[str, TaskID]) -> None:
        self._bars, self._tasks = bars, tasks

    def update(self, title: str, done: int, total: int | None = None) -> None:
        """Show how much is done, and of how much if that is news."""
        self._bars.update(self._tasks[title], completed=done, total=total)


class Progress:
    """What a long command tells a person while it runs."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not enabled)

    @contextmanager
    def bars(self, totals: Mapping[str, int | None]) -> Iterator[Running]:
        """Show a bar for each title; a total that is not known yet is None."""
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        shown = self.console.is_terminal
        with Bars(*columns, console=self.console, transient=True, disable=not shown) as bars:
            tasks = {title: bars.add_task(title, total=total) for title, total in totals.items()}
            yield Running(bars, tasks)

    def say(self, text: str) -> None:
        """Print one line about what is going on."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
