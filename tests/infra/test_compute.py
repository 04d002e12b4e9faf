"""The two ways of running the consumers keep what the guarantees presuppose (P1)."""

from datetime import timedelta
from typing import Any

import pytest

from consumers.cli import Engine
from consumers.engines import aws_lambda
from consumers.fleet.properties import SHUTDOWN_GRACE_MS, FleetOptions, daemon_properties
from consumers.fleet.supervision import STOP_TIMEOUT_S
from consumers.handlers import Consumer
from infra.bundles import LEFT_OUT, MACHINES
from pipeline.settings import STREAM_RETENTION_HOURS, Settings
from tests.event_source_mapping import MappingOptions
from tests.infra.rendering import ACCOUNT, PREFIX, REGION, installation, parsed
from tests.infra.roles import CONSUMERS

LAMBDA, KCL = installation()["compute-lambda"], installation()["compute-kcl"]
STREAMS = {"inventory": "pos-events", "cache": "inventory-changes", "etl": "inventory-changes"}
SINKS = ("cache", "etl")
BUCKET = f"arn:aws:s3:::{PREFIX}-quarantine-{ACCOUNT}-{REGION}"
STOP_TIMEOUT_MAX_S = 120
"""Source: ECS, container definition; Fargate takes no more."""


def function(consumer: str) -> Any:
    return LAMBDA.properties(f"{consumer.capitalize()}Function")


def mapping(consumer: str) -> Any:
    return LAMBDA.properties(f"{consumer.capitalize()}Mapping")


def settings(consumer: str) -> Settings:
    """Read the settings that a function starts with."""
    variables = function(consumer)["Environment"]["Variables"]
    given = {n.removeprefix("TILLSTREAM_").lower(): v for n, v in variables.items() if "TILL" in n}
    return Settings.model_validate(given)


# ------------------------------------------------------------------------------ Lambda: inventory
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("StartingPosition", "TRIM_HORIZON"),
        ("ParallelizationFactor", 1),
        ("MaximumRetryAttempts", -1),
        ("MaximumRecordAgeInSeconds", -1),
        ("FunctionResponseTypes", ["ReportBatchItemFailures"]),
    ],
)
def test_inventorys_mapping_offers_every_record_in_order(name: str, value: Any) -> None:
    assert mapping("inventory")[name] == value


def test_inventorys_mapping_has_nowhere_to_give_a_batch_up_to() -> None:
    assert "DestinationConfig" not in mapping("inventory")
    assert not {"FilterCriteria", "TumblingWindowInSeconds"} & mapping("inventory").keys()


def test_inventorys_mapping_is_the_one_that_the_engine_is_tested_behind() -> None:
    found = mapping("inventory")
    emulated = MappingOptions(
        report_batch_item_failures="ReportBatchItemFailures" in found["FunctionResponseTypes"],
        bisect_batch_on_function_error=found["BisectBatchOnFunctionError"],
        maximum_retry_attempts=found["MaximumRetryAttempts"],
        maximum_record_age_s=found["MaximumRecordAgeInSeconds"],
    )
    assert emulated == MappingOptions()


