"""Each role may do what its consumer calls, and nothing that would hurt."""

from typing import Any

import pytest

from consumers.handlers import Consumer
from tests.infra.policies import Decision, Request, decide, matches
from tests.infra.recorded import PREFIX as RECORDED
from tests.infra.recorded import Recording
from tests.infra.rendering import ACCOUNT, MADE_UP, PREFIX, REGION, Rendered, installation, render
from tests.infra.roles import (
    CHANGE_LOG,
    CONSUMERS,
    ENGINES,
    EVERYONE,
    EVERYTHING,
    NAMES,
    TABLES,
    Role,
    found_in,
    judged,
    role,
    role_arn,
    table_arn,
    table_policy,
)

ALLOWED, FORBIDDEN = Decision.ALLOWED, Decision.FORBIDDEN
WRITES = ("PutItem", "UpdateItem", "PartiQLInsert", "PartiQLUpdate")
DELETES = ("DeleteItem", "PartiQLDelete", "BatchWriteItem", "DeleteTable", "UpdateTimeToLive")
BUCKET = f"arn:aws:s3:::{PREFIX}-quarantine-{ACCOUNT}-{REGION}"
ADMINISTRATOR = Role(role_arn("administrator"), EVERYTHING, ())
SINKS = [name for name in NAMES if not name.startswith("inventory")]
WILD = {
    "cloudwatch:PutMetricData",
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
    "ecr:GetAuthorizationToken",
}
"""Actions that take no resource, or none that is known beforehand."""


def here(recording: Recording) -> dict[str, Rendered]:
    """Render what says who may, as it would stand in the recorded account."""
    pseudo = {"AWS::AccountId": recording.account, "AWS::Region": recording.region}
    given = {"Prefix": RECORDED}
    return {name: render(name, given, pseudo=pseudo) for name in ("data", "access")}


# ------------------------------------------------------------------------- what is really called
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("consumer", list(Consumer))
def test_role_may_do_everything_that_its_consumer_calls(
    recording: Recording, engine: str, consumer: Consumer
) -> None:
    stacks = here(recording)
    who = found_in(stacks, f"{RECORDED}-{consumer}-{engine}", recording.account)
    needs = recording.needs[consumer]
    wanted = {n for n in needs if engine == "local" or not n.resource.endswith("-checkpoints")}
    assert len(wanted) > 3
    policy = table_policy(stacks["data"])
    refused = {
        need
        for need in wanted
        for on in [policy if need.resource.endswith(CHANGE_LOG) else ()]
        if decide(Request(who.arn, need.action, need.resource, need.context), who.statements, on)
        is not ALLOWED
    }
    assert refused == set()


@pytest.mark.parametrize("consumer", list(Consumer))
def test_handler_is_granted_nothing_that_it_does_not_call(
    recording: Recording, consumer: Consumer
) -> None:
    policy = here(recording)["access"].properties(f"{consumer.capitalize()}Handler")
    granted = {
        (action, resource)
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }
    needs = recording.needs[consumer]
    unused = {
        (action, resource)
        for action, resource in granted
        if not any(need.action == action and matches(resource, need.resource) for need in needs)
    }
    assert (len(granted) > 3, unused) == (True, set())


# --------------------------------------------------------------------------------- the change log
@pytest.mark.parametrize("action", DELETES)
@pytest.mark.parametrize("name", [*EVERYONE, "administrator"])
def test_nobody_deletes_from_the_change_log(name: str, action: str) -> None:
    who = ADMINISTRATOR if name == "administrator" else role(name)
    assert judged(who, f"dynamodb:{action}", table_arn(CHANGE_LOG)) is FORBIDDEN


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("name", [*EVERYONE, "administrator"])
def test_the_inventory_consumer_alone_writes_the_change_log(name: str, action: str) -> None:
    who = ADMINISTRATOR if name == "administrator" else role(name)
    decision = judged(who, f"dynamodb:{action}", table_arn(CHANGE_LOG))
    assert decision is (ALLOWED if name.startswith("inventory") else FORBIDDEN)


@pytest.mark.parametrize("action", WRITES)
def test_a_role_with_a_name_like_inventorys_does_not_write_the_change_log(action: str) -> None:
    who = Role(role_arn(f"{PREFIX}-inventory-lambda-2"), EVERYTHING, ())
    assert judged(who, f"dynamodb:{action}", table_arn(CHANGE_LOG)) is FORBIDDEN


@pytest.mark.parametrize("action", DELETES)
@pytest.mark.parametrize("name", EVERYONE)
def test_even_without_protection_no_consumer_deletes_from_the_change_log(
    name: str, action: str
) -> None:
    assert not table_policy(render("data", {"DeletionProtection": "false"}))
    who = role(name)._replace(statements=[*role(name).statements, *EVERYTHING])
    request = Request(who.arn, f"dynamodb:{action}", table_arn(CHANGE_LOG))
    assert decide(request, who.statements) is FORBIDDEN


def test_an_administrator_still_reads_the_change_log() -> None:
    assert judged(ADMINISTRATOR, "dynamodb:Query", table_arn(CHANGE_LOG)) is ALLOWED


# ------------------------------------------------------------------------------- the other tables
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "action", [*DELETES, "UpdateTable", "ImportTable", "RestoreTableFromBackup"]
)
@pytest.mark.parametrize("name", EVERYONE)
def test_no_consumer_deletes_or_alters_a_table_of_the_installation(
    name: str, action: str, table: str
) -> None:
    assert judged(role(name), f"dynamodb:{action}", table_arn(table)) is not ALLOWED


