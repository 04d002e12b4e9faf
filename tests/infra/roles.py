"""The roles of an installation, with every statement that binds them, wherever it is written."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from tests.infra.policies import Decision, Request, Statement, decide
from tests.infra.rendering import ACCOUNT, PREFIX, REGION, Rendered, installation

ENGINES = ("lambda", "kcl", "local")
CONSUMERS = ("inventory", "cache", "etl")
NAMES = tuple(f"{consumer}-{engine}" for engine in ENGINES for consumer in CONSUMERS)
EVERYONE = (*NAMES, "inventory-audit")
TABLES = (
    "inventory_change_log",
    "inventory_combos",
    "processed_transactions",
    "keyed_state",
    "stock_levels",
    "checkpoints",
)
CHANGE_LOG = TABLES[0]
EVERYTHING = ({"Effect": "Allow", "Action": "*", "Resource": "*"},)
"""What an administrator may do by identity."""


class Role(NamedTuple):
    """Who asks, and what its own policies say."""

    arn: str
    statements: Sequence[Statement]
    trust: Sequence[Any]


def role_arn(name: str, account: str = ACCOUNT) -> str:
    """Name a role of the installation."""
    return f"arn:aws:iam::{account}:role/{name}"


def table_arn(name: str) -> str:
    """Name a table of the installation."""
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{PREFIX}-{name}"


@cache
def role(name: str, **parameters: str) -> Role:
    """Find a role of an installation by its name behind the prefix."""
    return found_in(installation(**parameters), f"{PREFIX}-{name}")


def found_in(stacks: Mapping[str, Rendered], name: str, account: str = ACCOUNT) -> Role:
    """Find a role and collect its inline and managed policies, those of other stacks too."""
    access = stacks["access"]
    (own,) = (r for r in access.of_type("AWS::IAM::Role").values() if r["RoleName"] == name)
    documents = [policy["PolicyDocument"] for policy in own["Policies"]]
    for reference in own.get("ManagedPolicyArns", ()):
        documents.append(access.properties(reference.strip("<>"))["PolicyDocument"])
    for stack in stacks.values():
        for managed in stack.of_type("AWS::IAM::ManagedPolicy").values():
            if name in managed.get("Roles", ()):
                documents.append(managed["PolicyDocument"])
    statements = [statement for document in documents for statement in document["Statement"]]
    return Role(role_arn(name, account), statements, own["AssumeRolePolicyDocument"]["Statement"])


def table_policy(data: Rendered) -> Sequence[Statement]:
    """Return the change log's own policy; none on a throw-away installation."""
    policy = data.properties("InventoryChangeLogTable").get("ResourcePolicy")
    statements: Sequence[Statement] = policy["PolicyDocument"]["Statement"] if policy else ()
    return statements


def judged(
    who: Role, action: str, resource: str, context: Any = None, **parameters: str
) -> Decision:
    """Decide a request in an installation; the change log's own policy takes part."""
    request = Request(who.arn, action, resource, context or {})
    about_log = resource.split("/index/")[0].endswith(CHANGE_LOG)
    policy = table_policy(installation(**parameters)["data"]) if about_log else ()
    return decide(request, who.statements, policy)
