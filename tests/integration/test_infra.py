"""infra/data.yaml, deployed unchanged through the CloudFormation API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest

from consumers.embedded import Endpoints
from pipeline.adapters.cloudformation import DeploymentFailed, deploy

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client

TEMPLATE = Path(__file__).parents[2].joinpath("infra", "data.yaml").read_text()

KEYS = {
    "inventory_change_log": ["location", "transaction_id"],
    "inventory_combos": ["combo_id"],
    "processed_transactions": ["transaction_id"],
    "keyed_state": ["state_key"],
    "stock_levels": ["location", "product_id"],
    "checkpoints": ["consumer", "shard_id"],
}
INDEXES = {
    "inventory_change_log": {"product_id-index": ["product_id", "timestamp"]},
    "inventory_combos": {"location-paired_at-index": ["location", "paired_at"]},
}


@dataclass(frozen=True)
class Clients:
    cloudformation: CloudFormationClient
    dynamodb: DynamoDBClient
    kinesis: KinesisClient
    s3: S3Client


@dataclass(frozen=True)
class Deployed:
    prefix: str
    outputs: Mapping[str, str]


@pytest.fixture(scope="module")
def aws(embedded: Endpoints) -> Clients:
    session = boto3.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    url = embedded.aws_endpoint_url
    return Clients(
        session.client("cloudformation", endpoint_url=url),
        session.client("dynamodb", endpoint_url=url),
        session.client("kinesis", endpoint_url=url),
        session.client("s3", endpoint_url=url),
    )


@pytest.fixture(scope="module")
def deployed(aws: Clients) -> Deployed:
    return deploy_as(aws, f"t{secrets.token_hex(4)}")


def deploy_as(aws: Clients, prefix: str, **parameters: str) -> Deployed:
    outputs = deploy(aws.cloudformation, TEMPLATE, prefix, {"Prefix": prefix, **parameters})
    return Deployed(prefix, outputs)


@pytest.mark.parametrize("stream", ["pos-events", "inventory-changes"])
def test_streams_have_two_shards_and_keep_a_week(
    aws: Clients, deployed: Deployed, stream: str
) -> None:
    summary = aws.kinesis.describe_stream_summary(StreamName=f"{deployed.prefix}-{stream}")
    described = summary["StreamDescriptionSummary"]
    assert described["RetentionPeriodHours"] == 168
    assert described["OpenShardCount"] == 2


@pytest.mark.parametrize("table", KEYS)
def test_tables_have_their_keys_and_indexes(aws: Clients, deployed: Deployed, table: str) -> None:
    described = aws.dynamodb.describe_table(TableName=f"{deployed.prefix}-{table}")["Table"]
    assert [key["AttributeName"] for key in described["KeySchema"]] == KEYS[table]
    indexes = described.get("GlobalSecondaryIndexes", [])
    assert {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in indexes
    } == INDEXES.get(table, {})
    assert all(index["Projection"]["ProjectionType"] == "ALL" for index in indexes)


@pytest.mark.parametrize("table", KEYS)
def test_tables_are_protected_and_on_demand(aws: Clients, deployed: Deployed, table: str) -> None:
    described = aws.dynamodb.describe_table(TableName=f"{deployed.prefix}-{table}")["Table"]
    assert described["DeletionProtectionEnabled"] is True
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_outputs_name_what_was_created(aws: Clients, deployed: Deployed) -> None:
    outputs = deployed.outputs
    assert outputs["PosEventsStreamName"] == f"{deployed.prefix}-pos-events"
    assert outputs["KeyedStateTableArn"].endswith(f":table/{deployed.prefix}-keyed_state")
    assert aws.s3.list_objects_v2(Bucket=outputs["QuarantineBucketName"])["KeyCount"] == 0


def test_deploying_again_changes_nothing(aws: Clients) -> None:
    first = deploy_as(aws, f"t{secrets.token_hex(4)}")
    table, bucket = f"{first.prefix}-stock_levels", first.outputs["QuarantineBucketName"]
    aws.dynamodb.put_item(
        TableName=table, Item={"location": {"S": "here"}, "product_id": {"S": "p"}}
    )
    aws.s3.put_object(Bucket=bucket, Key="kept", Body=b"x")
    assert deploy_as(aws, first.prefix).outputs == first.outputs
    assert aws.dynamodb.scan(TableName=table)["Count"] == 1
    assert aws.s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_two_prefixes_live_side_by_side(aws: Clients, deployed: Deployed) -> None:
    other = deploy_as(
        aws, f"t{secrets.token_hex(4)}", ShardCount="3", RetentionHours="24",
        DeletionProtection="false",
    )  # fmt: skip
    assert not set(other.outputs.values()) & set(deployed.outputs.values())
    stream = other.outputs["PosEventsStreamName"]
    described = aws.kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    assert (described["OpenShardCount"], described["RetentionPeriodHours"]) == (3, 24)
    table = aws.dynamodb.describe_table(TableName=other.outputs["CheckpointsTableName"])["Table"]
    assert table["DeletionProtectionEnabled"] is False


class RolledBack:
    """A client whose stack has failed twice; moto's stacks cannot fail, so it cannot show this."""

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        return {"Stacks": [{"StackName": StackName, "StackStatus": "UPDATE_ROLLBACK_COMPLETE"}]}

    def update_stack(self, **_: Any) -> None:
        return None

    def get_paginator(self, _: str) -> RolledBack:
        return self

    def paginate(self, StackName: str) -> list[dict[str, Any]]:
        newest_first = [
            (StackName, "UPDATE_ROLLBACK_IN_PROGRESS", "failed: [Table, Bucket]"),
            ("Bucket", "UPDATE_FAILED", "Resource update cancelled"),
            ("Table", "UPDATE_FAILED", "Subscriber limit exceeded"),
            (StackName, "UPDATE_IN_PROGRESS", "User Initiated"),
            ("Stream", "CREATE_FAILED", "of an earlier deployment"),
        ]
        names = ("LogicalResourceId", "ResourceStatus", "ResourceStatusReason")
        return [{"StackEvents": [dict(zip(names, event, strict=True)) for event in newest_first]}]


def test_a_failed_deployment_names_the_resource_that_failed_first() -> None:
    with pytest.raises(DeploymentFailed, match="Table: Subscriber limit exceeded"):
        deploy(cast("CloudFormationClient", RolledBack()), TEMPLATE, "stack", {})