@pytest.mark.parametrize("table", TABLES[:-1])
@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("name", SINKS)
def test_sinks_write_no_table(name: str, action: str, table: str) -> None:
    assert judged(role(name), f"dynamodb:{action}", table_arn(table)) is not ALLOWED


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_local_engine_moves_its_own_places_alone(consumer: str) -> None:
    who, action, table = role(f"{consumer}-local"), "dynamodb:UpdateItem", table_arn("checkpoints")
    decisions = {
        key: judged(who, action, table, {"dynamodb:LeadingKeys": [key]}) for key in CONSUMERS
    }
    assert [key for key, decision in decisions.items() if decision is ALLOWED] == [consumer]
    assert judged(who, action, table) is not ALLOWED  # a request that names no key


@pytest.mark.parametrize("table", TABLES[:-1])
def test_the_audit_alone_reads_whole_tables(table: str) -> None:
    may = {n for n in EVERYONE if judged(role(n), "dynamodb:Scan", table_arn(table)) is ALLOWED}
    assert may == {"inventory-audit"}


# ---------------------------------------------------------------------------- streams and bucket
@pytest.mark.parametrize("name", NAMES)
def test_consumers_read_one_stream_and_write_none_that_they_read(name: str) -> None:
    streams = {
        stream: f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{PREFIX}-{stream}"
        for stream in ("pos-events", "inventory-changes")
    }
    may = {
        (action, stream)
        for action in ("GetRecords", "PutRecords", "PutRecord", "DeleteStream", "MergeShards")
        for stream, arn in streams.items()
        if judged(role(name), f"kinesis:{action}", arn) is ALLOWED
    }
    inventory = {("GetRecords", "pos-events"), ("PutRecords", "inventory-changes")}
    sink = {("GetRecords", "inventory-changes")}
    assert may == (inventory if name.startswith("inventory") else sink)


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:DeleteObject", "s3:DeleteObjectVersion"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_in_quarantine_stays_there_unread(name: str, action: str) -> None:
    assert judged(role(name), action, f"{BUCKET}/rejected/x") is not ALLOWED


@pytest.mark.parametrize("name", NAMES)
def test_only_the_mappings_of_sinks_may_give_a_batch_up(name: str) -> None:
    gives_up = judged(role(name), "s3:PutObject", f"{BUCKET}/aws/lambda/mapping/x") is ALLOWED
    assert gives_up is (name in ("cache-lambda", "etl-lambda"))


# ------------------------------------------------------------------------------------- the rest
@pytest.mark.parametrize("name", [*EVERYONE, "fleet-starter"])
def test_no_grant_is_wider_than_its_action_allows(name: str) -> None:
    wild = {
        action
        for statement in role(name).statements
        if statement["Effect"] == "Allow" and "*" in listed(statement["Resource"])
        for action in listed(statement["Action"])
    }
    assert wild <= WILD
    assert not any("*" in a.removesuffix("*") or a.endswith(":*") for a in actions_of(role(name)))


@pytest.mark.parametrize(
    ("name", "trusted"),
    [
        ("inventory-lambda", {"Service": "lambda.amazonaws.com"}),
        ("etl-kcl", {"Service": "ecs-tasks.amazonaws.com"}),
        ("cache-local", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}),
        ("fleet-starter", {"Service": "ecs-tasks.amazonaws.com"}),
    ],
)
def test_roles_are_assumed_by_their_engine_alone(name: str, trusted: Any) -> None:
    (statement,) = role(name).trust
    assert (statement["Principal"], statement["Action"]) == (trusted, "sts:AssumeRole")


@pytest.mark.parametrize(
    ("alias", "service", "decision"),
    [
        (f"alias/{PREFIX}-data", "kinesis", ALLOWED),
        (f"alias/{PREFIX}-data", "ec2", Decision.NOT_GRANTED),
        ("alias/other", "dynamodb", Decision.NOT_GRANTED),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_the_key_serves_the_stores_of_the_installation(
    name: str, alias: str, service: str, decision: Decision
) -> None:
    context = {
        "kms:ResourceAliases": [alias],
        "kms:ViaService": [f"{service}.{REGION}.amazonaws.com"],
    }
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
    assert judged(role(name), "kms:Decrypt", key, context) is decision


@pytest.mark.parametrize("name", NAMES)
def test_no_container_or_function_reads_a_secret(name: str) -> None:
    assert not any(action.startswith("secretsmanager:") for action in actions_of(role(name)))


@pytest.mark.parametrize("user", ["tillstream_etl", "tillstream_owner"])
@pytest.mark.parametrize("name", NAMES)
def test_etl_alone_connects_to_the_proxy_and_as_the_loader(name: str, user: str) -> None:
    database = f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:prx-1/{user}"
    may = judged(role(name), "rds-db:connect", database) is ALLOWED
    assert may is (name.startswith("etl") and user == "tillstream_etl")


def test_proxy_connects_to_the_instance_as_the_loader_alone() -> None:
    (policy,) = installation()["warehouse"].properties("ProxyRole")["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    user = f"dbuser:{MADE_UP['Warehouse.DbiResourceId']}/tillstream_etl"
    assert statement["Action"] == "rds-db:connect"
    assert statement["Resource"] == f"arn:aws:rds-db:{REGION}:{ACCOUNT}:{user}"


def test_every_managed_policy_is_attached_to_a_role_that_exists() -> None:
    stacks = installation()
    names = {r["RoleName"] for r in stacks["access"].of_type("AWS::IAM::Role").values()}
    attached = stacks["warehouse"].properties("EtlConnects")["Roles"]
    assert set(attached) <= names


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def actions_of(who: Role) -> set[str]:
    return {a for s in who.statements if s["Effect"] == "Allow" for a in listed(s["Action"])}
