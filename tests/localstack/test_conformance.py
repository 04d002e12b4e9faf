"""One golden stream through the three engines: identical exports."""

from collections.abc import Callable
from pathlib import Path

import pytest

from consumers.embedded import Endpoints
from consumers.sources import Line
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, stream_names
from tests.e2e.runs import Tables, rows, tables
from tests.event_source_mapping import MappingOptions
from tests.lambda_functions import Functions, Place
from tests.localstack.golden import CONSUMERS, KCL, Site, site


def by_processes(*engine: str) -> Callable[[Site], None]:
    """Serve with consumers that run while the stream is resharded under them."""

    def serve(place: Site) -> None:
        half = len(place.lines) // 2
        place.publish(0, half)
        for name in CONSUMERS:
            place.start(name, *engine)
        place.wait(lambda: place.rows() > 0)
        place.split()
        place.publish(half)
        place.wait()
        assert [place.stop(name) for name in CONSUMERS] == [0, 0, 0], place.said()

    return serve


def by_functions(place: Site) -> None:
    """Serve with the three functions, each behind its event source mapping."""
    kinesis = dict.fromkeys(stream_names(place.settings), place.ports.aws.kinesis)
    there = Place(place.settings, SystemClock(), AwsPorts, kinesis)
    functions = Functions(there, MappingOptions(batch_size=120))
    half = len(place.lines) // 2
    place.publish(0, half)
    functions.drain()
    place.split()
    place.publish(half)
    functions.drain()
    place.wait()


ENGINES: dict[str, Callable[[Site], None]] = {
    "local": by_processes(),
    "kcl": by_processes(*KCL),
    "lambda": by_functions,
}


@pytest.mark.parametrize("engine", ENGINES)
def test_exports_of_every_engine_are_those_of_the_memory_stack(
    engine: str, golden: list[Line], wanted: Path, localstack: Endpoints, tmp_path: Path
) -> None:
    with site(localstack, tmp_path / engine, golden) as place:
        ENGINES[engine](place)
        found: Tables = tables(place.folder)
        assert found == tables(wanted)
        for name in ("verdicts", "quarantine"):
            assert rows(place.folder, name) == rows(wanted, name)
