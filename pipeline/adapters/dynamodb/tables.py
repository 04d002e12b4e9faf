"""Claims, change log and combos: insert if absent, and upserts guarded by revision."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.adapters._aws import Aws
from pipeline.adapters.dynamodb.items import (
    annotation_values,
    claim_holder,
    claim_item,
    combo_item,
    item_annotation,
    item_claim,
    item_combo,
    item_row,
    row_item,
    text,
)
from pipeline.adapters.dynamodb.reads import get_all, scan
from pipeline.adapters.dynamodb.writes import (
    Attributes,
    ConditionalWriter,
    Guard,
    Outcome,
    Write,
)
from pipeline.core.changes import ChangeAnnotated, ChangeRecorded, ComboChanged
from pipeline.core.claims import Claim, Holder
from pipeline.core.errors import SystemFault
from pipeline.core.step import holder_of
from pipeline.ports.change_log import RowKey
from pipeline.ports.scans import WHOLE, Segment


class DynamoClaims:
    """`ports.claims.ClaimStore` over `processed_transactions`."""

    def __init__(self, aws: Aws, writer: ConditionalWriter, table: str, ttl_us: int | None) -> None:
        self._aws, self._writer, self._table, self._ttl_us = aws, writer, table, ttl_us

    def claim(self, claims: Sequence[Claim]) -> Mapping[str, Holder]:
        """Insert; read back what refused."""
        guard = Guard("absent", "transaction_id")
        writes = [
            Write(self._table, _claim_key(claim), claim_item(claim, self._ttl_us), guard)
            for claim in claims
        ]
        answers: dict[str, Holder] = {}
        refused: list[Attributes] = []
        for claim, write, outcome in zip(claims, writes, self._writer.write(writes), strict=True):
            if outcome is Outcome.WRITTEN:
                answers[claim.claim_id] = Holder(claim.fingerprint, claim.position, fresh=True)
            elif outcome is Outcome.REFUSED:
                refused.append(write.key)
        held, _ = get_all(self._aws, self._table, refused)
        return answers | {item["transaction_id"]["S"]: claim_holder(item) for item in held}

    def scan(self) -> Iterator[Claim]:
        """Read every claim."""
        return map(item_claim, scan(self._aws, self._table))


def _claim_key(claim: Claim) -> Attributes:
    return {"transaction_id": text(claim.claim_id)}


class DynamoChangeLog:
    """`ports.change_log.ChangeLog` over `inventory_change_log`.

    `stream` completes its positions.
    """

    def __init__(self, aws: Aws, writer: ConditionalWriter, table: str, stream: str) -> None:
        self._aws, self._writer, self._table, self._stream = aws, writer, table, stream

    def record(self, rows: Sequence[ChangeRecorded]) -> Mapping[RowKey, Holder]:
        """Insert; read back what refused."""
        guard = Guard("absent", "transaction_id")
        writes = [Write(self._table, _row_key(row), row_item(row), guard) for row in rows]
        answers: dict[RowKey, Holder] = {}
        refused: list[Attributes] = []
        for row, write, outcome in zip(rows, writes, self._writer.write(writes), strict=True):
            if outcome is Outcome.WRITTEN:
                key = row.location, row.transaction_id
                answers[key] = holder_of(row, self._stream, fresh=True)
            elif outcome is Outcome.REFUSED:
                refused.append(write.key)
        held, _ = get_all(self._aws, self._table, refused)
        for stored in map(item_row, held):
            key = stored.location, stored.transaction_id
            answers[key] = holder_of(stored, self._stream, fresh=False)
        return answers

    def annotate(self, annotations: Sequence[ChangeAnnotated]) -> Sequence[ChangeAnnotated]:
        """Raise annotations; a refusal is a newer one, or a row that is not there."""
        writes = []
        for note in annotations:
            values, removed = annotation_values(note)
            guard = Guard("below", "revision", note.revision)
            writes.append(Write(self._table, _row_key(note), values, guard, removed))
        outcomes = self._writer.write(writes)
        refused = [w.key for w, o in zip(writes, outcomes, strict=True) if o is Outcome.REFUSED]
        self._check_rows_exist(refused)
        return [n for n, o in zip(annotations, outcomes, strict=True) if o is None]

    def _check_rows_exist(self, keys: Sequence[Attributes]) -> None:
        found, unknown = get_all(self._aws, self._table, keys)
        there = {(item["location"]["S"], item["transaction_id"]["S"]) for item in found}
        there |= {(key["location"]["S"], key["transaction_id"]["S"]) for key in unknown}
        for key in keys:
            place = key["location"]["S"], key["transaction_id"]["S"]
            if place not in there:
                raise SystemFault(f"no change-log row to annotate: {place}")

    def scan(
        self, segment: Segment = WHOLE
    ) -> Iterator[tuple[ChangeRecorded, ChangeAnnotated | None]]:
        """Read every row with its annotation."""
        for item in scan(self._aws, self._table, segment):
            yield item_row(item), item_annotation(item)


def _row_key(row: ChangeRecorded | ChangeAnnotated) -> Attributes:
    return {"location": text(row.location), "transaction_id": text(row.transaction_id)}


class DynamoCombos:
    """`ports.combos.ComboTable` over `inventory_combos`."""

    def __init__(self, aws: Aws, writer: ConditionalWriter, table: str) -> None:
        self._aws, self._writer, self._table = aws, writer, table

    def upsert(self, combos: Sequence[ComboChanged]) -> Sequence[ComboChanged]:
        """Insert or raise; a refusal means that a newer one is there."""
        writes = [
            Write(
                self._table,
                {"combo_id": text(combo.combo_id)},
                combo_item(combo),
                Guard("absent_or_below", "revision", combo.revision),
            )
            for combo in combos
        ]
        outcomes = self._writer.write(writes)
        return [c for c, outcome in zip(combos, outcomes, strict=True) if outcome is None]

    def scan(self, segment: Segment = WHOLE) -> Iterator[ComboChanged]:
        """Read every combo."""
        return map(item_combo, scan(self._aws, self._table, segment))
