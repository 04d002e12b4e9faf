"""The oracle: what the tables must hold after some records were processed, by the plainest means.

No claims, no state, no frontier kept between calls, no outbox: the first body of a transaction
wins, stock is a sum, and the combos of a key are one fold over its events in event time. Only
lateness looks at the order of arrival. The caps of the keyed state are not modelled: below them
nothing may differ.

It must never import the modules that it judges; of the product it knows `Rules`, which are
settings.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import NAMESPACE_DNS, uuid5

from pipeline.core.rules import Rules
from tests.reference_events import EVERY_HASH_KEY, Fact, Refused, open_aggregate, read

NAMESPACE = uuid5(NAMESPACE_DNS, "combos.tillstream")
IDS_MAX = 100


class Combo(NamedTuple):
    """A row of the combos table; `paired_at` is microseconds since 1970."""

    combo_id: str
    location: str
    base_product_id: str
    jacket_transaction_id: str
    pants_transaction_id: str
    paired_at: int
    quantity: int
    voided: int
    status: str


class Note(NamedTuple):
    """What the change log says of one transaction beside its immutable attributes."""

    combo_ids: tuple[str, ...] = ()
    combo_count: int = 0
    late: bool = False


class Row(NamedTuple):
    """A row of the change log: the fact, and its annotation."""

    fact: Fact
    note: Note

    @property
    def combo(self) -> bool:
        """Say whether the transaction stands in a combo."""
        return self.note.combo_count > 0

    @property
    def combo_id(self) -> str | None:
        """Return the earliest standing combo."""
        return self.note.combo_ids[0] if self.note.combo_ids else None


class Verdict(NamedTuple):
    """Accepted, duplicate, conflict or rejected; the reason is empty unless rejected."""

    outcome: str
    reason: str = ""


class Quarantined(NamedTuple):
    """One record that was kept whole: the raw aggregate where the aggregate itself was bad."""

    outcome: str
    reason: str
    body: bytes


class Expected(NamedTuple):
    """Everything that may be compared.

    Retracted combos are left out; `dropped` counts aggregates.
    """

    rows: dict[tuple[str, str], Row]
    combos: dict[str, Combo]
    stock: dict[tuple[str, str], int]
    verdicts: list[Verdict]
    quarantine: list[Quarantined]
    dropped: int


def expected(
    lines: Sequence[bytes],
    arrival: int,
    rules: Rules,
    owned: tuple[int, int] = EVERY_HASH_KEY,
) -> Expected:
    """Say what must be in the tables after these records, processed in this order.

    All of them arrived at `arrival`; `owned` are the hash keys of their shard, both ends included.
    """
    kept: dict[tuple[str, ...], Fact] = {}
    verdicts: list[Verdict] = []
    quarantine: list[Quarantined] = []
    dropped = 0
    for line in lines:
        try:
            members = open_aggregate(line, owned)
        except Refused as refused:
            verdicts.append(Verdict("rejected", str(refused)))
            quarantine.append(Quarantined("rejected", str(refused), line))
            continue
        dropped += members is None
        for member in members or ():
            verdict = _judge(read(member, arrival, rules), kept, rules)
            verdicts.append(verdict)
            if verdict.outcome in ("rejected", "conflict"):
                reason = verdict.reason or "conflict"
                quarantine.append(Quarantined(verdict.outcome, reason, member))
    facts = list(kept.values())
    rows, combos = _derive(facts, rules)
    return Expected(rows, combos, stock_of(facts), verdicts, quarantine, dropped)


def _judge(fact: Fact | str, kept: dict[tuple[str, ...], Fact], rules: Rules) -> Verdict:
    if isinstance(fact, str):
        return Verdict("rejected", fact)
    scoped = rules.dedupe_scope == "location"
    identity = (fact.location, fact.transaction_id) if scoped else (fact.transaction_id,)
    first = kept.get(identity)
    if first is None:
        kept[identity] = fact
        return Verdict("accepted")
    same = first._replace(source="") == fact._replace(source="")
    return Verdict("duplicate" if same else "conflict")


def stock_of(facts: Iterable[Fact]) -> dict[tuple[str, str], int]:
    """Sum every change by location and product."""
    found: dict[tuple[str, str], int] = {}
    for fact in facts:
        key = fact.location, fact.product_id
        found[key] = found.get(key, 0) + fact.change
    return found


def _derive(
    facts: Sequence[Fact], rules: Rules
) -> tuple[dict[tuple[str, str], Row], dict[str, Combo]]:
    keys: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts:
        if fact.category in ("jacket", "pants") and fact.source in rules.combo_sources:
            keys.setdefault((fact.location, fact.base_product_id), []).append(fact)
    combos: dict[str, Combo] = {}
    notes: dict[tuple[str, str], Note] = {}
    for events in keys.values():
        found, said = combos_of(events, rules)
        combos |= {combo.combo_id: combo for combo in found}
        notes |= {(events[0].location, tx): note for tx, note in said.items()}
    rows = {}
    for fact in facts:
        row_key = fact.location, fact.transaction_id
        rows[row_key] = Row(fact, notes.get(row_key, Note()))
    return rows, combos


# ------------------------------------------------------------------------------- combos of one key
class _Lot:
    """The units of one sale that nobody has taken yet."""

    def __init__(self, sale: Fact) -> None:
        self.sale, self.free = sale, -sale.change


class _Match:
    """A jacket's and a pants' lot, how many units paired, and how many of them still stand."""

    def __init__(self, a: _Lot, b: _Lot, units: int) -> None:
        jacket_first = a.sale.category == "jacket"
        self.jacket, self.pants = (a.sale, b.sale) if jacket_first else (b.sale, a.sale)
        self.made = self.standing = units

    def order(self) -> tuple[int, str, str]:
        instant = max(self.jacket.instant, self.pants.instant)
        return instant, self.jacket.transaction_id, self.pants.transaction_id


def combos_of(events: Sequence[Fact], rules: Rules) -> tuple[list[Combo], dict[str, Note]]:
    """Return the combos and the annotations of one key, given its events in the order of arrival.

    Annotations that say nothing are left out.
    """
    on_time, late = by_lateness(events, rules)
    found = sorted(pair_up(on_time, rules), key=_Match.order)
    combos = [_combo(match, rules) for match in found]
    lists: dict[str, list[str]] = {}
    for combo in combos:
        if combo.quantity:
            for transaction_id in (combo.jacket_transaction_id, combo.pants_transaction_id):
                lists.setdefault(transaction_id, []).append(combo.combo_id)
    notes = {tx: Note(tuple(ids[:IDS_MAX]), len(ids)) for tx, ids in lists.items()}
    return combos, notes | {fact.transaction_id: Note(late=True) for fact in late}


def by_lateness(events: Sequence[Fact], rules: Rules) -> tuple[list[Fact], list[Fact]]:
    """Split by arrival: late is what comes before the greatest instant seen, less the allowance."""
    on_time: list[Fact] = []
    late: list[Fact] = []
    for fact in events:
        newest = max((seen.instant for seen in on_time), default=fact.instant)
        is_late = fact.instant < newest - rules.allowed_lateness_us
        (late if is_late else on_time).append(fact)
    return on_time, late


def pair_up(events: Iterable[Fact], rules: Rules) -> list[_Match]:
    """Fold events in event time into matches, in the order made."""
    lots: list[_Lot] = []
    matches: list[_Match] = []
    for fact in sorted(events, key=lambda f: (f.instant, f.change > 0, f.transaction_id)):
        if fact.change < 0:
            _sell(_Lot(fact), lots, matches, rules.combo_window_us)
        else:
            _take_back(fact, lots, matches, rules.return_window_us)
    return matches


def _sell(new: _Lot, lots: list[_Lot], matches: list[_Match], window: int) -> None:
    for old in sorted(lots, key=lambda lot: (lot.sale.instant, lot.sale.transaction_id)):
        within = new.sale.instant - old.sale.instant <= window
        if within and old.sale.category != new.sale.category:
            units = min(old.free, new.free)
            if units:
                old.free -= units
                new.free -= units
                matches.append(_Match(old, new, units))
    lots.append(new)


def _take_back(back: Fact, lots: list[_Lot], matches: list[_Match], window: int) -> None:
    left = back.change

    def reaches(sale: Fact) -> bool:
        return sale.product_id == back.product_id and back.instant - sale.instant <= window

    def age(sale: Fact) -> tuple[int, str]:
        return sale.instant, sale.transaction_id

    for lot in sorted((lot for lot in lots if reaches(lot.sale)), key=lambda lot: age(lot.sale))[
        ::-1
    ]:
        units = min(left, lot.free)
        lot.free -= units
        left -= units
    sold = {age(s) for m in matches for s in (m.jacket, m.pants) if reaches(s)}
    for unit in sorted(sold, reverse=True):
        for match in matches:  # the pair made first comes first
            if unit in (age(match.jacket), age(match.pants)):
                units = min(left, match.standing)
                match.standing -= units
                left -= units


def _combo(match: _Match, rules: Rules) -> Combo:
    paired_at, jacket, pants = match.order()
    location = match.jacket.location
    parts = (location, jacket, pants) if rules.dedupe_scope == "location" else (jacket, pants)
    return Combo(
        str(uuid5(NAMESPACE, "\x1f".join(parts))),
        location,
        match.jacket.base_product_id,
        jacket,
        pants,
        paired_at,
        match.standing,
        match.made - match.standing,
        "active" if match.standing else "cancelled",
    )
