"""Exports: what the stores hold, as sorted JSON lines, and what became of every line that went in.

Nothing here is remembered from the run: verdicts are derived from the stores and from the map of
lines to positions, so a run that was killed and started again tells the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import Any

import orjson

from consumers.contents import Compared, Contents, in_words
from consumers.publishing import UNPUBLISHED
from consumers.sources import Line, aggregate_members, transaction_of
from pipeline.core.changes import (
    ChangeAnnotated,
    ChangeRecorded,
    ComboChanged,
    ComboStatus,
    StockChanged,
)
from pipeline.core.claims import claim_id
from pipeline.core.instants import format_instant
from pipeline.core.positions import Position
from pipeline.core.rules import Rules
from pipeline.core.step import Refusal

Placed = Mapping[int, Sequence[Position]]
"""Where each line's records went; an aggregate that was split has several."""
Json = dict[str, Any]
DIFFERENCES_SHOWN_MAX = 20
"""In a summary; the first few say what kind of fault it is."""
_Place = tuple[str, int]  # shard id, sequence number


def change_row(row: ChangeRecorded, note: ChangeAnnotated | None) -> Json:
    """Render a change-log row with its annotation; `combo_ids` only where there are several."""
    combo_ids = note.combo_ids if note else ()
    shown: Json = {
        "location": row.location,
        "transaction_id": row.transaction_id,
        "product_id": row.product_id,
        "base_product_id": row.base_product_id,
        "category": row.category,
        "change": row.change,
        "timestamp": format_instant(row.instant),
        "source": row.source,
        "combo": bool(combo_ids),
        "combo_id": combo_ids[0] if combo_ids else None,
        "late": bool(note and note.late),
        "shard_id": row.shard_id,
        "sequence_number": str(row.sequence),
        "ingested_at": format_instant(row.ingested_at),
    }
    if note and note.combo_count > 1:
        shown |= {"combo_ids": list(combo_ids), "combo_count": note.combo_count}
    if row.sub:
        shown["sub_sequence_number"] = row.sub
    return shown


def combo_row(combo: ComboChanged) -> Json:
    """Render a combo without what depends on arrival order."""
    return {
        "combo_id": combo.combo_id,
        "location": combo.location,
        "base_product_id": combo.base_product_id,
        "jacket_transaction_id": combo.jacket_transaction_id,
        "pants_transaction_id": combo.pants_transaction_id,
        "quantity": combo.quantity,
        "voided": combo.voided,
        "status": str(combo.status),
    }


def stock_row(level: StockChanged) -> Json:
    """Render a stock level."""
    return {
        "location": level.location,
        "product_id": level.product_id,
        "on_hand": level.on_hand,
    }


@dataclass(slots=True)
class Verdicts:
    """What became of every line, and the sums of it."""

    lines: list[Json] = field(default_factory=list)
    quarantine: list[Json] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)

    def refuse(self, line: Line, refusal: Refusal) -> None:
        """Count one quarantined record of a line."""
        self.counts[refusal.kind] += 1
        if refusal.kind == "rejected":
            self.reasons[str(refusal.reason)] += 1
        self.quarantine.append(
            {"line": line.number, "reason": str(refusal.reason), "kind": refusal.kind}
        )


