"""Events to test with: written by hand in one line each, or drawn by Hypothesis.

Instants are seconds after `START`; everything happens at one location, in one style of suit, unless
said otherwise. `play` folds events into combos the way a shard would bring them, in cuts.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from hypothesis import strategies as st

from pipeline.core.changes import ChangeAnnotated, ComboChanged, Effect, effect_key
from pipeline.core.combos import ComboFold
from pipeline.core.events import PosEvent
from pipeline.core.instants import HOUR, SECOND
from pipeline.core.rules import Rules
from tests.reference import Combo, Note
from tests.reference_events import Fact

START = 1_300_000_000 * SECOND
ARRIVAL = START + 24 * HOUR
RULES = Rules()
SHOP, STYLE = "GB-1", "1"
KEY = (SHOP, STYLE)


def raw_line(**overrides: str) -> bytes:
    """Write a valid event, some values replaced by raw JSON text; empty text leaves one out."""
    fields = {
        "location": '"GB-1"',
        "transaction_id": '"t-1"',
        "product_id": '"J1"',
        "base_product_id": '"1"',
        "category": '"jacket"',
        "change": "-1",
        "timestamp": '"2011-03-13T07:06:40Z"',
        "source": '"POS"',
    } | overrides
    pairs = (f"{json.dumps(name)}:{value}" for name, value in fields.items() if value)
    return ("{" + ",".join(pairs) + "}").encode("utf-8", "surrogatepass")


def line(**overrides: object) -> bytes:
    """Write a valid event as JSON, some values replaced."""
    return raw_line(**{name: json.dumps(value) for name, value in overrides.items()})


def event(at: int, name: str, category: str, change: int, product: str) -> PosEvent:
    """Make any event of a till."""
    return PosEvent.model_construct(
        location=SHOP,
        transaction_id=name,
        product_id=product,
        base_product_id=STYLE,
        category=category,
        change=change,
        instant=START + at * SECOND,
        source="POS",
    )


def jacket(at: int, name: str, units: int = 1, product: str = "J1") -> PosEvent:
    """Sell jackets."""
    return event(at, name, "jacket", -units, product)


def pants(at: int, name: str, units: int = 1, product: str = "P1") -> PosEvent:
    """Sell pants."""
    return event(at, name, "pants", -units, product)


def back(at: int, name: str, product: str, units: int = 1) -> PosEvent:
    """Take units back."""
    return event(at, name, "pants" if product[0] == "P" else "jacket", units, product)


def fact(event: PosEvent) -> Fact:
    """Say the same to the oracle."""
    return Fact(
        event.location,
        event.transaction_id,
        event.product_id,
        event.base_product_id,
        event.category,
        event.change,
        event.instant,
        event.source,
    )


class Played(NamedTuple):
    """What the tables hold after some commits, and every body and effect on the way."""

    combos: list[Combo]
    notes: dict[str, Note]
    bodies: list[bytes]
    effects: dict[tuple[str, ...], Effect]

    def shown(self) -> dict[tuple[str, str], tuple[int, int, str]]:
        """Map (jacket, pants) to quantity, voided and status, retracted ones included."""
        return {
            (c.jacket_transaction_id, c.pants_transaction_id): (
                c.quantity,
                c.voided,
                c.status.value,
            )
            for c in self.effects.values()
            if isinstance(c, ComboChanged)
        }

    def late(self) -> set[str]:
        """Name the transactions that came after their frontier."""
        return {name for name, note in self.notes.items() if note.late}


def play(events: Sequence[PosEvent], rules: Rules = RULES, cuts: Iterable[int] = ()) -> Played:
    """Fold events, in this order, in one call for each stretch between cuts."""
    fold, body = ComboFold(rules), b""
    effects: dict[tuple[str, ...], Effect] = {}
    bodies = []
    ends = sorted({0, len(events), *(cut for cut in cuts if 0 < cut < len(events))})
    for revision, (start, end) in enumerate(pairwise(ends), 1):
        body, produced = fold.apply(KEY, body, events[start:end], revision)
        bodies.append(body)
        effects |= {effect_key(effect): effect for effect in produced}
    return Played(_combos(effects.values()), _notes(effects.values()), bodies, effects)


def one_by_one(events: Sequence[PosEvent], rules: Rules = RULES) -> Played:
    """Fold every event in a call of its own."""
    return play(events, rules, range(len(events)))


def _combos(effects: Iterable[Effect]) -> list[Combo]:
    found = [
        Combo(*effect[:8], effect.status.value)
        for effect in effects
        if isinstance(effect, ComboChanged) and effect.status != "retracted"
    ]
    return sorted(found, key=lambda combo: (combo.paired_at, *combo[3:5]))


def _notes(effects: Iterable[Effect]) -> dict[str, Note]:
    found = {
        effect.transaction_id: Note(effect.combo_ids, effect.combo_count, effect.late)
        for effect in effects
        if isinstance(effect, ChangeAnnotated)
    }
    return {name: note for name, note in found.items() if note != Note()}


@st.composite
def traffic(draw: st.DrawFn, size: int = 24, units: int = 4, least: int = 0) -> list[PosEvent]:
    """Draw events of one key with distinct transactions, in any order of arrival.

    Instants are few, so that ties and window edges are common; a product may be sold in both
    categories, which is odd but lawful. Left to itself Hypothesis draws half a dozen events; ask
    for `least` where a queue of several must stand.
    """
    names = draw(st.lists(st.text("ab\u00e9\U0001f454", max_size=2), min_size=least, max_size=size))
    found = []
    for number, name in enumerate(names):
        category = draw(st.sampled_from(("jacket", "pants")))
        product = draw(st.sampled_from((category[0], category[0] + "2", "both")))
        at = draw(st.integers(0, 12)) * 150 + draw(st.sampled_from((0, 0, 0, 1)))
        change = draw(st.integers(1, units)) * draw(st.sampled_from((-1, -1, -1, -1, 1)))
        found.append(event(at, f"{name}{number}", category, change, product))
    return found


cuts = st.sets(st.integers(1, 30), max_size=8)

rules = st.builds(
    Rules,
    combo_window_us=st.sampled_from((0, 150, 600)).map(lambda s: s * SECOND),
    return_window_us=st.sampled_from((0, 150, 600, 1_200)).map(lambda s: s * SECOND),
    allowed_lateness_us=st.sampled_from((0, 1, 150, 600, 3_600)).map(lambda s: s * SECOND),
    dedupe_scope=st.sampled_from(("global", "location")),
)
