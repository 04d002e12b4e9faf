"""What the templates say of the functions and their mappings, where the engine depends on it."""

from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode  # type: ignore[import-untyped]  # no types

from consumers.engines import aws_lambda
from consumers.handlers import Consumer
from pipeline.settings import parse_duration

TEMPLATE = Path(__file__).parents[2] / "infra" / "compute-lambda.yaml"
NEVER_SKIPS = {
    "StartingPosition": "TRIM_HORIZON",
    "ParallelizationFactor": 1,
    "MaximumRetryAttempts": -1,
    "MaximumRecordAgeInSeconds": -1,
}
MAY_SKIP = {"DestinationConfig", "FilterCriteria", "TumblingWindowInSeconds"}


@cache
def properties(logical_id: str) -> dict[str, Any]:
    template, faults = decode(str(TEMPLATE))
    assert not faults
    found: dict[str, Any] = template["Resources"][logical_id]["Properties"]
    return found


def test_the_inventory_mapping_offers_every_record_in_order_and_skips_none() -> None:
    mapping = properties("InventoryMapping")
    assert {name: mapping.get(name) for name in NEVER_SKIPS} == NEVER_SKIPS
    assert not MAY_SKIP & mapping.keys()


@pytest.mark.parametrize("name", ["StartingPosition", "ParallelizationFactor"])
def test_the_etl_mapping_offers_a_shard_in_order_from_its_oldest_record(name: str) -> None:
    assert properties("EtlMapping")[name] == NEVER_SKIPS[name]


@pytest.mark.parametrize("consumer", list(Consumer))
def test_a_mapping_understands_what_the_engine_answers(consumer: Consumer) -> None:
    mapping = properties(f"{consumer.capitalize()}Mapping")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@pytest.mark.parametrize(
    ("consumer", "stream"),
    [("inventory", "pos-events"), ("cache", "inventory-changes"), ("etl", "inventory-changes")],
)
def test_a_mapping_reads_its_consumers_stream(consumer: str, stream: str) -> None:
    arn = properties(f"{consumer.capitalize()}Mapping")["EventSourceArn"]["Fn::Sub"]
    assert arn.endswith("stream/${Prefix}-" + stream)


@pytest.mark.parametrize("consumer", list(Consumer))
def test_a_functions_handler_is_there(consumer: Consumer) -> None:
    module, _, name = properties(f"{consumer.capitalize()}Function")["Handler"].rpartition(".")
    assert (module, callable(getattr(aws_lambda, name))) == (aws_lambda.__name__, True)


@pytest.mark.parametrize("consumer", list(Consumer))
def test_a_functions_time_out_outlasts_a_whole_retry_budget(consumer: Consumer) -> None:
    function = properties(f"{consumer.capitalize()}Function")
    said = function["Environment"]["Variables"]
    budget, call = (said[f"TILLSTREAM_{name}"] for name in ("RETRY_BUDGET", "CALL_TIMEOUT"))
    needed = sum((parse_duration(one) for one in (budget, call)), timedelta(0))
    assert function["Timeout"] > needed.total_seconds() + aws_lambda.ANSWER_S
