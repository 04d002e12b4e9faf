"""infra/data.yaml, unchanged, through LocalStack's CloudFormation.

It leaves out the retention of streams and the deletion protection of tables; that these are asked
for is tested on the embedded stack, in `tests/integration/test_infra.py`.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from consumers.deployment import deploy
from consumers.embedded import Endpoints
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.settings import Settings
from tests.integration.test_infra import INDEXES, KEYS
from tests.stacks import fresh

SHARDS = 3


@pytest.fixture(scope="module")
def settings(localstack: Endpoints) -> Settings:
    return Settings(
        prefix=fresh("infra"), target="localstack", postgres_dsn=localstack.postgres_dsn
    )


@pytest.fixture(scope="module")
def installed(settings: Settings) -> AwsPorts:
    return AwsPorts(settings, SystemClock())


@pytest.fixture(scope="module")
def outputs(settings: Settings) -> Mapping[str, str]:
    return deploy(settings, SystemClock(), SHARDS, protect=False)


def keys(schema: list[Any]) -> list[str]:
    return [key["AttributeName"] for key in schema]


def test_streams_have_the_shards_that_were_asked_for(
    outputs: Mapping[str, str], installed: AwsPorts
) -> None:
    assert [len(stream.shards()) for stream in (installed.events, installed.changes)] == [
        SHARDS
    ] * 2
    assert outputs["PosEventsStreamArn"].endswith(outputs["PosEventsStreamName"])


@pytest.mark.parametrize("table", KEYS)
def test_tables_have_their_keys_and_indexes(
    outputs: Mapping[str, str], installed: AwsPorts, settings: Settings, table: str
) -> None:
    name = f"{settings.prefix}-{table}"
    described: Any = installed.aws.dynamodb.describe_table(TableName=name)["Table"]
    indexes = described.get("GlobalSecondaryIndexes", [])
    assert name in outputs.values() and keys(described["KeySchema"]) == KEYS[table]
    assert {i["IndexName"]: keys(i["KeySchema"]) for i in indexes} == INDEXES.get(table, {})


def test_bucket_refuses_what_comes_without_tls_and_is_versioned(
    outputs: Mapping[str, str], installed: AwsPorts
) -> None:
    bucket = outputs["QuarantineBucketName"]
    assert "aws:SecureTransport" in installed.aws.s3.get_bucket_policy(Bucket=bucket)["Policy"]
    assert installed.aws.s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_deploying_again_changes_nothing(
    outputs: Mapping[str, str], installed: AwsPorts, settings: Settings
) -> None:
    bucket = outputs["QuarantineBucketName"]
    installed.aws.s3.put_object(Bucket=bucket, Key="kept", Body=b"x")
    assert deploy(settings, SystemClock(), SHARDS, protect=False) == outputs
    assert installed.aws.s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
