"""Rebuild the warehouse, or a part of it, from the change log, the combos and the stock levels.

The tables are scanned in segments by several threads into a shadow; each segment of a table is a
unit that is noted once it is complete, so that a rebuild that was killed goes on with the units
that are left. Then the shadow is swapped in. `ports.warehouse_rebuild` says what holds while
consumers are at work: neither etl nor inventory needs to stop.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from threading import Event
from typing import TypeAlias

from rich.console import Console

from consumers.contents import levels
from consumers.exports import Json
from consumers.progress import Progress
from pipeline.bootstrap import Ports, backoff
from pipeline.core.changes import TableFact
from pipeline.core.errors import Stopping
from pipeline.core.instants import format_instant
from pipeline.core.keyed_state import StateKey
from pipeline.core.reconciling import Part
from pipeline.core.stock import StockFold
from pipeline.ports.clock import Clock
from pipeline.ports.scans import Segment
from pipeline.ports.warehouse_rebuild import Doubt, PartTotals
from pipeline.runtime.backoff import Backoff
from pipeline.settings import Settings

SEGMENTS = 16
"""Of each table: what is done again after a kill is one of these, for each reader."""
READERS = 4
CHUNK = 5_000
"""Facts staged in one transaction."""
DOUBTS_PER_READ = 1_000

_Facts: TypeAlias = Iterator[TableFact]


@dataclass(frozen=True, slots=True)
class RebuildOptions:
    """What to rebuild; whether to begin anew, and to remove changes that the tables do not know."""

    part: Part
    segments: int = SEGMENTS
    restart: bool = False
    remove_unknown: bool = False


class WarehouseRebuilding:
    """One rebuild over one installation."""

    def __init__(self, ports: Ports, settings: Settings, clock: Clock, progress: Progress) -> None:
        self._ports, self._progress = ports, progress
        self._backoff: Backoff = backoff(settings, clock)
        self._stop = Event()

    def run(self, options: RebuildOptions) -> Json:
        """Rebuild; return the totals before and after. Goes on with a rebuild that was killed."""
        rebuild = self._ports.warehouse_rebuild
        if options.restart:
            self._backoff.call("discard", rebuild.discard)
        begun = self._backoff.call("begin", lambda: rebuild.begin(options.part, options.segments))
        units = self._units(options)
        todo = {name: read for name, read in units.items() if name not in begun}
        self._scan(todo, len(units))
        swapped = self._backoff.call(
            "swap", lambda: rebuild.swap(self._really, remove_unknown=options.remove_unknown)
        )
        if swapped.done:
            self._backoff.call("refresh", self._ports.upkeep.refresh)
        part = options.part
        return {
            "location": part.location,
            "since": None if part.since is None else format_instant(part.since)[:10],
            "done": swapped.done,
            "unknown_changes": swapped.unknown,
            "before": _plain(swapped.before),
            "after": _plain(swapped.after),
            "units": len(units),
            "units_staged_before": len(units) - len(todo),
        }

    # ------------------------------------------------------------------------------ the shadow
    def _units(self, options: RebuildOptions) -> dict[str, Callable[[], _Facts]]:
        """Name every segment of every table, with what reads it."""
        found: dict[str, Callable[[], _Facts]] = {}
        for number in range(options.segments):
            segment = Segment(number, options.segments)
            for name, read in self._tables(segment, options.part).items():
                found[f"{name} {number}"] = read
        return found

    def _tables(self, segment: Segment, part: Part) -> Mapping[str, Callable[[], _Facts]]:
        ports = self._ports

        def changes() -> _Facts:
            for row, note in ports.change_log.scan(segment):
                if part.holds(row.location, row.instant):
                    yield row
                    if note is not None:
                        yield note

        def combos() -> _Facts:
            found = ports.combos.scan(segment)
            return (combo for combo in found if part.holds(combo.location, combo.paired_at))

        def stock() -> _Facts:
            return iter(levels(ports.states.scan(StockFold.name, segment), part))

        return {"changes": changes, "combos": combos, "stock": stock}

    def _scan(self, todo: Mapping[str, Callable[[], _Facts]], units: int) -> None:
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="rebuild")
        try:
            with self._progress.bars({"rebuild": units}) as bars:
                futures = [pool.submit(self._unit, name, read) for name, read in todo.items()]
                for done, future in enumerate(as_completed(futures), units - len(todo) + 1):
                    future.result()
                    bars.update("rebuild", done)
        except BaseException:
            self._stop.set()  # an error, or a Ctrl+C: units under way end at their next chunk
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _unit(self, name: str, read: Callable[[], _Facts]) -> None:
        """Stage one unit; after a fault of the scan, from its beginning again."""
        self._backoff.call("rebuild", lambda: self._stage(name, read()))

    def _stage(self, name: str, facts: _Facts) -> None:
        rebuild = self._ports.warehouse_rebuild
        while chunk := list(islice(facts, CHUNK)):
            if self._stop.is_set():
                raise Stopping("stop requested")
            rebuild.stage(name, chunk, last=False)
        rebuild.stage(name, (), last=True)

    # ------------------------------------------------------------------------------- the doubts
    def _really(self, doubts: Sequence[Doubt]) -> Sequence[TableFact]:
        """Read what the tables really hold under some keys."""
        found: list[TableFact] = []
        for at in range(0, len(doubts), DOUBTS_PER_READ):
            keys = [doubt.key for doubt in doubts[at : at + DOUBTS_PER_READ]]
            found += self._rows([key[1:] for key in keys if key[0] in ("change", "annotation")])
            found += self._combos([key[1] for key in keys if key[0] == "combo"])
            found += self._stock([key[1:] for key in keys if key[0] == "stock"])
        return found

    def _rows(self, keys: Iterable[tuple[str, ...]]) -> Iterator[TableFact]:
        pairs = [(location, transaction_id) for location, transaction_id in keys]
        wanted = {pair: pair for pair in pairs}
        rows = self._backoff.gather("rows", self._ports.table_repair.rows, wanted)
        for answer in rows.values():
            if answer is not None:
                row, note = answer
                yield row
                if note is not None:
                    yield note

    def _combos(self, keys: Iterable[str]) -> Iterator[TableFact]:
        wanted = {key: key for key in keys}
        combos = self._backoff.gather("combos", self._ports.table_repair.combos, wanted)
        return (combo for combo in combos.values() if combo is not None)

    def _stock(self, keys: Iterable[tuple[str, ...]]) -> Iterator[TableFact]:
        wanted = {key: key for key in (StateKey(StockFold.name, parts) for parts in keys)}
        states = self._backoff.gather("stock", self._ports.states.load, wanted)
        return iter(levels(state for state in states.values() if state.version))


def _plain(totals: PartTotals) -> Json:
    return {name: total._asdict() for name, total in totals._asdict().items()}


def show(told: Json, out: Console) -> None:
    """Print what came of a rebuild for people."""
    for name, before in told["before"].items():
        after = told["after"][name]
        figures = ", ".join(f"{before[m]:,} -> {after[m]:,} {m}" for m in before)
        out.print(f"{name:<8} {figures}", markup=False)
    if told["done"]:
        out.print("swapped in; reports are refreshed")
        return
    out.print(
        f"NOT swapped in: {told['unknown_changes']:,} changes of the warehouse are in no table of"
        " this prefix. Is it the right one? --remove-unknown takes them out.",
        markup=False,
    )
