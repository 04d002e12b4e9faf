"""How fast the core is, beside a bare Python loop over the same pydantic model.

    python -m tests.benchmarks.core_throughput [ROUNDS]

The loop is what a hand-written consumer does: parse, drop repeats by a set, add up stock in a
dictionary. The core does everything between two calls to the outside: open aggregates, parse with
a named reason for what it refuses, fingerprint, claim and settle, write rows, fold combos and
stock, encode states and outboxes, encode the facts to publish. Both run in turns, several rounds
in one process; the medians and their ratio count, single times do not: the machine is shared.
"""

import gzip
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jiter

from consumers.commands import collect_rarely
from pipeline.core.changes import to_wire
from pipeline.core.claims import Holder
from pipeline.core.combos import ComboFold
from pipeline.core.events import PosEvent
from pipeline.core.instants import parse_instant
from pipeline.core.keyed_state import Fold, KeyedState, StateKey, Work, advance
from pipeline.core.positions import Position
from pipeline.core.records import Batch, Record
from pipeline.core.rules import Rules
from pipeline.core.step import by_key, first_claims, read, row_of, settle_all
from pipeline.core.stock import StockFold

SAMPLE = Path(__file__).parents[2] / "localstack" / "sample"
BATCH_RECORDS = 500
ROUNDS = 7
ARRIVAL = parse_instant("2026-01-01T00:00:00Z")


def bare_loop(lines: Sequence[bytes]) -> int:
    """Validate, drop repeats, add up stock."""
    validate = PosEvent.__pydantic_validator__.validate_python
    seen: set[str] = set()
    stock: dict[tuple[str, str], int] = {}
    for line in lines:
        event = validate(jiter.from_json(line, catch_duplicate_keys=True, allow_inf_nan=False))
        if event.transaction_id in seen:
            continue
        seen.add(event.transaction_id)
        key = event.location, event.product_id
        stock[key] = stock.get(key, 0) + event.change
    return len(seen)


def core(lines: Sequence[bytes]) -> int:
    """Do all that the inventory steps do, with dictionaries for tables."""
    rules = Rules()
    folds: dict[str, Fold] = {fold.name: fold for fold in (ComboFold(rules), StockFold())}
    claims: dict[str, Holder] = {}
    states: dict[StateKey, KeyedState] = {}
    rows = 0
    for start in range(0, len(lines), BATCH_RECORDS):
        records = [
            Record(data, Position("pos", "s0", start + n), ARRIVAL)
            for n, data in enumerate(lines[start : start + BATCH_RECORDS], 1)
        ]
        reading = read(Batch("s0", records), rules)
        for identity, claim in first_claims(reading.deliveries).items():
            claims.setdefault(identity, Holder(claim.fingerprint, claim.position, fresh=True))
        accepted = settle_all(reading.deliveries, claims, lambda claim: claim.claim_id).accepted
        for delivery in accepted:
            to_wire(row_of(delivery.claim))
        rows += len(accepted)
        for key, items in by_key(tuple(folds.values()), accepted).items():
            work = Work("s0", records[0].position.order, items)
            done = advance(folds[key.fold], states.get(key) or KeyedState(key), work, 0, 500)
            assert done.state is not None
            states[key] = done.state
            for effect in done.effects:
                to_wire(effect)
    return rows


def seconds(run: Callable[[Sequence[bytes]], int], lines: Sequence[bytes]) -> float:
    """Time one run."""
    began = time.perf_counter()
    run(lines)
    return time.perf_counter() - began


def main(rounds: int) -> None:
    """Print both rates and their ratio for each sample."""
    out = sys.stdout
    collect_rarely()  # as the consumers do; both sides run under it
    out.write(f"{'sample':<12}{'bare loop':>14}{'core':>14}{'core / loop':>14}\n")
    for name in ("pos_suits", "pos_week"):
        lines = gzip.decompress((SAMPLE / f"{name}.jsonl.gz").read_bytes()).splitlines()
        pairs = [(seconds(bare_loop, lines), seconds(core, lines)) for _ in range(rounds + 1)][1:]
        loop_s, core_s = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(loop / other for loop, other in pairs)
        rates = f"{len(lines) / loop_s:>11,.0f}/s{len(lines) / core_s:>12,.0f}/s"
        out.write(f"{name:<12} {rates}{ratio:>14.2f}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
