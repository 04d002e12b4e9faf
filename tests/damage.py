"""Every kind of damage to an installation in memory, and what an audit must call it."""

from collections.abc import Callable
from typing import Any

from pipeline.core.changes import ChangeAnnotated, ComboChanged, StockChanged
from pipeline.core.keyed_state import StateKey
from pipeline.core.reconciling import Check, Kind
from pipeline.ports.cache import CachedStock
from tests.audits import Audited


def combo_row(audited: Audited) -> Any:
    """Choose a row that stands in a combo."""
    notes = audited.ports.change_log.annotations
    return audited.ports.change_log.rows[next(k for k, note in notes.items() if note.combo_ids)]


def combo(audited: Audited) -> ComboChanged:
    return next(iter(audited.ports.combos.items.values()))


def stock_key(audited: Audited) -> StateKey:
    row = combo_row(audited)
    return StateKey("stock", (row.location, row.product_id))


def combo_key(audited: Audited) -> StateKey:
    row = combo_row(audited)
    return StateKey("combos", (row.location, row.base_product_id))


def lose_row(audited: Audited) -> None:
    row = combo_row(audited)
    del audited.ports.change_log.rows[row.location, row.transaction_id]
    del audited.ports.change_log.annotations[row.location, row.transaction_id]


def alter_row(audited: Audited) -> None:
    row = combo_row(audited)
    audited.ports.change_log.rows[row.location, row.transaction_id] = row._replace(change=-77)


def lose_claim(audited: Audited) -> None:
    del audited.ports.claims.items[combo_row(audited).transaction_id]


def alter_annotation(audited: Audited) -> None:
    row = combo_row(audited)
    key = row.location, row.transaction_id
    note = audited.ports.change_log.annotations[key]
    audited.ports.change_log.annotations[key] = note._replace(combo_ids=(), combo_count=0)


def lose_combo(audited: Audited) -> None:
    del audited.ports.combos.items[combo(audited).combo_id]


def alter_combo(audited: Audited) -> None:
    found = combo(audited)
    audited.ports.combos.items[found.combo_id] = found._replace(quantity=99)


def invent_combo(audited: Audited) -> None:
    audited.ports.combos.items["invented"] = combo(audited)._replace(combo_id="invented")


def alter_stock(audited: Audited) -> None:
    states, key = audited.ports.states.items, stock_key(audited)
    states[key] = states[key]._replace(body=b"1000")


def lose_stock(audited: Audited) -> None:
    del audited.ports.states.items[stock_key(audited)]


def lose_state(audited: Audited) -> None:
    del audited.ports.states.items[combo_key(audited)]


def alter_state(audited: Audited) -> None:
    states, key = audited.ports.states.items, combo_key(audited)
    states[key] = states[key]._replace(body=b"[1,0,[],[],[],{}]")


def lose_warehouse_row(audited: Audited) -> None:
    row = combo_row(audited)
    del audited.ports.warehouse.changes[row.location, row.transaction_id]


def alter_warehouse_row(audited: Audited) -> None:
    row = combo_row(audited)
    audited.ports.warehouse.changes[row.location, row.transaction_id] = row._replace(change=-77)


def invent_warehouse_row(audited: Audited) -> None:
    row = combo_row(audited)._replace(transaction_id="invented")
    audited.ports.warehouse.changes[row.location, row.transaction_id] = row


def of_warehouse(audited: Audited, kind: type) -> tuple[dict[Any, Any], Any]:
    effects: dict[Any, Any] = audited.ports.warehouse.effects
    return effects, next(key for key, effect in effects.items() if isinstance(effect, kind))


def lose_warehouse_note(audited: Audited) -> None:
    effects, key = of_warehouse(audited, ChangeAnnotated)
    del effects[key]


def alter_warehouse_note(audited: Audited) -> None:
    effects, key = of_warehouse(audited, ChangeAnnotated)
    effects[key] = effects[key]._replace(late=True)


def alter_warehouse_combo(audited: Audited) -> None:
    effects, key = of_warehouse(audited, ComboChanged)
    effects[key] = effects[key]._replace(quantity=99, revision=effects[key].revision + 3)


def invent_warehouse_combo(audited: Audited) -> None:
    audited.ports.warehouse.effects["combo", "x"] = combo(audited)._replace(combo_id="x")


