"""The data template: what must never be lost cannot be, as far as a template can say."""

import pytest

from pipeline.settings import STREAM_RETENTION_HOURS
from tests.infra.rendering import PREFIX, installation, render
from tests.infra.roles import TABLES

DATA = installation()["data"]
BARE = render("data", {"DeletionProtection": "false"})
KEY = "<DataKey.Arn>"
by_name = {
    t["TableName"].removeprefix(f"{PREFIX}-"): t
    for t in DATA.of_type("AWS::DynamoDB::Table").values()
}


def test_tables_are_the_six_that_consumers_name() -> None:
    assert set(by_name) == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_protected_encrypted_and_restorable(name: str) -> None:
    table = by_name[name]
    assert table["DeletionProtectionEnabled"] is True
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {
        "SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY,
    }  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_no_table_forgets(name: str) -> None:
    assert "TimeToLiveSpecification" not in by_name[name]


def test_streams_keep_records_for_as_long_as_the_settings_assume() -> None:
    streams = DATA.of_type("AWS::Kinesis::Stream").values()
    assert {s["Name"] for s in streams} == {f"{PREFIX}-pos-events", f"{PREFIX}-inventory-changes"}
    assert {s["RetentionPeriodHours"] for s in streams} == {STREAM_RETENTION_HOURS}
    assert all(s["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": KEY} for s in streams)


def test_quarantine_is_private_versioned_and_encrypted() -> None:
    bucket = DATA.properties("QuarantineBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == KEY
    (statement,) = DATA.properties("QuarantineBucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Sid"]) == ("Deny", "TlsOnly")


def test_key_rotates_and_is_slow_to_go() -> None:
    key = DATA.properties("DataKey")
    assert (key["EnableKeyRotation"], key["PendingWindowInDays"]) == (True, 30)
    assert DATA.properties("DataKeyAlias")["AliasName"] == f"alias/{PREFIX}-data"


def test_a_throw_away_installation_leaves_nothing_that_cannot_be_thrown_away() -> None:
    assert not BARE.of_type("AWS::KMS::Key")
    tables = BARE.of_type("AWS::DynamoDB::Table").values()
    assert not any(table["DeletionProtectionEnabled"] for table in tables)
    assert not any("ResourcePolicy" in table for table in tables)
    assert all(table["SSESpecification"]["SSEEnabled"] for table in tables)


def test_protection_changes_no_name() -> None:
    for kind, name in (
        ("AWS::DynamoDB::Table", "TableName"),
        ("AWS::Kinesis::Stream", "Name"),
        ("AWS::S3::Bucket", "BucketName"),
    ):
        sides = ([p[name] for p in stack.of_type(kind).values()] for stack in (DATA, BARE))
        assert next(sides) == next(sides)
