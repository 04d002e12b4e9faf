"""Deploy a CloudFormation template: the same way on moto, LocalStack and AWS.

A stack is created or updated with the plain calls and polled until it settles. Change sets were
rejected (three calls more, and the stand-ins implement them least faithfully), and so were boto3's
waiters (on failure they say that a terminal state was reached, not which resource refused).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pipeline.core.errors import SystemFault

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.literals import CapabilityType
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, StackTypeDef

# A table with an index takes a minute on AWS, resharding a stream some minutes more.
DEPLOY_TIMEOUT_SECONDS = 1_800.0
POLL_INTERVAL_SECONDS_MIN = 0.05
POLL_INTERVAL_SECONDS_MAX = 5.0
POLL_BACKOFF_FACTOR = 2.0

SETTLED = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
STARTED = {"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"}
# Named IAM roles need the stronger of the two acknowledgements; it includes the weaker one.
CAPABILITY: CapabilityType = "CAPABILITY_NAMED_IAM"


class DeploymentFailed(SystemFault):
    """The stack did not reach the wanted state; the message names the resource and its reason."""


def deploy(
    client: CloudFormationClient,
    template_body: str,
    stack_name: str,
    parameters: Mapping[str, str],
) -> Mapping[str, str]:
    """Create the stack, or update it, and return its outputs once it has settled.

    Repeating a deployment that changes nothing succeeds. Raises `DeploymentFailed` when the stack
    rolls back, cannot be updated, or has not settled within `DEPLOY_TIMEOUT_SECONDS`; a refused
    template or a missing permission is the client's own `ClientError`.
    """
    values: list[ParameterTypeDef] = [
        {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
    ]
    existing = _describe(client, stack_name)
    if existing is None:
        client.create_stack(
            StackName=stack_name,
            TemplateBody=template_body,
            Parameters=values,
            Capabilities=[CAPABILITY],
        )
    elif not _update(client, template_body, stack_name, values):
        return _outputs(existing)
    return _outputs(_settled(client, stack_name))


def _describe(client: CloudFormationClient, stack_name: str) -> StackTypeDef | None:
    try:
        stack = client.describe_stacks(StackName=stack_name)["Stacks"][0]
    except ClientError as error:
        if _is(error, "does not exist"):
            return None
        raise
    # AWS keeps showing the name of a stack whose creation is only being reviewed.
    return None if stack["StackStatus"] == "REVIEW_IN_PROGRESS" else stack


def _update(
    client: CloudFormationClient,
    template_body: str,
    stack_name: str,
    parameters: list[ParameterTypeDef],
) -> bool:
    """Start an update; return False if the stack is already as wanted."""
    try:
        client.update_stack(
            StackName=stack_name,
            TemplateBody=template_body,
            Parameters=parameters,
            Capabilities=[CAPABILITY],
        )
    except ClientError as error:
        # CloudFormation reports "nothing to do" as an error that only its text tells apart.
        if not _is(error, "No updates are to be performed"):
            raise
        return False
    return True


def _is(error: ClientError, text: str) -> bool:
    failure = error.response.get("Error", {})
    return failure.get("Code") == "ValidationError" and text in failure.get("Message", "")


def _settled(client: CloudFormationClient, stack_name: str) -> StackTypeDef:
    deadline = time.monotonic() + DEPLOY_TIMEOUT_SECONDS
    pause_seconds = POLL_INTERVAL_SECONDS_MIN
    while time.monotonic() < deadline:
        stack = _describe(client, stack_name)
        if stack is None:
            raise DeploymentFailed(f"stack {stack_name} is gone")
        status = stack["StackStatus"]
        if status in SETTLED:
            return stack
        if not _is_moving(status):
            raise DeploymentFailed(f"stack {stack_name} is {status}: {_reason(client, stack)}")
        time.sleep(pause_seconds)  # noqa: TID251 - a command, not a consumer: Ctrl+C stops it
        pause_seconds = min(pause_seconds * POLL_BACKOFF_FACTOR, POLL_INTERVAL_SECONDS_MAX)
    raise DeploymentFailed(
        f"stack {stack_name} did not settle within {DEPLOY_TIMEOUT_SECONDS:.0f} s"
    )


def _is_moving(status: str) -> bool:
    return status.endswith("_IN_PROGRESS")


def _reason(client: CloudFormationClient, stack: StackTypeDef) -> str:
    """Name the first resource that failed of itself: the others were merely cancelled with it."""
    cause = stack.get("StackStatusReason", "no reason given")
    pages = client.get_paginator("describe_stack_events").paginate(StackName=stack["StackName"])
    # Newest first: the cause is the last failure before the deployment's own first event. What
    # stands behind that belongs to earlier deployments.
    for event in (event for page in pages for event in page["StackEvents"]):
        status, why = event.get("ResourceStatus", ""), event.get("ResourceStatusReason", "")
        if event.get("LogicalResourceId") == stack["StackName"]:
            if status in STARTED:
                break
        elif status.endswith("_FAILED") and "cancelled" not in why:
            cause = f"{event.get('LogicalResourceId')}: {why}"
    return cause


def _outputs(stack: StackTypeDef) -> Mapping[str, str]:
    return {
        output["OutputKey"]: output["OutputValue"]
        for output in stack.get("Outputs", [])
        if "OutputKey" in output and "OutputValue" in output
    }
