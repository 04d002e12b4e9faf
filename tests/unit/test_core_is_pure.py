"""The core is pure: it runs where no SDK can be imported, and comes to the oracle's answer."""

import gzip
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.rules import Rules
from tests.reference import expected

PROJECT = Path(__file__).parents[2]
SAMPLES = PROJECT / "localstack" / "sample"
ARRIVAL = 2_000_000_000_000_000
LINES = 600

PROGRAM = """
import gzip, itertools, json, sys

class Blocked:
    names = set("boto3 botocore redis psycopg pydantic_settings moto alembic typer rich".split())

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(name + " is not for the core")

sys.meta_path.insert(0, Blocked())

from pipeline.core import (
    changes, claims, combos, keyed_state, positions, records, rules, step, stock
)

path, arrival, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with gzip.open(path) as lines:
    data = [line.rstrip(b"\\n") for line in itertools.islice(lines, limit)]
said = rules.Rules()
read = step.read(
    records.Batch("s0", [
        records.Record(line, positions.Position("s", "s0", n), arrival)
        for n, line in enumerate(data)
    ]),
    said,
)
holders = {
    name: claims.Holder(claim.fingerprint, claim.position, True)
    for name, claim in step.first_claims(read.deliveries).items()
}
settled = step.settle_all(read.deliveries, holders, lambda claim: claim.claim_id)
folds = {fold.name: fold for fold in (combos.ComboFold(said), stock.StockFold())}
effects = []
for key, events in step.by_key(list(folds.values()), settled.accepted).items():
    state, work = keyed_state.KeyedState(key), keyed_state.Work("s0", (0, 0), events)
    while work.events:
        found = keyed_state.advance(folds[key.fold], state, work, 0, 50)
        state = found.state
        work = work._replace(events=found.rest, delivered=state.marks["s0"].order)
        effects += found.effects
final = changes.merge((), effects)
paired = [e for e in final if isinstance(e, changes.ComboChanged) and e.status != "retracted"]
print(json.dumps({
    "accepted": len(settled.accepted),
    "duplicate": settled.verdicts[claims.Verdict.DUPLICATE],
    "refused": len(read.refusals) + len(settled.refusals),
    "combos": len(paired),
    "standing": sum(e.quantity for e in paired),
    "voided": sum(e.voided for e in paired),
    "on_hand": sum(e.on_hand for e in final if isinstance(e, changes.StockChanged)),
    "late": sum(e.late for e in final if isinstance(e, changes.ChangeAnnotated)),
    "annotated": sum(e.combo_count > 0 for e in final if isinstance(e, changes.ChangeAnnotated)),
}))
"""


def counted(sample: str) -> dict[str, int]:
    """Ask the oracle."""
    with gzip.open(SAMPLES / sample) as lines:
        data = [line.rstrip(b"\n") for line in islice(lines, LINES)]
    found = expected(data, ARRIVAL, Rules())
    outcomes = [verdict.outcome for verdict in found.verdicts]
    return {
        "accepted": outcomes.count("accepted"),
        "duplicate": outcomes.count("duplicate"),
        "refused": len(found.quarantine),
        "combos": len(found.combos),
        "standing": sum(combo.quantity for combo in found.combos.values()),
        "voided": sum(combo.voided for combo in found.combos.values()),
        "on_hand": sum(found.stock.values()),
        "late": sum(row.note.late for row in found.rows.values()),
        "annotated": sum(row.combo for row in found.rows.values()),
    }


@pytest.mark.parametrize("sample", ["pos_suits.jsonl.gz", "pos_week.jsonl.gz"])
def test_core_needs_no_sdk_to_come_to_the_right_answer(sample: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(SAMPLES / sample), str(ARRIVAL), str(LINES)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found == counted(sample)


@pytest.mark.parametrize("sample", ["pos_suits.jsonl.gz", "pos_week.jsonl.gz"])
def test_sample_has_sales_duplicates_and_combos(sample: str) -> None:
    found = counted(sample)
    assert min(found["accepted"], found["duplicate"], found["combos"]) > 0
