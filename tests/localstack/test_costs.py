"""What the inventory consumer costs on DynamoDB, and that batches do not make it dearer.

    .venv/bin/pytest tests/localstack/test_costs.py --stacks localstack-single,localstack-batch

prints units per 1,000 deliveries of the demo. On-demand prices are by unit, so the table times a
region's two prices is the bill.
"""

import sys
from collections import Counter

import pytest

from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.core.changes import ComboChanged, ComboStatus
from pipeline.settings import WriteMode
from tests.localstack.costs import KEYS, Charge, Meter, measure, metered
from tests.stacks import deployed, fresh

Installations = dict[WriteMode, AwsPorts]
Meters = dict[WriteMode, Meter]

MODES: tuple[WriteMode, ...] = ("single", "batch")
NOT_REPORTED = ("refused", "missed")
KINDS = ("table", "index", "refused", "read", "missed")


@pytest.fixture(scope="module")
def installations(localstack: Endpoints) -> Installations:
    """One for each mode."""
    return {mode: deployed(fresh("costs"), localstack, SystemClock(), mode) for mode in MODES}


@pytest.fixture(scope="module")
def meters(installations: Installations) -> Meters:
    """The demo in both modes."""
    return {mode: measure(ports, demo_lines()) for mode, ports in installations.items()}


def units(charges: Counter[Charge]) -> dict[Charge, float]:
    """Leave the installation's name out of the tables' names, and nothings."""
    return {
        Charge(name, charge.kind): units
        for charge, units in charges.items()
        for name in KEYS
        if units and charge.table.endswith(f"-{name}")
    }


def test_units_are_those_that_are_reported(meters: Meters) -> None:
    computed = units(meters["single"].computed)
    reported = units(meters["single"].reported)
    assert {c: u for c, u in computed.items() if c.kind not in NOT_REPORTED} == reported


def test_batches_cost_what_single_calls_cost(meters: Meters) -> None:
    assert units(meters["batch"].computed) == units(meters["single"].computed)


@pytest.mark.parametrize(("mode", "refused"), [("single", 0), ("batch", 1)])
def test_a_combo_that_changes_costs_a_refusal_more_in_a_batch(
    installations: Installations, mode: WriteMode, refused: int
) -> None:
    ports = installations[mode]
    first = ComboChanged("c", "GB-1", "1", "t1", "t2", 0, 2, 1, ComboStatus.ACTIVE, 1)
    meter = metered(ports)
    with meter.listening():
        ports.combos.upsert([first])
        ports.combos.upsert([first._replace(revision=2)])
    found = {charge.kind: count for charge, count in units(meter.computed).items()}
    assert (found["table"], found["index"], found.get("refused", 0)) == (2, 2, refused)


def test_costs_are_shown(meters: Meters, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the table; an event is one claim, one row, and at most two states."""
    per = 1_000 / len(demo_lines())
    with capsys.disabled():
        for mode in MODES:
            sys.stdout.write(shown(mode, meters[mode], per))
    written = sum(count for c, count in meters["batch"].computed.items() if c.kind == "table")
    assert 2_000 < written * per < 4_500


def shown(mode: WriteMode, meter: Meter, per: float) -> str:
    """Lay one mode's units out, a line for each table."""
    found = units(meter.computed)
    rows = [
        f"{name:<24}"
        + "".join(f"{found.get(Charge(name, kind), 0) * per:>9,.0f}" for kind in KINDS)
        for name in KEYS
    ]
    head = f"{f'{mode}, units per 1,000':<24}" + "".join(f"{kind:>9}" for kind in KINDS)
    return "\n".join(["", head, *rows, ""])
