"""Stock: on hand is the sum of every accepted change, of every source."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.changes import StockChanged
from pipeline.core.events import PosEvent
from pipeline.core.stock import StockFold
from tests.reference import stock_of
from tests.unit.traffic import SHOP, back, event, fact, jacket, traffic

KEY = (SHOP, "J1")


def folded(body: bytes, *events: PosEvent) -> bytes:
    """Apply in one call."""
    return StockFold().apply(KEY, body, events, 1)[0]


def test_first_sale_of_a_product_leaves_a_negative_level() -> None:
    assert folded(b"", jacket(0, "j", 3)) == b"-3"


def test_return_raises_the_level() -> None:
    assert folded(b"5", back(0, "r", "J1", 2)) == b"7"


def test_effect_is_the_level_after_the_last_event() -> None:
    _, effects = StockFold().apply(KEY, b"5", [jacket(0, "a"), jacket(1, "b")], 9)
    assert effects == (StockChanged(SHOP, "J1", 3, 9),)


def test_every_category_and_source_moves_stock() -> None:
    delivery = event(0, "d", "tie", 50, "T1").model_copy(update={"source": "batch"})
    assert StockFold().key(delivery) == (SHOP, "T1")


def test_level_is_kept_by_product_not_by_style() -> None:
    assert StockFold().key(jacket(0, "j", 1, "J2")) != StockFold().key(jacket(0, "j", 1, "J1"))


@given(traffic(), st.integers(0, 24))
def test_level_is_the_sum_however_the_events_are_cut(events: list[PosEvent], cut: int) -> None:
    same = [e.model_copy(update={"product_id": "J1"}) for e in events]
    body = folded(folded(b"", *same[:cut]), *same[cut:])
    assert int(body) == stock_of(map(fact, same)).get(KEY, 0)
