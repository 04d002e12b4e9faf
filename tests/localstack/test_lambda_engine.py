"""The three functions over LocalStack: its Kinesis, its DynamoDB with batched writes, its S3."""

from pathlib import Path

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.run_local import RunOptions
from consumers.sources import Line, PartitionBy
from pipeline.settings import Settings
from tests.e2e.hostile import CASES
from tests.e2e.runs import in_memory, numbered, rows, tables
from tests.engines.test_lambda_runs import mixed
from tests.event_source_mapping import MappingOptions
from tests.lambda_functions import Functions, ServerRun, run_on_servers
from tests.localstack_servers import let_shards_age
from tests.stacks import fresh

MAPPING = MappingOptions(batch_size=120, bisect_batch_on_function_error=True)
MIDDLE = str(2**127)
"""Of all hash keys."""


def site() -> Settings:
    return Settings(prefix=fresh("fn"), batch_records_max=50, conditional_writes="batch")


def run_functions(lines: list[Line], localstack: Endpoints, folder: Path, shards: int) -> bool:
    """Run lines through the functions, and export; say whether the stores agree."""
    options = RunOptions(shards, PartitionBy.KEY, False, folder)
    with run_on_servers(lines, localstack, site(), options) as published:
        Functions(published.place, MAPPING).drain()
        return bool(published.export()["reconciled"])


def test_exports_are_those_of_the_memory_stack(localstack: Endpoints, tmp_path: Path) -> None:
    lines = mixed(demo_lines()[:700])
    assert run_functions(lines, localstack, tmp_path / "localstack", shards=2)
    in_memory(lines, tmp_path / "memory")
    assert tables(tmp_path / "localstack") == tables(tmp_path / "memory")
    verdicts = [rows(tmp_path / name, "verdicts") for name in ("localstack", "memory")]
    assert verdicts[0] == verdicts[1]


def test_hostile_records_get_their_verdicts(localstack: Endpoints, tmp_path: Path) -> None:
    lines = numbered(case.data for case in CASES)
    assert run_functions(lines, localstack, tmp_path, shards=1)
    found = [row["verdict"] for row in rows(tmp_path, "verdicts")]
    assert found == [case.verdict for case in CASES]


def test_shards_that_split_on_the_way_change_nothing(localstack: Endpoints, tmp_path: Path) -> None:
    lines = demo_lines()[:300]
    options = RunOptions(1, PartitionBy.KEY, False, tmp_path / "localstack")
    with run_on_servers(lines[:150], localstack, site(), options) as published:
        split(published)
        published.run.publish(lines[150:], PartitionBy.KEY, tmp_path / "more.jsonl")
        assert len(published.ports.events.shards()) == 3
        Functions(published.place, MAPPING).drain()
        assert published._replace(lines=lines).export()["reconciled"]
    in_memory(lines, tmp_path / "memory")
    assert tables(tmp_path / "localstack") == tables(tmp_path / "memory")


def split(published: ServerRun) -> None:
    """Split the only shard of the stream of events."""
    (stream, kinesis), *_ = published.place.kinesis.items()
    (shard,) = published.ports.events.shards()
    kinesis.split_shard(StreamName=stream, ShardToSplit=shard.shard_id, NewStartingHashKey=MIDDLE)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    let_shards_age(published.run.endpoints)
