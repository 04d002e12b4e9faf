"""Planted damage of every kind: found, named, and repaired; and nothing found where nothing is."""

from collections.abc import Callable

import pytest

from consumers.audit.report import report
from pipeline.core.errors import RefusedToStart
from pipeline.core.reconciling import Check, Kind
from tests.audits import LINES, Audited, installation
from tests.crashes import tables
from tests.damage import DAMAGE, invent_warehouse_row


@pytest.fixture
def audited() -> Audited:
    return installation(200)


damages = pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)


@damages
def test_damage_is_found_and_named(audited: Audited, damage: Callable[[Audited], None]) -> None:
    damage(audited)
    found = audited.audit()
    named = {(finding.check, finding.kind) for finding in found.findings}
    assert (DAMAGE[damage] <= named, found.clean) == (True, False)


@damages
def test_nothing_else_is_accused(audited: Audited, damage: Callable[[Audited], None]) -> None:
    damage(audited)
    named = {(finding.check, finding.kind) for finding in audited.audit().findings}
    anyhow = (Check.NOTE_AND_LOG, Check.STOCK_AND_LOG, Check.WAREHOUSE_NOTE)
    follows = {(check, kind) for kind in Kind for check in anyhow}
    follows |= {(Check.STATE_AND_LOG, Kind.DIFFERENT)}
    follows |= {(Check.COMBO_AND_LOG, Kind.EXTRA), (Check.COMBO_AND_LOG, Kind.DIFFERENT)}
    follows |= {(Check.DIMENSION, Kind.MISSING)} if damage is invent_warehouse_row else set()
    assert named - DAMAGE[damage] <= follows


@damages
def test_damage_is_repaired(audited: Audited, damage: Callable[[Audited], None]) -> None:
    wanted = tables(audited.ports)
    damage(audited)
    assert audited.mended().findings == []
    found = tables(audited.ports)
    for name in ("claims", "rows", "notes", "combos", "bodies", "facts"):
        assert (name, getattr(found, name)) == (name, getattr(wanted, name))


@damages
def test_repair_twice_changes_nothing_more(
    audited: Audited, damage: Callable[[Audited], None]
) -> None:
    damage(audited)
    audited.mended()
    before = dict(audited.ports.states.items), audited.ports.changes.records.copy()
    again = audited.audit(mend=True).repaired
    assert again is not None
    assert (sum(again.done.values()), again.left) == (0, [])
    assert before == (audited.ports.states.items, audited.ports.changes.records)


# ------------------------------------------------------------------------------ a system at rest
def test_untouched_system_is_clean_with_equal_totals() -> None:
    audited = installation(LINES)
    told = report(audited.audit())
    changes, combos, stock = (told["totals"][name] for name in ("changes", "combos", "stock"))
    assert changes["claims"] == changes["change log"] == changes["warehouse"]
    assert (combos["tables"], stock["tables"]) == (combos["warehouse"], stock["warehouse"])
    assert changes["claims"]["rows"] > 0 < combos["tables"]["rows"]
    assert (told["clean"], all(row["equal"] for row in told["by_day"])) == (True, True)


def test_clean_system_is_looked_at_once(audited: Audited) -> None:
    audited.audit()
    assert audited.clock.pauses == []


def test_empty_system_is_clean_and_stays_without_rules() -> None:
    audited = installation(0)
    audited.ports.states.pinned = None
    assert (audited.audit().clean, audited.ports.states.pinned) == (True, None)


def test_other_rules_are_refused(audited: Audited) -> None:
    audited.settings = audited.settings.model_copy(update={"state_entries_max": 7})
    with pytest.raises(RefusedToStart, match="other rules"):
        audited.audit()
