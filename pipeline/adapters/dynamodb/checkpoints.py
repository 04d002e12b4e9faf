"""Checkpoints of the local engine: one item per (consumer, shard), conditional on its owner.

Taking a shard is unconditional: whoever starts last owns it, and the one before finds out at its
next checkpoint. That is a lease without a clock, enough for one process at a time; a fleet runs on
the KCL. Within one ownership the owner alone writes, so "never backwards" is a comparison in its
memory.
"""

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, get_args

from pipeline.adapters._aws import Aws, error_code, translated
from pipeline.adapters.dynamodb.items import text
from pipeline.core.errors import LeaseLost, SystemFault
from pipeline.ports.checkpoints import Checkpoint
from pipeline.ports.streams import Start

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UpdateItemInputTypeDef

_KINDS = get_args(Start.__annotations__["kind"])


class DynamoCheckpoints:
    """`ports.checkpoints.CheckpointStore` over the `checkpoints` table."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws, self._table = aws, table
        self._reached: dict[tuple[str, str, str], Checkpoint] = {}
        self._lock = Lock()

    def take(self, consumer: str, shard_id: str, owner: str, start: Start) -> Checkpoint:
        """Set the owner; keep the starting place where there is none."""
        request: UpdateItemInputTypeDef = {
            "TableName": self._table,
            "Key": _key(consumer, shard_id),
            "UpdateExpression": "SET #o = :o, #p = if_not_exists(#p, :p)",
            "ExpressionAttributeNames": {"#o": "owner", "#p": "position"},
            "ExpressionAttributeValues": {
                ":o": text(owner),
                ":p": text(_encode(Checkpoint(start))),
            },
            "ReturnValues": "ALL_NEW",
        }
        with translated(f"checkpoint of {shard_id}"):
            item = self._aws.dynamodb.update_item(**request)["Attributes"]
        checkpoint = _decode(item)
        with self._lock:
            self._reached[consumer, shard_id, owner] = checkpoint
        return checkpoint

    def advance(self, consumer: str, shard_id: str, owner: str, to: Checkpoint) -> None:
        """Move on, if still the owner; a step back only asks whether we still are."""
        place = consumer, shard_id, owner
        to = max(self._reached.get(place, to), to, key=Checkpoint.order)
        request: UpdateItemInputTypeDef = {
            "TableName": self._table,
            "Key": _key(consumer, shard_id),
            "UpdateExpression": "SET #p = :p",
            "ConditionExpression": "#o = :o",
            "ExpressionAttributeNames": {"#o": "owner", "#p": "position"},
            "ExpressionAttributeValues": {":o": text(owner), ":p": text(_encode(to))},
        }
        try:
            with translated(f"checkpoint of {shard_id}"):
                self._aws.dynamodb.update_item(**request)
        except SystemFault as fault:
            if error_code(fault) == "ConditionalCheckFailedException":
                raise LeaseLost(f"another {consumer} has taken {shard_id}") from None
            raise
        with self._lock:
            self._reached[place] = to

    def all(self, consumer: str) -> Mapping[str, Checkpoint]:
        """Read every checkpoint of a consumer."""
        found: dict[str, Checkpoint] = {}
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "consumer = :c",
            "ExpressionAttributeValues": {":c": text(consumer)},
            "ConsistentRead": True,
        }
        while True:
            with translated(f"checkpoints of {consumer}"):
                page = self._aws.dynamodb.query(**request)
            found |= {item["shard_id"]["S"]: _decode(item) for item in page["Items"]}
            if "LastEvaluatedKey" not in page:
                return found
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _key(consumer: str, shard_id: str) -> dict[str, Any]:
    return {"consumer": text(consumer), "shard_id": text(shard_id)}


def _encode(checkpoint: Checkpoint) -> str:
    state = "SHARD_END" if checkpoint.finished else "READING"
    return f"{state}/{checkpoint.start.kind}/{checkpoint.start.at}"


def _decode(item: Any) -> Checkpoint:
    state, kind, at = item["position"]["S"].split("/")
    if kind not in _KINDS:
        raise SystemFault(f"not a checkpoint: {item['position']['S']!r}")
    return Checkpoint(Start(kind, int(at)), state == "SHARD_END")
