"""What a call was about, in a few words: for the trace, and for nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.changes import DeliveryRefused, FactRejected, StockChanged, from_wire

WIDTH_MAX = 400
"""Longer lines tell less."""


def narrate(name: str, args: Sequence[Any], answer: Any = None) -> str:
    """Describe the arguments of a call, and of its answer what one cannot guess."""
    teller = _TELLERS.get(name)
    if teller is None:
        return _cut(", ".join(map(str, args[:3]))) if name.startswith("cache") else ""
    told = [teller(item) for item in args[0]] if isinstance(args[0], Sequence) else []
    if name == "states.commit" and isinstance(answer, Mapping):
        won = [answer.get(commit.state.key) for commit in args[0]]
        told = [f"{text} {_WON[w]}" for text, w in zip(told, won, strict=True)]
    return _cut("; ".join(told))


_WON = {True: "won", False: "LOST THE RACE", None: "left out"}


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH_MAX else text[:WIDTH_MAX] + " ..."


def _key(key: Any) -> str:
    return "/".join((key.fold, *key.parts))


def _commit(commit: Any) -> str:
    marks = " ".join(f"{s[-2:]}:{_at(mark.order)}" for s, mark in commit.state.marks.items())
    return f"{_key(commit.state.key)} {commit.expected}->{commit.state.version} [{marks}]"


def _at(order: tuple[int, int]) -> str:
    return f"{order[0]}.{order[1]}" if order[1] else f"{order[0]}"


def _claim(claim: Any) -> str:
    return f"{claim.claim_id}@{claim.position.shard_id[-2:]}:{_at(claim.position.order)}"


def _row(row: Any) -> str:
    return f"{row.location}/{row.transaction_id}"


def _note(note: Any) -> str:
    late = " late" if note.late else ""
    return f"{note.transaction_id} r{note.revision}: {note.combo_count} combos{late}"


def _combo(combo: Any) -> str:
    ids = f"{combo.jacket_transaction_id}+{combo.pants_transaction_id}"
    return f"{ids} r{combo.revision}: {combo.status} {combo.quantity}"


def _refusal(refusal: Any) -> str:
    where = refusal.record.position
    return f"{where.shard_id[-2:]}:{_at(where.order)} {refusal.reason}"


def _message(message: Any) -> str:
    fact: Any = from_wire(message.data)
    if isinstance(fact, FactRejected):
        return "no fact"
    if isinstance(fact, StockChanged):
        return f"stock {fact.location}/{fact.product_id} r{fact.revision}: {fact.on_hand}"
    if isinstance(fact, DeliveryRefused):
        return f"{fact.verdict} {fact.shard_id[-2:]}:{_at((fact.sequence, fact.sub))}"
    kind = type(fact).__name__
    if kind == "ChangeRecorded":
        return f"row {_row(fact)}"
    return f"combo {_combo(fact)}" if kind == "ComboChanged" else f"note {_note(fact)}"


def _stale(stale: Any) -> str:
    return f"{'/'.join(stale.entry)} r{stale.revision}"


_TELLERS = {
    "claims.claim": _claim,
    "change_log.record": _row,
    "change_log.annotate": _note,
    "combos.upsert": _combo,
    "states.load": _key,
    "states.commit": _commit,
    "quarantine.put": _refusal,
    "changes.publish": _message,
    "cache.invalidate": _stale,
}
