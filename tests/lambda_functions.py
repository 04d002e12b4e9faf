"""The three functions of an installation, each behind an emulated event source mapping."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from consumers.embedded import Endpoints
from consumers.embedded_run import EmbeddedRun
from consumers.engines.aws_lambda import LambdaEngine
from consumers.exports import Json
from consumers.handlers import Consumer
from consumers.run_local import RunOptions, write_exports
from consumers.sources import Line
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, MemoryPorts, Ports, stream_names
from pipeline.ports.clock import Clock
from pipeline.settings import Settings
from tests.crashes import Crash
from tests.databases import new_database
from tests.e2e.runs import QUIET
from tests.event_source_mapping import Event, EventSourceMapping, MappingOptions, Outside
from tests.localstack_servers import let_shards_age
from tests.memory_kinesis import MemoryKinesis

Connect = Callable[[Settings, Clock], Ports]


class Died(RuntimeError):
    """What a mapping sees of a function whose process ended."""


class Function:
    """One function. Its environment is made at the first call, and dies at a crash."""

    def __init__(self, make: Callable[[], LambdaEngine]) -> None:
        self._make = make
        self._engine: LambdaEngine | None = None
        self.answers: list[Any] = []
        self.faults: list[Exception] = []
        self.calls = 0
        self.during: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext()
        """What surrounds the call of this number, counted from 1: a fault of the outside."""

    def __call__(self, event: Event, context: Any) -> Any:
        """Call the function as Lambda does."""
        engine = self._engine = self._engine or self._make()
        self.calls += 1
        try:
            with self.during(self.calls):
                answer = engine.invoke(event, context)
        except Crash as crash:
            self._engine = None
            raise Died(str(crash)) from crash
        except Exception as fault:
            self.faults.append(fault)
            raise
        self.answers.append(answer)
        return answer


class Place(NamedTuple):
    """An installation: its settings, how to reach it, and a boto3 client for each stream."""

    settings: Settings
    clock: Clock
    connect: Connect
    kinesis: Mapping[str, Any]


def in_memory_place(ports: MemoryPorts, settings: Settings, clock: Clock) -> Place:
    """Describe an installation in memory."""
    streams = {stream.name: MemoryKinesis(stream) for stream in (ports.events, ports.changes)}
    return Place(settings, clock, lambda *_: ports, streams)


class Functions:
    """Each consumer's function and mapping."""

    def __init__(
        self, place: Place, options: MappingOptions, function: type[Function] = Function
    ) -> None:
        self.functions: dict[Consumer, Function] = {}
        self.mappings: dict[Consumer, EventSourceMapping] = {}
        events, changes = stream_names(place.settings)
        for consumer in Consumer:
            stream = events if consumer is Consumer.INVENTORY else changes
            self.functions[consumer] = made = function(partial(_engine, consumer, place))
            self.mappings[consumer] = EventSourceMapping(
                place.kinesis[stream], stream, made, options, Outside(place.clock)
            )

    def drain(self, polls_max: int = 10_000) -> None:
        """Let every function finish its stream, the inventory's first."""
        for mapping in self.mappings.values():
            mapping.drain(polls_max)


def _engine(consumer: Consumer, place: Place) -> LambdaEngine:
    return LambdaEngine.wired(consumer, place.settings, place.clock, place.connect)


class ServerRun(NamedTuple):
    """Lines on a stream, and what is to be done with them."""

    lines: Sequence[Line]
    place: Place
    run: EmbeddedRun
    ports: AwsPorts
    options: RunOptions

    def export(self) -> Json:
        """Read everything back."""
        return write_exports(
            self.lines, self.run.placed, self.ports, self.place.settings, self.options
        )


@contextmanager
def run_on_servers(
    lines: Sequence[Line], servers: Endpoints, settings: Settings, options: RunOptions
) -> Iterator[ServerRun]:
    """Publish lines to an installation of their own, for functions to be driven from there.

    The warehouse is a database of its own: shards of all installations have the same names.
    """
    clock = SystemClock()
    with new_database(servers.postgres_dsn) as dsn:
        run = EmbeddedRun(settings, replace(servers, postgres_dsn=dsn), clock, QUIET)
        run.deploy(options.shards)
        let_shards_age(servers)
        options.directory.mkdir(parents=True, exist_ok=True)
        run.publish(lines, options.partition_by, options.directory / "positions.jsonl")
        wanted = run.settings.model_copy(update={"conditional_writes": settings.write_mode()})
        ports = AwsPorts(wanted, clock)
        kinesis = dict.fromkeys(stream_names(wanted), ports.aws.kinesis)
        yield ServerRun(lines, Place(wanted, clock, AwsPorts, kinesis), run, ports, options)
