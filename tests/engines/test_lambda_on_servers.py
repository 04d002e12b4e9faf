"""The three functions over real servers: the exports of the memory stack, and stores that fail."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.handlers import Consumer
from consumers.run_local import RunOptions
from consumers.sources import Line, PartitionBy
from pipeline.core.errors import SystemFault
from pipeline.settings import Settings
from tests.e2e.runs import Tables, in_memory, tables
from tests.engines.test_lambda_runs import mixed
from tests.event_source_mapping import Event, Invoked, MappingOptions
from tests.faults import answer_lost, refused
from tests.lambda_functions import Functions, ServerRun, run_on_servers
from tests.stacks import fresh

pytestmark = pytest.mark.long

MAPPING = MappingOptions(batch_size=30)
SHARDS = 2
FAILURES = "batchItemFailures"
EMPTY = """
truncate inventory.fact_change, inventory.fact_combo, inventory.stock_level,
    inventory.change_annotation, inventory.fact_refusal, inventory.etl_position
"""


def site(prefix: str) -> Settings:
    return Settings.model_validate(
        {
            "prefix": fresh(prefix),
            "batch_records_max": 20,
            "retry_budget": 0,
            "conditional_writes": "single",
        }
    )


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """Take a part of the demo's deliveries, half of it in aggregates."""
    return mixed(demo_lines()[:210])


@pytest.fixture(scope="module")
def wanted(lines: list[Line], tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("memory")
    in_memory(lines, folder)
    return tables(folder)


@pytest.fixture
def published(embedded: Endpoints, lines: list[Line], tmp_path: Path) -> Iterator[ServerRun]:
    """Lines on a stream of their own that nobody has read yet."""
    options = RunOptions(SHARDS, PartitionBy.KEY, False, tmp_path / "lambda")
    with run_on_servers(lines, embedded, site("functions"), options) as run:
        yield run


def exported(published: ServerRun) -> Tables:
    assert published.export()["reconciled"]
    return tables(published.options.directory)


def test_exports_are_those_of_the_memory_stack_and_no_cache_entry_is_stale(
    published: ServerRun, wanted: Tables
) -> None:
    Functions(published.place, MAPPING).drain()
    assert exported(published) == wanted
    states = list(published.ports.states.scan("stock"))
    held = [published.ports.cache.get((s.key.parts[0], s.key.parts[1])) for s in states]
    assert states
    assert all(h and h.revision >= s.version for h, s in zip(held, states, strict=True))


def struck(
    published: ServerRun, fault: Callable[[Any], AbstractContextManager[None]]
) -> tuple[Functions, list[str]]:
    """Hit the inventory function's second invocation; return the functions, and what was named."""
    place = published.place._replace(connect=lambda *_: published.ports)
    functions = Functions(place, MAPPING)
    inventory = functions.functions[Consumer.INVENTORY]
    client = published.ports.aws.dynamodb
    inventory.during = lambda call: fault(client) if call == 2 else nullcontext()
    functions.drain()
    return functions, [f["itemIdentifier"] for a in inventory.answers for f in a[FAILURES]]


def test_a_store_that_throttles_loses_and_doubles_nothing(
    published: ServerRun, wanted: Tables
) -> None:
    code = "ProvisionedThroughputExceededException"
    functions, named = struck(published, lambda db: refused(db, "PutItem", code, times=9_999))
    second = functions.mappings[Consumer.INVENTORY].events[1]
    assert named == [second["Records"][0]["kinesis"]["sequenceNumber"]]
    assert exported(published) == wanted


def test_answers_that_are_lost_lose_and_double_nothing(
    published: ServerRun, wanted: Tables
) -> None:
    _, named = struck(published, lambda db: answer_lost(db, "PutItem", times=5))
    assert len(named) == 1
    assert exported(published) == wanted


def test_a_permission_that_is_missing_is_raised(published: ServerRun, wanted: Tables) -> None:
    code = "AccessDeniedException"
    functions, named = struck(published, lambda db: refused(db, "PutItem", code, times=9_999))
    (fault,) = functions.functions[Consumer.INVENTORY].faults
    assert (type(fault), code in str(fault), named) == (SystemFault, True, [])
    assert exported(published) == wanted


def test_a_warehouse_that_was_restored_empty_gets_everything_again(
    published: ServerRun, wanted: Tables
) -> None:
    before = Functions(published.place, MAPPING)
    before.drain()
    with psycopg.connect(published.place.settings.postgres_dsn, autocommit=True) as connection:
        connection.execute(EMPTY)
    etl = Functions(published.place, MAPPING).functions[Consumer.ETL]
    newest = {shard_of(event): event for event in before.mappings[Consumer.ETL].events}
    for event in newest.values():  # the last batch of each shard comes to a new environment
        assert etl(event, Invoked("request", 60_000)) == {FAILURES: []}
    assert exported(published) == wanted


def shard_of(event: Event) -> str:
    name: str = event["Records"][0]["eventID"]
    return name.partition(":")[0]
