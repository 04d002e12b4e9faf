"""Reads by key, and rows put back, for repairs."""

from collections.abc import Mapping, Sequence

from pipeline.adapters._aws import Aws
from pipeline.adapters.dynamodb.items import (
    annotation_free,
    item_annotation,
    item_combo,
    item_row,
    text,
)
from pipeline.adapters.dynamodb.reads import get_all
from pipeline.adapters.dynamodb.writes import ConditionalWriter, Guard, Write
from pipeline.core.changes import ChangeAnnotated, ChangeRecorded, ComboChanged
from pipeline.ports.change_log import RowKey

ABOVE_EVERY_REVISION = 2**63
"""A revision is a 63-bit number."""


class DynamoTableRepair:
    """`ports.table_repair.TableRepair` over `inventory_change_log` and `inventory_combos`."""

    def __init__(self, aws: Aws, writer: ConditionalWriter, log: str, combos: str) -> None:
        self._aws, self._writer, self._log, self._combos = aws, writer, log, combos

    def rows(
        self, keys: Sequence[RowKey]
    ) -> Mapping[RowKey, tuple[ChangeRecorded, ChangeAnnotated | None] | None]:
        """Read rows in batches."""
        wanted = [{"location": text(key[0]), "transaction_id": text(key[1])} for key in keys]
        found, unknown = get_all(self._aws, self._log, wanted)
        answers: dict[RowKey, tuple[ChangeRecorded, ChangeAnnotated | None] | None]
        answers = {key: None for key, item in zip(keys, wanted, strict=True) if item not in unknown}
        for item in found:
            row = item_row(item)
            answers[row.location, row.transaction_id] = row, item_annotation(item)
        return answers

    def combos(self, combo_ids: Sequence[str]) -> Mapping[str, ComboChanged | None]:
        """Read combos in batches."""
        wanted = [{"combo_id": text(combo_id)} for combo_id in combo_ids]
        found, unknown = get_all(self._aws, self._combos, wanted)
        answers: dict[str, ComboChanged | None]
        answers = {
            key: None for key, item in zip(combo_ids, wanted, strict=True) if item not in unknown
        }
        return answers | {combo.combo_id: combo for combo in map(item_combo, found)}

    def restore(self, rows: Sequence[ChangeRecorded]) -> Sequence[ChangeRecorded]:
        """Set what is immutable of rows that are there: each has a revision, below this one."""
        guard = Guard("below", "revision", ABOVE_EVERY_REVISION)
        writes = []
        for row in rows:
            key = {"location": text(row.location), "transaction_id": text(row.transaction_id)}
            values, removed = annotation_free(row)
            writes.append(Write(self._log, key, values, guard, removed))
        outcomes = self._writer.write(writes)
        return [row for row, outcome in zip(rows, outcomes, strict=True) if outcome is None]