class Judge:
    """Derive verdicts from the stores."""

    def __init__(
        self, rules: Rules, placed: Placed, tables: Contents, refusals: Iterable[Refusal]
    ) -> None:
        self._rules, self._placed = rules, placed
        known = {_place(position) for positions in placed.values() for position in positions}
        self._accepted: Counter[_Place] = Counter()
        self._transactions: set[str] = set()
        self._strays: set[str] = set()
        for row in tables.changes.values():
            identity = claim_id(row, rules.dedupe_scope)
            self._transactions.add(identity)
            place = row.shard_id, row.sequence
            if place in known:
                self._accepted[place] += 1
            else:  # a put that was repeated after a lost answer: two records, one known
                self._strays.add(identity)
        self._refused: dict[_Place, list[Refusal]] = {}
        for refusal in refusals:
            self._refused.setdefault(_place(refusal.record.position), []).append(refusal)

    def judge(self, lines: Iterable[Line]) -> Verdicts:
        """Give every line its verdict."""
        verdicts = Verdicts()
        for line in lines:
            verdicts.lines.append({"line": line.number, "verdict": self._verdict(line, verdicts)})
        verdicts.quarantine.sort(key=lambda row: (row["line"], row["kind"], row["reason"]))
        return verdicts

    def _verdict(self, line: Line, verdicts: Verdicts) -> str:
        places = [_place(position) for position in self._placed.get(line.number, ())]
        refused = [refusal for place in places for refusal in self._refused.get(place, ())]
        for refusal in refused:
            verdicts.refuse(line, refusal)
        whole = any(shard_id == UNPUBLISHED for shard_id, _ in places)  # one refusal for all of it
        members = None if whole else aggregate_members(line.data)
        records = [line.data] if members is None else members
        accepted = sum(self._accepted[place] for place in places)
        left = len(records) - accepted - len(refused)
        if left:
            identities = [
                identity for data in records if (identity := transaction_of(data, self._rules))
            ]
            strays = [identity for identity in identities if identity in self._strays]
            self._strays.difference_update(strays)
            accepted, left = accepted + len(strays), left - len(strays)
            if left > sum(identity in self._transactions for identity in identities):
                verdicts.lost.append(line.number)
        verdicts.counts.update(read=len(records), accepted=accepted, duplicate=left)
        if members is not None:
            return f"accepted:{accepted}"
        if refused:
            kind, reason = refused[0].kind, refused[0].reason
            return kind if kind == "conflict" else f"{kind}:{reason}"
        return "accepted" if accepted else "duplicate"


def _place(position: Position) -> _Place:
    return position.shard_id, position.sequence


def summarise(verdicts: Verdicts, tables: Contents, differences: Sequence[str]) -> Json:
    """Sum up a run: what was read, what it amounts to, and whether the stores agree."""
    counts, shown = verdicts.counts, [c for c in tables.combos.values() if _shows(c)]
    return {
        "lines": len(verdicts.lines),
        "read": counts["read"],
        "accepted": counts["accepted"],
        "duplicates": counts["duplicate"],
        "conflicts": counts["conflict"],
        "rejected": counts["rejected"],
        "rejected_by_reason": dict(sorted(verdicts.reasons.items())),
        "lost_lines": verdicts.lost,
        "late": sum(note.late for note in tables.notes.values()),
        "combos": {
            "active": sum(c.status is ComboStatus.ACTIVE for c in shown),
            "cancelled": sum(c.status is ComboStatus.CANCELLED for c in shown),
            "quantity": sum(c.quantity for c in shown),
            "voided": sum(c.voided for c in shown),
        },
        "stock": {
            "levels": len(tables.stock),
            "on_hand": sum(level.on_hand for level in tables.stock.values()),
        },
        "reconciled": not differences and not verdicts.lost,
        "differences": list(differences[:DIFFERENCES_SHOWN_MAX]),
    }


def _shows(combo: ComboChanged) -> bool:
    return combo.status is not ComboStatus.RETRACTED


def export(
    directory: Path, lines: Iterable[Line], judge: Judge, seen: Compared, *, with_retracted: bool
) -> Json:
    """Write every export file and return the summary that `summary.json` holds."""
    verdicts = judge.judge(lines)
    differences = [in_words(finding) for finding in seen.findings]
    directory.mkdir(parents=True, exist_ok=True)
    for name, side in (("", seen.tables), ("warehouse_", seen.warehouse)):
        combos = [c for _, c in sorted(side.combos.items()) if with_retracted or _shows(c)]
        changes = f"{name}change" if name else "change_log"
        _write(directory / f"{changes}.jsonl", starmap(change_row, side.annotated()))
        _write(directory / f"{name}combo{'' if name else 's'}.jsonl", map(combo_row, combos))
        stock = [level for _, level in sorted(side.stock.items())]
        _write(directory / f"{name}stock.jsonl", map(stock_row, stock))
    _write(directory / "quarantine.jsonl", verdicts.quarantine)
    _write(directory / "verdicts.jsonl", verdicts.lines)
    summary = summarise(verdicts, seen.tables, differences)
    (directory / "summary.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    return summary


def _write(path: Path, rows: Iterable[Json]) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
