"""What an audit says: control totals side by side, then what differs, bounded in length."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from consumers.audit.auditing import Audit
from consumers.contents import in_words
from consumers.exports import Json
from pipeline.core.instants import format_instant
from pipeline.core.reconciling import Place, change_totals, combo_totals, stock_totals
from pipeline.core.step import row_of

LISTED_MAX = 20
"""Findings told of each check; the first few say what kind of fault it is."""
DAYS_SHOWN_MAX = 20


class _Totals(NamedTuple):
    """One measure by place, a side each; `wanted` is the side that the others must follow."""

    name: str
    sides: Mapping[str, Mapping[Place, Any]]


def report(audit: Audit) -> Json:
    """Sum an audit up. Findings are all counted, and listed up to a limit for each check."""
    part, totals = audit.seen.part, _totals(audit)
    counts = Counter(str(finding.check) for finding in audit.findings)
    shown: Counter[str] = Counter()
    listed = []
    for finding in audit.findings:
        shown[finding.check] += 1
        if shown[finding.check] <= LISTED_MAX:
            listed.append(
                {
                    "check": str(finding.check),
                    "kind": str(finding.kind),
                    "location": finding.place[0],
                    "day": finding.place[1],
                    "key": list(finding.key),
                    "found": _plain(finding.found),
                    "wanted": _plain(finding.wanted),
                    "in_words": in_words(finding),
                }
            )
    return {
        "location": part.location,
        "since": None if part.since is None else format_instant(part.since)[:10],
        "clean": audit.clean,
        "totals": {each.name: _summed(each) for each in totals},
        "by_day": _by_day(totals),
        "findings": len(audit.findings),
        "by_check": dict(counts),
        "listed": listed,
        "in_flight": audit.moving,
        "keys_of_unknown_order": audit.uncertain,
        "history_checked": audit.seen.history is not None,
        "repair": _repaired(audit),
    }


def _plain(value: Any) -> Any:
    """Take a fact apart, so that JSON names its fields; anything else is told as text."""
    if value is None or isinstance(value, str | int):
        return value
    return {name: str(each) for name, each in value._asdict().items()}


def _repaired(audit: Audit) -> Json | None:
    if audit.repaired is None:
        return None
    reasons = Counter(reason for _, reason in audit.repaired.left)
    left = audit.repaired.left[:LISTED_MAX]
    return {
        "done": {name: count for name, count in audit.repaired.done.items() if count},
        "left": len(audit.repaired.left),
        "left_because": dict(reasons),
        "left_listed": [{"finding": in_words(f), "reason": reason} for f, reason in left],
    }


# --------------------------------------------------------------------------------- control totals
def _totals(audit: Audit) -> list[_Totals]:
    tables, warehouse = audit.seen.tables, audit.seen.warehouse
    claimed = map(row_of, audit.seen.claims.values())
    return [
        _Totals(
            "changes",
            {
                "claims": change_totals(claimed),
                "change log": change_totals(tables.changes.values()),
                "warehouse": change_totals(warehouse.changes.values()),
            },
        ),
        _sides("combos", combo_totals, tables.combos.values(), warehouse.combos.values()),
        _sides("stock", stock_totals, tables.stock.values(), warehouse.stock.values()),
    ]


def _sides(
    name: str,
    add_up: Callable[[Iterable[Any]], Mapping[Place, Any]],
    tables: Iterable[Any],
    warehouse: Iterable[Any],
) -> _Totals:
    return _Totals(name, {"tables": add_up(tables), "warehouse": add_up(warehouse)})


def _summed(each: _Totals) -> Json:
    found: Json = {}
    for side, by_place in each.sides.items():
        rows = [total._asdict() for total in by_place.values()]
        found[side] = {name: sum(row[name] for row in rows) for name in _measures(each)}
    return found


def _measures(each: _Totals) -> tuple[str, ...]:
    fields = {"changes": ("rows", "units", "sum"), "combos": ("rows", "standing", "voided")}
    return fields.get(each.name, ("rows", "on_hand"))


def _by_day(totals: Iterable[_Totals]) -> list[Json]:
    rows: dict[Place, Json] = {}
    for each in totals:
        for place in {place for side in each.sides.values() for place in side}:
            location, day = place
            row = rows.setdefault(place, {"location": location, "day": day, "equal": True})
            told = {
                side: by_place[place]._asdict() if place in by_place else None
                for side, by_place in each.sides.items()
            }
            row[each.name] = told
            row["equal"] = row["equal"] and len({str(value) for value in told.values()}) == 1
    return [rows[place] for place in sorted(rows)]


# ------------------------------------------------------------------------------------- for people
def show(told: Json, out: Console) -> None:
    """Print a report for people."""
    out.print(_table(told["totals"]))
    differing = [row for row in told["by_day"] if not row["equal"]]
    for row in differing[:DAYS_SHOWN_MAX]:
        place = f"{row['location']} {row['day']}".strip()
        sides = [f"{n}: {_short(row[n])}" for n in ("changes", "combos", "stock") if n in row]
        out.print(f"totals differ at {place}: {'; '.join(sides)}", markup=False)
    if len(differing) > DAYS_SHOWN_MAX:
        out.print(f"... and at {len(differing) - DAYS_SHOWN_MAX:,} more")
    for finding in told["listed"]:
        out.print(f"DIFFERS: {finding['in_words']}", markup=False)
    for check, count in told["by_check"].items():
        out.print(f"{count:>8,}  {check}", markup=False)
    _show_limits(told, out)
    _show_end(told, out)


def _table(totals: Json) -> Table:
    table = Table(show_header=False, box=None)
    for name, sides in totals.items():
        for side, measures in sides.items():
            figures = ", ".join(f"{value:,} {measure}" for measure, value in measures.items())
            table.add_row(name, side, figures)
    return table


def _short(sides: Json) -> str:
    return ", ".join(
        f"{side} {'/'.join(f'{v:,}' for v in total.values()) if total else 'none'}"
        for side, total in sides.items()
    )


def _show_limits(told: Json, out: Console) -> None:
    if told["in_flight"]:
        out.print(f"{told['in_flight']:,} more differed in one look only: facts on their way")
    if told["keys_of_unknown_order"]:
        out.print(
            f"{told['keys_of_unknown_order']:,} keys came through several shards with late events:"
            " their order is not known, so they were not folded again"
        )
    if not told["history_checked"]:
        out.print("states, stock and combos were not compared with the log: that needs all days")


def _show_end(told: Json, out: Console) -> None:
    repair = told["repair"]
    if repair is None:
        clean = told["clean"]
        out.print("clean: everything agrees" if clean else f"{told['findings']:,} differences")
        return
    for name, count in repair["done"].items():
        out.print(f"repaired: {count:,} {name}")
    for left in repair["left_listed"]:
        out.print(f"LEFT: {left['finding']}: {left['reason']}", markup=False)
    if repair["left"] > len(repair["left_listed"]):
        out.print(f"... and {repair['left'] - len(repair['left_listed']):,} more are left")
    if told["findings"]:
        out.print("once etl and cache have read what was published, audit again")
