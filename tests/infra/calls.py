"""The AWS calls that a consumer makes, recorded by botocore's hooks, as IAM sees them.

One run over moto, in the mode `single`, since moto cannot do PartiQL. What `batch` would have sent
is recorded beside it: every write also goes through the batch adapter, whose requests are answered
here and never leave the process.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from pipeline.adapters._aws import Aws
from pipeline.adapters.dynamodb import SingleWrites
from pipeline.adapters.dynamodb.batches import BatchWrites
from pipeline.adapters.dynamodb.writes import Outcome, Write

STATEMENTS = {"INSERT": "PartiQLInsert", "UPDATE": "PartiQLUpdate"}


class Need(NamedTuple):
    """An action on a resource, with the condition keys that the request would carry."""

    action: str
    resource: str
    leading_key: str | None = None

    @property
    def context(self) -> Mapping[str, Sequence[str]]:
        """Return the context of the request."""
        return {} if self.leading_key is None else {"dynamodb:LeadingKeys": [self.leading_key]}


class Recorder:
    """Everything that the clients of one consumer were asked."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._calls: list[tuple[str, Any]] = []
        for client in (aws.dynamodb, aws.kinesis, aws.s3):
            client.meta.events.register("provide-client-params", self._seen)
        event = "before-call.dynamodb.BatchExecuteStatement"
        aws.dynamodb.meta.events.register(event, _answer)

    def _seen(self, params: Any, model: Any, **_: Any) -> None:
        service = model.service_model.service_name
        self._calls.append((f"{service}:{model.name}", params))

    def needs(self) -> frozenset[Need]:
        """Say what IAM would have been asked."""
        return frozenset(need for call in self._calls for need in self._needs(*call))

    def _needs(self, call: str, params: Any) -> Iterator[Need]:
        service, operation = call.split(":")
        if service == "kinesis":
            yield Need(call, self._arn("kinesis", f"stream/{self._stream(params)}"))
        elif service == "s3":
            yield Need(call, f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")
        elif operation == "BatchExecuteStatement":
            for entry in params["Statements"]:
                verb, name = entry["Statement"].split('"')[:2]
                action = STATEMENTS[verb.split()[0]]
                yield Need(f"dynamodb:{action}", self._table(name))
        elif operation == "BatchGetItem":
            yield from (Need(call, self._table(name)) for name in params["RequestItems"])
        else:
            yield Need(call, self._table(params["TableName"]), _consumer(params))

    def _stream(self, params: Any) -> str:
        """Name the stream; a read names only its iterator, and a consumer reads one stream."""
        if "StreamName" in params:
            return str(params["StreamName"])
        opened = {p["StreamName"] for call, p in self._calls if call.endswith("GetShardIterator")}
        (stream,) = opened
        return str(stream)

    def _table(self, name: str) -> str:
        return self._arn("dynamodb", f"table/{name}")

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self._aws.region}:{self._aws.account}:{resource}"


class BothWrites:
    """Write one call an item, after having asked the batch adapter for its requests."""

    def __init__(self, aws: Aws) -> None:
        self._single, self._batch = SingleWrites(aws), BatchWrites(aws)

    def write(self, writes: Sequence[Write]) -> Sequence[Outcome | None]:
        """Write, and say what really became of it."""
        self._batch.write(writes)
        return self._single.write(writes)


def _answer(params: Any, **_: Any) -> Any:
    """Refuse every INSERT, so that whatever the adapter would try next is seen too."""
    statements = json.loads(params["body"])["Statements"]
    refused = {"Error": {"Code": "DuplicateItem"}}
    responses = [refused if s["Statement"].startswith("INSERT") else {} for s in statements]
    return AWSResponse(params["url"], 200, HTTPHeaders(), None), {"Responses": responses}


def _consumer(params: Any) -> str | None:
    """Return the partition key of a call on the checkpoints, which are narrowed by it."""
    if not params["TableName"].endswith("-checkpoints"):
        return None
    values = params["Key"] if "Key" in params else params["ExpressionAttributeValues"]
    return str((values.get("consumer") or values[":c"])["S"])
