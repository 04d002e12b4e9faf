"""What the engines' own machinery calls: the KCL in Java and Lambda's pollers, which no hook sees.

Sources: "IAM permissions required for KCL consumer applications" in the Kinesis developer guide,
less enhanced fan-out; "Execution role permissions" for Kinesis and for VPCs in the Lambda developer
guide.
"""

import pytest

from tests.infra.policies import Decision
from tests.infra.rendering import ACCOUNT, PREFIX, REGION
from tests.infra.roles import CONSUMERS, judged, role, table_arn

ALLOWED = Decision.ALLOWED
STREAMS = {"inventory": "pos-events", "cache": "inventory-changes", "etl": "inventory-changes"}
READS = ("DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards")
LEASES = (
    "CreateTable", "DeleteItem", "DescribeTable", "GetItem", "PutItem", "Scan", "UpdateItem",
    "UpdateTable",
)  # fmt: skip
LEASE_TABLES = ("", "-CoordinatorState", "-WorkerMetricStats")
INTERFACES = (
    "AssignPrivateIpAddresses", "CreateNetworkInterface", "DeleteNetworkInterface",
    "DescribeNetworkInterfaces", "DescribeSubnets", "UnassignPrivateIpAddresses",
)  # fmt: skip


@pytest.mark.parametrize("action", READS)
@pytest.mark.parametrize("engine", ["lambda", "kcl"])
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_pollers_read_the_stream(consumer: str, engine: str, action: str) -> None:
    stream = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{PREFIX}-{STREAMS[consumer]}"
    assert judged(role(f"{consumer}-{engine}"), f"kinesis:{action}", stream) is ALLOWED


@pytest.mark.parametrize("action", LEASES)
@pytest.mark.parametrize("table", LEASE_TABLES)
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_fleet_keeps_its_own_leases_and_no_others(consumer: str, table: str, action: str) -> None:
    may = {
        other
        for other in CONSUMERS
        if judged(role(f"{consumer}-kcl"), f"dynamodb:{action}", table_arn(other + table))
        is ALLOWED
    }
    assert may == {consumer}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_fleet_finds_leases_by_owner(consumer: str) -> None:
    index = table_arn(f"{consumer}/index/LeaseOwnerToLeaseKeyIndex")
    assert judged(role(f"{consumer}-kcl"), "dynamodb:Query", index) is ALLOWED


@pytest.mark.parametrize("action", LEASES)
@pytest.mark.parametrize("engine", ["lambda", "local"])
def test_other_engines_have_no_leases(engine: str, action: str) -> None:
    who = role(f"inventory-{engine}")
    assert judged(who, f"dynamodb:{action}", table_arn("inventory")) is not ALLOWED


def test_fleet_writes_metrics_into_its_own_namespace() -> None:
    who, action = role("etl-kcl"), "cloudwatch:PutMetricData"
    own = {"cloudwatch:namespace": [f"{PREFIX}-etl"]}
    other = {"cloudwatch:namespace": ["AWS/Lambda"]}
    assert judged(who, action, "*", own) is ALLOWED
    assert judged(who, action, "*", other) is not ALLOWED


@pytest.mark.parametrize("action", INTERFACES)
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_lambda_attaches_functions_to_the_vpc_and_their_code_cannot(
    consumer: str, action: str
) -> None:
    who = role(f"{consumer}-lambda")
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{PREFIX}-{consumer}"
    code = {"lambda:SourceFunctionArn": [function]}
    assert judged(who, f"ec2:{action}", "*") is ALLOWED
    assert judged(who, f"ec2:{action}", "*", code) is Decision.FORBIDDEN


@pytest.mark.parametrize(("engine", "stream"), [("lambda", "2026/01/01/[1]x"), ("kcl", "worker/x")])
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_logs_go_to_the_consumers_own_group(consumer: str, engine: str, stream: str) -> None:
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/{PREFIX}/{engine}/{consumer}"
    who = role(f"{consumer}-lambda" if engine == "lambda" else "fleet-starter")
    assert judged(who, "logs:PutLogEvents", f"{group}:log-stream:{stream}") is ALLOWED
    assert judged(who, "logs:DeleteLogGroup", group) is not ALLOWED


@pytest.mark.parametrize(
    ("secret", "decision"),
    [
        ("cache/address-AbCdEf", ALLOWED),
        ("cache/writer-AbCdEf", Decision.NOT_GRANTED),
        ("cache/address-AbCdEf-other", Decision.NOT_GRANTED),
    ],
)
def test_fleet_starter_hands_out_the_caches_address_alone(secret: str, decision: Decision) -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{PREFIX}/{secret}"
    assert judged(role("fleet-starter"), "secretsmanager:GetSecretValue", arn) is decision
