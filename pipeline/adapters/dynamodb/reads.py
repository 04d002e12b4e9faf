"""Consistent reads: batches by key, and whole tables page by page."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from pipeline.adapters._aws import Aws, translated
from pipeline.adapters.dynamodb.writes import Attributes
from pipeline.ports.scans import WHOLE, Segment

KEYS_PER_GET = 100
"""The most that one BatchGetItem takes. Source: the API reference."""


def get_all(aws: Aws, table: str, keys: Sequence[Attributes]) -> tuple[list[Any], list[Any]]:
    """Read items by key, consistently; return the items found and the keys not processed.

    An absent item is in neither list. Throttled and oversized answers leave keys unprocessed.
    """
    found: list[Any] = []
    unprocessed: list[Any] = []
    remaining = iter(keys)
    chunks = list(iter(lambda: list(islice(remaining, KEYS_PER_GET)), []))

    answers = aws.fan.each(lambda chunk: get_batch(aws, table, chunk), chunks)
    for chunk, answer in zip(chunks, answers, strict=True):
        if answer is None:
            unprocessed += chunk
            continue
        found += answer["Responses"].get(table, [])
        unprocessed += answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
    return found, unprocessed


def get_batch(aws: Aws, table: str, keys: Sequence[Attributes]) -> Any:
    """Read up to a hundred items by key, consistently, in one call. Raises SystemFault."""
    with translated(f"read of {table}"):
        return aws.dynamodb.batch_get_item(
            RequestItems={table: {"Keys": keys, "ConsistentRead": True}}
        )


def scan(aws: Aws, table: str, segment: Segment = WHOLE) -> Iterator[Any]:
    """Read every item of a segment of a table, consistently, one page in memory at a time."""
    request: dict[str, Any] = {"TableName": table, "ConsistentRead": True}
    if segment.of > 1:
        request |= {"Segment": segment.number, "TotalSegments": segment.of}
    while True:
        with translated(f"scan of {table}"):
            page = aws.dynamodb.scan(**request)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
