"""The quarantine in S3: one object a record, its bytes as they came, everything else as metadata.

The key is made of kind and position, so that a redelivery writes the same object again.
"""

from collections.abc import Iterator, Sequence

from pipeline.adapters._aws import Aws, translated
from pipeline.core.instants import format_instant, read_instant
from pipeline.core.positions import parse_position
from pipeline.core.records import Record
from pipeline.core.step import REFUSAL_KINDS, Refusal


class S3Quarantine:
    """`ports.quarantine.Quarantine` over one bucket, named on first use."""

    def __init__(self, aws: Aws, prefix: str) -> None:
        self._aws, self._prefix = aws, prefix

    @property
    def bucket(self) -> str:
        """The bucket's name as the template makes it: unique over all accounts and regions."""
        return f"{self._prefix}-quarantine-{self._aws.account}-{self._aws.region}"

    def put(self, refusals: Sequence[Refusal]) -> Sequence[Refusal]:
        """Write one object for each refusal."""
        answers = self._aws.fan.each(self._put, refusals)
        return [r for r, key in zip(refusals, answers, strict=True) if key is None]

    def _put(self, refusal: Refusal) -> str:
        data, position, arrival = refusal.record
        key = f"{refusal.kind}/{position.text()}"
        metadata = {
            "kind": refusal.kind,
            "reason": refusal.reason,
            "field": refusal.field,
            "position": position.text(),
            "arrival": format_instant(arrival),
        }
        with translated("quarantine"):
            self._aws.s3.put_object(Bucket=self.bucket, Key=key, Body=data, Metadata=metadata)
        return key

    def scan(self) -> Iterator[Refusal]:
        """Read every refusal back, past what Lambda puts here: batches that it gave up."""
        with translated("quarantine"):
            for kind in REFUSAL_KINDS:
                pages = self._aws.s3.get_paginator("list_objects_v2")
                for page in pages.paginate(Bucket=self.bucket, Prefix=f"{kind}/"):
                    for entry in page.get("Contents", ()):
                        yield self._get(entry["Key"])

    def _get(self, key: str) -> Refusal:
        found = self._aws.s3.get_object(Bucket=self.bucket, Key=key)
        meta = found["Metadata"]
        position, arrival = parse_position(meta["position"]), read_instant(meta["arrival"])
        record = Record(found["Body"].read(), position, arrival)
        return Refusal(meta["kind"], meta["reason"], meta.get("field", ""), record)
