"""The judge of policies is judged by the rules of IAM."""

from typing import Any

import pytest

from tests.infra.policies import Decision, Request, decide, matches

ALLOW = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:b/*"}
DENY = {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:b/secret/*"}
GET = Request("arn:me", "s3:GetObject", "arn:b/x")


def when(**conditions: Any) -> dict[str, Any]:
    return {**ALLOW, "Condition": {op.replace("_", ":"): keys for op, keys in conditions.items()}}


def test_nothing_is_allowed_by_default() -> None:
    assert decide(GET, []) is Decision.NOT_GRANTED


def test_a_denial_beats_a_grant_wherever_it_stands() -> None:
    secret = GET._replace(resource="arn:b/secret/x")
    assert decide(secret, [ALLOW, DENY]) is Decision.FORBIDDEN
    assert decide(secret, [ALLOW], [{**DENY, "Principal": "*"}]) is Decision.FORBIDDEN
    assert decide(GET, [DENY, ALLOW]) is Decision.ALLOWED


def test_actions_ignore_case_and_resources_do_not() -> None:
    assert decide(GET._replace(action="S3:getobject"), [ALLOW]) is Decision.ALLOWED
    assert decide(GET._replace(resource="arn:B/x"), [ALLOW]) is Decision.NOT_GRANTED


@pytest.mark.parametrize(
    ("pattern", "text", "does"),
    [
        ("a*c", "abbc", True),
        ("a?c", "ac", False),
        ("table/x", "table/x-y", False),
        ("a.c", "abc", False),
        ("[a]", "a", False),
    ],
)
def test_only_star_and_question_mark_are_special(pattern: str, text: str, does: bool) -> None:
    assert matches(pattern, text) is does


def test_a_statement_on_a_resource_binds_its_principal_alone() -> None:
    own = {**ALLOW, "Principal": {"AWS": "arn:me"}}
    assert decide(GET, [], [own]) is Decision.ALLOWED
    assert decide(GET._replace(principal="arn:you"), [], [own]) is Decision.NOT_GRANTED


@pytest.mark.parametrize(
    ("statement", "values", "allowed"),
    [
        (when(StringEquals={"k": ["a", "b"]}), ["b"], True),
        (when(StringEquals={"k": "a"}), None, False),
        (when(ArnNotEquals={"k": "arn:x"}), ["arn:y"], True),
        (when(ArnNotEquals={"k": ["arn:x", "arn:y"]}), ["arn:y"], False),
        (when(ArnNotEquals={"k": "arn:x"}), None, True),
        (when(ForAllValues_StringEquals={"k": "a"}), ["a", "b"], False),
        (when(ForAllValues_StringEquals={"k": "a"}), None, True),
        (when(ForAnyValue_StringEquals={"k": "a"}), ["a", "b"], True),
        (when(ForAnyValue_StringEquals={"k": "a"}), None, False),
        (when(Null={"k": "false"}), None, False),
        (when(Null={"k": "false"}), ["a"], True),
        (when(StringEquals={"k": "a"}, Bool={"z": "true"}), ["a"], False),
    ],
)
def test_conditions_hold_as_in_iam(statement: Any, values: Any, allowed: bool) -> None:
    request = GET._replace(context={} if values is None else {"k": values})
    assert (decide(request, [statement]) is Decision.ALLOWED) is allowed


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"},
        when(NumericLessThan={"k": "1"}),
    ],
)
def test_what_cannot_be_judged_is_not_passed_over(statement: Any) -> None:
    with pytest.raises(NotImplementedError):
        decide(GET, [statement])
