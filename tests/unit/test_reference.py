"""The oracle: it must itself be right, and must not lean on what it judges."""

import ast
from pathlib import Path

import pytest

from pipeline.core.records import UserRecord, write_aggregate
from tests.reference import Note, Quarantined, Verdict, expected
from tests.unit.traffic import ARRIVAL, RULES, line

BROKEN = b"\xf3\x89\x9a\xc2"
SUIT = [
    line(transaction_id="j"),
    line(transaction_id="p", product_id="P1", category="pants", change=-2),
]


@pytest.mark.parametrize("module", ["reference.py", "reference_events.py"])
def test_oracle_imports_nothing_of_the_product_but_its_rules(module: str) -> None:
    tree = ast.parse((Path(__file__).parents[1] / module).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    product = {node.module for node in imports if (node.module or "").startswith("pipeline")}
    assert product == {"pipeline.core.rules"}


def test_rows_carry_the_annotation_of_their_transaction() -> None:
    found = expected(SUIT, ARRIVAL, RULES)
    assert [(row.combo, row.combo_id) for row in found.rows.values()] == [
        (True, name) for name in [*found.combos, *found.combos]
    ]


def test_combo_has_the_units_that_both_sold() -> None:
    (combo,) = expected(SUIT, ARRIVAL, RULES).combos.values()
    assert (combo.quantity, combo.voided, combo.status) == (1, 0, "active")


def test_stock_is_summed_by_product() -> None:
    assert expected(SUIT, ARRIVAL, RULES).stock == {("GB-1", "J1"): -1, ("GB-1", "P1"): -2}


def test_first_body_wins() -> None:
    found = expected([line(), line(change=-9), line(source="batch")], ARRIVAL, RULES)
    outcomes = [verdict.outcome for verdict in found.verdicts]
    assert (outcomes, found.stock) == (["accepted", "conflict", "duplicate"], {("GB-1", "J1"): -1})


def test_what_cannot_be_used_is_quarantined_whole() -> None:
    found = expected([b"{", BROKEN, line(), line(change=5)], ARRIVAL, RULES)
    assert found.quarantine == [
        Quarantined("rejected", "malformed_json", b"{"),
        Quarantined("rejected", "bad_aggregate", BROKEN),
        Quarantined("conflict", "conflict", line(change=5)),
    ]


def test_members_of_an_aggregate_are_judged_one_by_one() -> None:
    data = write_aggregate([UserRecord("a", line()), UserRecord("b", b"")])
    assert expected([data], ARRIVAL, RULES).verdicts == [
        Verdict("accepted"),
        Verdict("rejected", "empty"),
    ]


def test_dropped_aggregate_is_outside_what_was_read() -> None:
    found = expected([write_aggregate([UserRecord("a", line(), 9)])], ARRIVAL, RULES, (0, 8))
    assert (found.verdicts, found.dropped) == ([], 1)


def test_late_transaction_is_annotated_and_pairs_with_nothing() -> None:
    old = line(transaction_id="old", timestamp="2011-03-13T06:00:00Z")
    found = expected([*SUIT, old], ARRIVAL, RULES)
    assert found.rows["GB-1", "old"].note == Note(late=True)