# ---------------------------------------------------------------------------------- Lambda: sinks
@pytest.mark.parametrize("consumer", SINKS)
def test_a_sinks_mapping_gives_up_at_last_and_keeps_what_it_gave_up(consumer: str) -> None:
    found = mapping(consumer)
    assert 1 <= found["MaximumRetryAttempts"] <= 10_000
    assert 60 <= found["MaximumRecordAgeInSeconds"] <= STREAM_RETENTION_HOURS * 3_600 / 2
    assert found["BisectBatchOnFunctionError"] is True
    assert found["DestinationConfig"] == {"OnFailure": {"Destination": BUCKET}}
    assert found["StartingPosition"] == "TRIM_HORIZON"
    assert found["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert found["ParallelizationFactor"] == 1


def test_a_tombstone_is_given_up_only_once_it_is_void() -> None:
    life = settings("cache").cache_ttl * 1.1
    assert timedelta(seconds=mapping("cache")["MaximumRecordAgeInSeconds"]) > life


def test_the_warehouse_is_waited_for_over_a_weekend() -> None:
    assert timedelta(seconds=mapping("etl")["MaximumRecordAgeInSeconds"]) >= timedelta(days=3)


# ------------------------------------------------------------------------------ Lambda: functions
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_function_is_the_consumers(consumer: str) -> None:
    found = function(consumer)
    assert callable(getattr(aws_lambda, found["Handler"].removeprefix(f"{aws_lambda.__name__}.")))
    assert found["Handler"].endswith(f".{consumer}_handler")
    assert found["Code"]["S3Key"].endswith(f"/{consumer}.zip")
    assert found["Role"] == f"<{consumer.capitalize()}LambdaRole.Arn>"
    assert mapping(consumer)["FunctionName"] == f"<{consumer.capitalize()}Function>"
    assert mapping(consumer)["EventSourceArn"].endswith(f":stream/{PREFIX}-{STREAMS[consumer]}")


def test_functions_are_those_that_there_are_bundles_for() -> None:
    assert set(LEFT_OUT) == set(CONSUMERS) == {str(c) for c in Consumer}
    assert set(parsed("compute-lambda")["Parameters"]["Architecture"]["AllowedValues"]) == set(
        MACHINES
    )


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_function_outlasts_two_calls_that_use_up_their_budgets(consumer: str) -> None:
    given = settings(consumer)
    reserve = given.call_timeout + timedelta(seconds=aws_lambda.ANSWER_S)
    working = timedelta(seconds=function(consumer)["Timeout"]) - reserve
    assert working > 2 * (given.retry_budget + given.call_timeout)
    assert function(consumer)["Timeout"] <= 900


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_mapping_offers_one_batch_of_the_handlers_at_a_time(consumer: str) -> None:
    assert mapping(consumer)["BatchSize"] == settings(consumer).batch_records_max


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_function_is_private_encrypted_and_its_log_ends(consumer: str) -> None:
    found = function(consumer)
    assert found["VpcConfig"]["SubnetIds"] == ["<SubnetA>", "<SubnetB>", "<SubnetC>"]
    assert found["VpcConfig"]["SecurityGroupIds"] == ["<ConsumerSecurityGroup>"]
    assert found["KmsKeyArn"] == "<DataKey.Arn>"
    logs = LAMBDA.properties(f"{consumer.capitalize()}Logs")
    assert found["LoggingConfig"]["LogGroup"] == f"<{consumer.capitalize()}Logs>"
    assert (logs["LogGroupName"], logs["RetentionInDays"]) == (f"/{PREFIX}/lambda/{consumer}", 30)


# --------------------------------------------------------------------------------------- the fleet
def container(consumer: str) -> Any:
    (found,) = KCL.properties(f"{consumer.capitalize()}Task")["ContainerDefinitions"]
    return found


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_stop_is_waited_for_longer_than_the_supervisor_waits(consumer: str) -> None:
    stop = container(consumer)["StopTimeout"]
    assert SHUTDOWN_GRACE_MS / 1_000 < STOP_TIMEOUT_S < stop <= STOP_TIMEOUT_MAX_S


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_task_runs_the_consumer_as_a_fleet_under_its_own_role(consumer: str) -> None:
    task = KCL.properties(f"{consumer.capitalize()}Task")
    assert container(consumer)["Command"] == [
        "tillstream", "consume", consumer, "--engine", Engine.KCL.value,
    ]  # fmt: skip
    assert task["TaskRoleArn"] == f"<{consumer.capitalize()}KclRole.Arn>"
    assert task["ExecutionRoleArn"] == "<FleetStarterRole.Arn>"
    assert container(consumer)["Image"] == "registry/shop@sha256:0"


@pytest.mark.parametrize("consumer", list(Consumer))
def test_fleet_keeps_its_leases_in_the_tables_that_its_role_names(consumer: Consumer) -> None:
    told = daemon_properties(consumer, Settings(prefix=PREFIX), FleetOptions())
    assert told["applicationName"] == f"{PREFIX}-{consumer}"
    assert not {"tableName", "coordinatorStateTableName", "workerMetricsTableName"} & told.keys()
    assert told["retrievalMode"] == "POLLING"  # its role allows no fan-out


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_fleet_grows_and_shrinks_by_the_age_of_what_is_unread(consumer: str) -> None:
    name = consumer.capitalize()
    behind, idle = KCL.properties(f"{name}Behind"), KCL.properties(f"{name}Idle")
    for alarm in (behind, idle):
        assert alarm["MetricName"] == "GetRecords.IteratorAgeMilliseconds"
        assert alarm["Dimensions"][0]["Value"] == f"{PREFIX}-{STREAMS[consumer]}"
    assert behind["AlarmActions"] == [f"<{name}Grows>"]
    assert idle["AlarmActions"] == [f"<{name}Shrinks>"]
    assert behind["Threshold"] > 10 * idle["Threshold"]  # or it would grow and shrink in turns


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_deployment_starts_new_workers_before_it_stops_old_ones(consumer: str) -> None:
    service = KCL.properties(f"{consumer.capitalize()}Service")
    assert service["DeploymentConfiguration"]["MinimumHealthyPercent"] == 100
    network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert (network["AssignPublicIp"], len(network["Subnets"])) == ("DISABLED", 3)
