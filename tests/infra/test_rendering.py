"""The renderer against another implementation of CloudFormation: moto's."""

from __future__ import annotations

import secrets
from ast import literal_eval
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import boto3
import pytest

from pipeline.adapters.cloudformation import deploy
from tests.infra.rendering import Rendered, installation, render, source

if TYPE_CHECKING:
    from consumers.embedded import Endpoints


@pytest.fixture(scope="module")
def session(embedded: Endpoints) -> Any:
    made = boto3.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )

    def client(service: str) -> Any:
        make: Any = made.client  # the stubs want a literal name
        return make(service, endpoint_url=embedded.aws_endpoint_url)

    return client


def same_account(name: str, prefix: str, account: str) -> Rendered:
    pseudo = {"AWS::AccountId": account, "AWS::Region": "us-east-1"}
    return render(name, {"Prefix": prefix}, pseudo=pseudo)


def test_roles_come_out_of_moto_with_the_policies_that_were_rendered(session: Any) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    deploy(session("cloudformation"), source("access"), prefix, {"Prefix": prefix})
    account = session("sts").get_caller_identity()["Account"]
    rendered = same_account("access", prefix, account)
    iam = session("iam")
    for role in rendered.of_type("AWS::IAM::Role").values():
        for policy in role["Policies"]:
            wanted = {"RoleName": role["RoleName"], "PolicyName": policy["PolicyName"]}
            assert document(iam.get_role_policy(**wanted)) == policy["PolicyDocument"]


def test_managed_policies_come_out_of_moto_as_rendered(session: Any) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    deploy(session("cloudformation"), source("access"), prefix, {"Prefix": prefix})
    account = session("sts").get_caller_identity()["Account"]
    rendered = same_account("access", prefix, account)
    iam = session("iam")
    for policy in rendered.of_type("AWS::IAM::ManagedPolicy").values():
        arn = f"arn:aws:iam::{account}:policy/{policy['ManagedPolicyName']}"
        version = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
        assert document({"PolicyDocument": version["Document"]}) == policy["PolicyDocument"]


def test_conditions_leave_out_what_they_leave_out() -> None:
    assert "DataKey" in render("data").resources
    bare = render("data", {"DeletionProtection": "false"})
    assert "DataKey" not in bare.resources
    assert "ResourcePolicy" not in bare.properties("InventoryChangeLogTable")


def test_what_nobody_defines_is_an_error() -> None:
    with pytest.raises(KeyError, match="shop-vpc-id"):
        render("cache")


def test_lists_travel_as_strings() -> None:
    group = installation()["cache"].properties("SubnetGroup")
    assert group["SubnetIds"] == ["<SubnetA>", "<SubnetB>", "<SubnetC>"]


def document(answer: Any) -> Any:
    """Read a policy document; moto keeps an inline one as Python would write it."""
    found = answer["PolicyDocument"]
    return literal_eval(unquote(found)) if isinstance(found, str) else found