def age_warehouse_stock(audited: Audited) -> None:
    effects, key = of_warehouse(audited, StockChanged)
    effects[key] = effects[key]._replace(on_hand=5, revision=0)


def alter_warehouse_stock(audited: Audited) -> None:
    effects, key = of_warehouse(audited, StockChanged)
    effects[key] = effects[key]._replace(on_hand=5)


def age_cache(audited: Audited) -> None:
    audited.ports.cache.items[stock_key(audited).parts] = CachedStock(4, 0)  # type: ignore[index] # a pair


def falsify_cache(audited: Audited) -> None:
    version = audited.ports.states.items[stock_key(audited)].version
    audited.ports.cache.items[stock_key(audited).parts] = CachedStock(4, version)  # type: ignore[index]


def date_cache_ahead(audited: Audited) -> None:
    audited.ports.cache.items[stock_key(audited).parts] = CachedStock(4, 2**50)  # type: ignore[index]


def lose_dimension(audited: Audited) -> None:
    audited.ports.warehouse.dimensions.remove(("product", combo_row(audited).product_id))


def invent_dimension(audited: Audited) -> None:
    audited.ports.warehouse.dimensions.add(("location", "nowhere"))


DAMAGE: dict[Callable[[Audited], None], set[tuple[Check, Kind]]] = {
    lose_row: {
        (Check.CLAIM_WITHOUT_ROW, Kind.MISSING),
        (Check.WAREHOUSE_CHANGE, Kind.EXTRA),
    },
    alter_row: {
        (Check.ROW_ALTERED, Kind.DIFFERENT),
        (Check.STOCK_AND_LOG, Kind.DIFFERENT),
        (Check.WAREHOUSE_CHANGE, Kind.DIFFERENT),
    },
    lose_claim: {(Check.ROW_WITHOUT_CLAIM, Kind.MISSING)},
    alter_annotation: {
        (Check.NOTE_AND_LOG, Kind.MISSING),
        (Check.WAREHOUSE_NOTE, Kind.DIFFERENT),
    },
    lose_combo: {(Check.COMBO_AND_LOG, Kind.MISSING), (Check.WAREHOUSE_COMBO, Kind.EXTRA)},
    alter_combo: {(Check.COMBO_AND_LOG, Kind.DIFFERENT), (Check.WAREHOUSE_COMBO, Kind.DIFFERENT)},
    invent_combo: {(Check.COMBO_AND_LOG, Kind.EXTRA), (Check.WAREHOUSE_COMBO, Kind.MISSING)},
    alter_stock: {(Check.STOCK_AND_LOG, Kind.DIFFERENT), (Check.WAREHOUSE_STOCK, Kind.DIFFERENT)},
    lose_stock: {(Check.ROW_UNFOLDED, Kind.MISSING), (Check.WAREHOUSE_STOCK, Kind.EXTRA)},
    lose_state: {(Check.ROW_UNFOLDED, Kind.MISSING), (Check.COMBO_AND_LOG, Kind.EXTRA)},
    alter_state: {(Check.STATE_AND_LOG, Kind.DIFFERENT)},
    lose_warehouse_row: {(Check.WAREHOUSE_CHANGE, Kind.MISSING)},
    alter_warehouse_row: {(Check.WAREHOUSE_CHANGE, Kind.DIFFERENT)},
    invent_warehouse_row: {(Check.WAREHOUSE_CHANGE, Kind.EXTRA)},
    lose_warehouse_note: {(Check.WAREHOUSE_NOTE, Kind.MISSING)},
    alter_warehouse_note: {(Check.WAREHOUSE_NOTE, Kind.DIFFERENT)},
    alter_warehouse_combo: {(Check.WAREHOUSE_COMBO, Kind.DIFFERENT)},
    invent_warehouse_combo: {(Check.WAREHOUSE_COMBO, Kind.EXTRA)},
    age_warehouse_stock: {(Check.WAREHOUSE_STOCK, Kind.DIFFERENT)},
    alter_warehouse_stock: {(Check.WAREHOUSE_STOCK, Kind.DIFFERENT)},
    age_cache: {(Check.CACHE, Kind.DIFFERENT)},
    falsify_cache: {(Check.CACHE, Kind.DIFFERENT)},
    date_cache_ahead: {(Check.CACHE, Kind.DIFFERENT)},
    lose_dimension: {(Check.DIMENSION, Kind.MISSING)},
    invent_dimension: {(Check.DIMENSION, Kind.EXTRA)},
}
