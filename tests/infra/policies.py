"""IAM's decision: denied by one statement, else allowed by one, else denied by default.

Rejected: moto's own enforcement. It asks for `*` instead of the resource in every service but S3,
takes a condition that is not met for a denial, and never looks at a table's policy or at the
permissions that PartiQL needs. What is not implemented here raises: a policy that cannot be judged
must not pass for one that was.

Source: IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements".
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

Statement = Mapping[str, Any]
ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


class Decision(Enum):
    """What becomes of a request."""

    ALLOWED = "allowed"
    FORBIDDEN = "denied by a statement"
    NOT_GRANTED = "denied because nothing allows it"


class Request(NamedTuple):
    """Who wants to do what to which resource; `context` has the values of condition keys."""

    principal: str
    action: str
    resource: str
    context: Mapping[str, Sequence[str]] = {}


def decide(
    request: Request, identity: Iterable[Statement], on_resource: Iterable[Statement] = ()
) -> Decision:
    """Judge a request of a principal in the resource's own account."""
    whole = Request(
        request.principal,
        request.action,
        request.resource,
        {"aws:PrincipalArn": [request.principal], **request.context},
    )
    effects = {s["Effect"] for s in identity if _applies(s, whole)}
    effects |= {
        s["Effect"]
        for s in on_resource
        if _is_principal(s["Principal"], request.principal) and _applies(s, whole)
    }
    if "Deny" in effects:
        return Decision.FORBIDDEN
    return Decision.ALLOWED if "Allow" in effects else Decision.NOT_GRANTED


def _applies(statement: Statement, request: Request) -> bool:
    if unknown := statement.keys() - ELEMENTS:
        raise NotImplementedError(f"policy elements {unknown}")
    return (
        any(matches(a.lower(), request.action.lower()) for a in _list(statement["Action"]))
        and any(matches(r, request.resource) for r in _list(statement["Resource"]))
        and _conditions_hold(statement.get("Condition", {}), request.context)
    )


def matches(pattern: str, text: str) -> bool:
    """Match with `*` for any characters and `?` for one; nothing else is special."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _is_principal(element: Any, principal: str) -> bool:
    if element == "*":
        return True
    if set(element) != {"AWS"}:
        raise NotImplementedError(f"principals {element}")
    return any(p in ("*", principal) for p in _list(element["AWS"]))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _like(wanted: str, value: str) -> bool:
    return matches(wanted, value)


def _equal(wanted: str, value: str) -> bool:
    return wanted == value


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": _equal,
    "StringLike": _like,
    "ArnEquals": _like,  # AWS treats the two alike
    "ArnLike": _like,
    "Bool": _equal,
}
_NEGATED = {"StringNotEquals": "StringEquals", "ArnNotEquals": "ArnEquals"}


def _conditions_hold(conditions: Mapping[str, Any], context: Mapping[str, Sequence[str]]) -> bool:
    return all(
        _holds(operator, [str(w) for w in _list(wanted)], context.get(key))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, wanted: Sequence[str], values: Sequence[str] | None) -> bool:
    if operator == "Null":
        return (values is None) == (wanted[0] == "true")
    quantifier, _, plain = operator.rpartition(":")
    negated = plain in _NEGATED
    name = _NEGATED.get(plain, plain)
    if name not in _OPERATORS:
        raise NotImplementedError(f"condition operator {operator}")

    def one(value: str) -> bool:
        return any(_OPERATORS[name](w, value) for w in wanted) != negated

    if quantifier == "ForAllValues":
        return all(one(value) for value in values or ())
    if quantifier == "ForAnyValue":
        return any(one(value) for value in values or ())
    if values is None:  # a key that the request lacks equals nothing
        return negated
    (value,) = values
    return one(value)
