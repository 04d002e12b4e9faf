"""The outbox's encoding: effects inside a keyed state, positional, every string once.

Private to the state, unlike the wire of `core.changes`: a straggler can touch a thousand pairs of
256-byte identifiers, and the item must stay under DynamoDB's 400 KB.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from pipeline.core.changes import (
    ChangeAnnotated,
    ComboChanged,
    ComboStatus,
    Effect,
    StockChanged,
)

_ANNOTATION, _COMBO, _STOCK = range(3)
_STATUSES = tuple(ComboStatus)


def pack(effects: Sequence[Effect]) -> bytes:
    """Encode effects compactly; `unpack` gives them back. Empty in, empty out."""
    if not effects:
        return b""
    table: dict[str, int] = {}
    return orjson.dumps([_pack_rows(effects, table), list(table)])


def _pack_rows(effects: Iterable[Effect], table: dict[str, int]) -> list[list[Any]]:
    def refer(text: str) -> int:
        return table.setdefault(text, len(table))

    rows: list[list[Any]] = []
    for effect in effects:
        if isinstance(effect, StockChanged):
            rows.append([_STOCK, refer(effect[0]), refer(effect[1]), *effect[2:]])
        elif isinstance(effect, ChangeAnnotated):
            rows.append([_ANNOTATION, refer(effect[0]), refer(effect[1]), *effect[3:]])
            rows[-1].append([refer(combo_id) for combo_id in effect.combo_ids])
        else:
            status = _STATUSES.index(effect.status)
            rows.append([_COMBO, *map(refer, effect[:5]), *effect[5:8], status, effect.revision])
    return rows


def unpack(packed: bytes) -> tuple[Effect, ...]:
    """Decode what `pack` wrote."""
    if not packed:
        return ()
    rows, table = orjson.loads(packed)
    return tuple(_unpack_row(row, table) for row in rows)


def _unpack_row(row: list[Any], table: list[str]) -> Effect:
    kind, *values = row
    if kind == _STOCK:
        location, product_id, on_hand, revision = values
        return StockChanged(table[location], table[product_id], on_hand, revision)
    if kind == _ANNOTATION:
        location, transaction_id, count, late, revision, ids = values
        combo_ids = tuple(table[at] for at in ids)
        return ChangeAnnotated(
            table[location], table[transaction_id], combo_ids, count, late, revision
        )
    *texts, paired_at, quantity, voided, status, revision = values
    combo_id, location, base, jacket, pants = (table[at] for at in texts)
    return ComboChanged(
        *(combo_id, location, base, jacket, pants),
        *(paired_at, quantity, voided),
        _STATUSES[status],
        revision,
    )
