"""Conditional writes, 25 a call: the `conditional_writes = batch` mode.

BatchExecuteStatement is a bundle of separate conditional writes, not a transaction: each statement
succeeds or fails alone, and a 200 says only that the bundle was read. So every response is looked
at, by position. A statement that was throttled inside a 200 was not done; one that met an internal
error may have been. Both are answered None, as a lost call is, and the caller offers them again.

The four guards in PartiQL:

- `absent` is an INSERT, which fails with DuplicateItem where the key is taken.
- `equals` and `below` are an UPDATE with the guard in its WHERE. It never creates, and an item
  that is not there fails like a stale version: ConditionalCheckFailed.
- `absent_or_below` has no statement of its own, so it is two: INSERT, and where that is refused,
  UPDATE. In this order each refusal is final. Items are never deleted, so a refused INSERT proves
  for ever that there is something to update, and the refused UPDATE then proves that what is there
  is as new. The other way round a refusal proves nothing: UPDATE fails as well where nothing is,
  and between it and the INSERT another worker may have put in an older revision, which would then
  stay. A crash between the two has written nothing, and the same pair comes again. It is also the
  cheaper order: most combos are written once.

Values travel as parameters. The text holds names alone, all of them this project's own, and is the
same for every write of one shape.

An item may stand in a request once, else the service refuses all of it: see `in_turns`. No size
is counted: 25 items of 350 KB, the most that a state may take, are 12 MB in base64 and the service
takes 16. Rejected: ReturnValuesOnConditionCheckFailure, which not every server answers; whoever
needs the holder reads it back. Rejected: transactions, which cost twice and fail as a whole.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from pipeline.adapters._aws import Aws, translated
from pipeline.adapters.dynamodb.writes import Outcome, Write, in_turns
from pipeline.core.errors import SystemFault

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import (
        BatchStatementRequestTypeDef,
        BatchStatementResponseTypeDef,
    )

Outcomes: TypeAlias = list[Outcome | None]

STATEMENTS_PER_CALL = 25
"""The most that one BatchExecuteStatement takes. Source: the API reference."""

REFUSAL_CODES = frozenset({"ConditionalCheckFailed", "DuplicateItem"})

PASSING_CODES = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "ThrottlingError",
        "TransactionConflict",
    }
)
"""Codes of one statement that a later try may not meet; spelt otherwise than those of a call.

Source: the API reference, BatchStatementError.
"""

_INSERTED = ("absent", "absent_or_below")
_COMPARISONS = {"equals": "=", "below": "<", "absent_or_below": "<"}


class BatchWrites:
    """`ConditionalWriter` over BatchExecuteStatement, several calls in flight.

    Needs `dynamodb:PartiQLInsert` and `dynamodb:PartiQLUpdate`. Never use it against moto: that
    refuses the INSERT, and answers success to an UPDATE whose version check failed.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def write(self, writes: Sequence[Write]) -> Sequence[Outcome | None]:
        """Try every write, up to 25 in a call."""
        return in_turns(writes, self._guarded)

    def _guarded(self, writes: list[Write]) -> Outcomes:
        """Write to different items: insert or update, then update what was there after all."""
        outcomes = self._execute(
            [
                _insert(write) if write.guard.kind in _INSERTED else _update(write)
                for write in writes
            ]
        )
        there = [
            number
            for number, write in enumerate(writes)
            if outcomes[number] is Outcome.REFUSED and write.guard.kind == "absent_or_below"
        ]
        raised = self._execute([_update(writes[number]) for number in there])
        for number, outcome in zip(there, raised, strict=True):
            outcomes[number] = outcome
        return outcomes

    def _execute(self, statements: list["BatchStatementRequestTypeDef"]) -> Outcomes:
        starts = range(0, len(statements), STATEMENTS_PER_CALL)
        calls = [statements[start : start + STATEMENTS_PER_CALL] for start in starts]
        outcomes: Outcomes = []
        for call, answers in zip(calls, self._aws.fan.each(self._call, calls), strict=True):
            outcomes += [None] * len(call) if answers is None else answers
        return outcomes

    def _call(self, statements: list["BatchStatementRequestTypeDef"]) -> Outcomes:
        with translated("conditional writes"):
            answer = self._aws.dynamodb.batch_execute_statement(Statements=statements)
        responses = answer["Responses"]
        if len(responses) != len(statements):
            raise SystemFault(f"{len(statements)} statements got {len(responses)} responses")
        return [
            _outcome(statement, response)
            for statement, response in zip(statements, responses, strict=True)
        ]


def _insert(write: Write) -> "BatchStatementRequestTypeDef":
    item = {**write.key, **write.values}
    names = ", ".join(f"'{name}': ?" for name in item)
    statement = f'INSERT INTO "{write.table}" VALUE {{{names}}}'
    return {"Statement": statement, "Parameters": [*item.values()]}


def _update(write: Write) -> "BatchStatementRequestTypeDef":
    guard = write.guard
    # A keyword before each name, as documented: DynamoDB Local refuses a list after REMOVE.
    changes = [f'SET "{name}" = ?' for name in write.values]
    changes += [f'REMOVE "{name}"' for name in write.removed]
    tests = [f'"{name}" = ?' for name in write.key]
    tests.append(f'"{guard.attribute}" {_COMPARISONS[guard.kind]} ?')
    statement = f'UPDATE "{write.table}" {" ".join(changes)} WHERE {" AND ".join(tests)}'
    value = {"N": str(guard.value)}
    return {
        "Statement": statement,
        "Parameters": [*write.values.values(), *write.key.values(), value],
    }


def _outcome(
    statement: "BatchStatementRequestTypeDef", response: "BatchStatementResponseTypeDef"
) -> Outcome | None:
    if "Error" not in response:
        return Outcome.WRITTEN
    error = response["Error"]
    code = error.get("Code", "no code")
    if code in REFUSAL_CODES:
        return Outcome.REFUSED
    if code in PASSING_CODES:
        return None
    raise SystemFault(f"{code}: {error.get('Message')}: {statement['Statement']}")
