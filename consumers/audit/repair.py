"""Repairs: mend what an audit found, beside a system at work.

Everything here is an act that the system's own guards make harmless if it is late or done twice:

    1. rows       a claim's row is inserted where it is absent; a row that was altered is set to
                  what its claim says; a claim that is gone is written anew from its row
    2. states     keys that lack an event, or say otherwise than the log, are folded anew
                  (`pipeline.runtime.rebuilding` says why that is safe)
    3. warehouse  rows that no fact would ever overwrite are removed, if they still are what the
                  audit saw; then the right ones are published again
    4. dimensions rows that are used and missing come back with a fact that uses them, published
                  again; those that nothing uses are removed
    5. cache      a tombstone over each wrong entry

So no consumer needs to stop, and what the sinks lack comes to them as it always does: over
`inventory-changes`, through their own consumers. What cannot be mended is returned, with the
reason. A claim that the inventory consumer may still come past is the chief of these. Its batch
would come again, and an earlier event of the same key with it; nobody but that consumer can know.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from consumers.audit.look import Look
from pipeline.bootstrap import Ports, backoff, folds, stream_names
from pipeline.core.changes import ChangeRecorded, StockChanged, TableFact
from pipeline.core.combos import ComboFold
from pipeline.core.keyed_state import StateKey
from pipeline.core.reconciling import Check, Finding, Kind, Member, members
from pipeline.core.refolding import keys_of
from pipeline.core.step import claim_from_row
from pipeline.core.stock import StockFold
from pipeline.ports.cache import Stale, StockId
from pipeline.ports.clock import Clock
from pipeline.ports.warehouse_repair import Orphan
from pipeline.runtime.facts import publish_facts
from pipeline.runtime.folding import FoldTables
from pipeline.runtime.rebuilding import Damaged, Rebuilding
from pipeline.settings import Settings

STRANGERS_MAX = 0.1
"""The share of the warehouse's rows that may be unknown to the change log before one doubts that
the two belong together."""
STRANGERS_FEW = 20

_UNFINISHED = "its batch is the inventory consumer's to finish: start it, then audit again"
_FINGERPRINT = "which of event and fingerprint is right cannot be known: look at it"
_EXPIRED = "the log may have lost the row, and its claim may have expired: restore the log first"
_STRANGE = "too many to be damage: is this the warehouse of these tables? `warehouse rebuild`"
_BUSY = "its key is too busy: stop the inventory consumer, then repair again"
_BY_STATE = {
    Check.STOCK_AND_LOG: StockFold.name,
    Check.STATE_AND_LOG: ComboFold.name,
    Check.COMBO_AND_LOG: ComboFold.name,
    Check.NOTE_AND_LOG: ComboFold.name,
}
_IN_WAREHOUSE = frozenset(
    {
        Check.WAREHOUSE_CHANGE,
        Check.WAREHOUSE_NOTE,
        Check.WAREHOUSE_COMBO,
        Check.WAREHOUSE_STOCK,
    }
)


@dataclass(slots=True)
class Repaired:
    """What was done, by kind of act, and which findings are left, with the reason."""

    done: Counter[str] = field(default_factory=Counter)
    left: list[tuple[Finding, str]] = field(default_factory=list)


class Repair:
    """Mend the findings of one audit."""

    def __init__(self, ports: Ports, settings: Settings, clock: Clock, seen: Look) -> None:
        self._ports, self._settings, self._seen = ports, settings, seen
        self._backoff = backoff(settings, clock)
        self._rules = settings.rules()
        self._folds = folds(self._rules)
        self._repaired = Repaired()
        self._facts: list[TableFact] = []
        self._rows: dict[tuple[str, ...], ChangeRecorded] = {}
        """Rows that were put back or set right, by key."""

    def run(self, findings: Sequence[Finding]) -> Repaired:
        """Mend what can be mended. Safe to do again, and to break off."""
        mendable = [finding for finding in findings if not self._is_left(finding)]
        self._mend_rows(mendable)
        self._mend_states(mendable)
        self._mend_warehouse(mendable)
        self._mend_dimensions(mendable)
        self._mend_cache(mendable)
        publish_facts(self._facts, self._ports.changes, self._backoff)
        self._repaired.done["facts published"] += len(self._facts)
        return self._repaired

    def _is_left(self, finding: Finding) -> bool:
        reason = None
        if finding.check is Check.UNFINISHED:
            reason = _UNFINISHED
        elif finding.check is Check.CLAIM_ALTERED:
            reason = _FINGERPRINT
        if reason is not None:
            self._repaired.left.append((finding, reason))
        return reason is not None

    # ------------------------------------------------------------------------- rows and claims
    def _mend_rows(self, findings: Iterable[Finding]) -> None:
        lacking, altered, unclaimed = (
            [finding.wanted for finding in findings if finding.check is check]
            for check in (Check.CLAIM_WITHOUT_ROW, Check.ROW_ALTERED, Check.ROW_WITHOUT_CLAIM)
        )
        ports, done = self._ports, self._repaired.done
        by_key = {(row.location, row.transaction_id): row for row in lacking}
        self._backoff.gather("record", ports.change_log.record, by_key)
        self._backoff.drain("restore", ports.table_repair.restore, altered)
        stream = stream_names(self._settings)[0]
        claims = [claim_from_row(row, stream, self._rules) for row in unclaimed]
        offers = {claim.claim_id: claim for claim in claims}
        self._backoff.gather("claim", ports.claims.claim, offers)
        self._rows = by_key | {(row.location, row.transaction_id): row for row in altered}
        self._facts += self._rows.values()
        done["rows put back"] += len(by_key)
        done["rows set right"] += len(altered)
        done["claims written anew"] += len(offers)

    # ------------------------------------------------------------------------------- the states
    def _mend_states(self, findings: Sequence[Finding]) -> None:
        keys: dict[StateKey, Finding] = {}
        for finding in findings:
            keys |= dict.fromkeys(self._states_of(finding), finding)
        tables = FoldTables(self._ports.states, self._ports.change_log, self._ports.combos)
        rebuilding = Rebuilding(
            self._folds, self._rules, tables, self._ports.changes, self._backoff
        )
        revisions = self._revisions(keys.keys())
        busy = rebuilding.run(Damaged(revisions, self._seen.passed))
        self._repaired.left += [(keys[key], _BUSY) for key in busy]
        self._repaired.done["states rebuilt"] += len(keys) - len(busy)

    def _states_of(self, finding: Finding) -> list[StateKey]:
        """Name the states that a finding makes doubtful."""
        if finding.check in (Check.CLAIM_WITHOUT_ROW, Check.ROW_ALTERED):
            rows = filter(None, (finding.found, finding.wanted))
            return [key for row in rows for key in keys_of(row, self._folds)]
        if finding.check is Check.ROW_UNFOLDED:
            return [k for k in keys_of(finding.wanted, self._folds) if k.fold == finding.key[0]]
        if finding.check in _BY_STATE:
            return [StateKey(_BY_STATE[finding.check], finding.key[:2])]
        return []

    def _revisions(self, keys: Iterable[StateKey]) -> dict[StateKey, int]:
        """Find the highest revision that a sink has of each key; the tables say theirs."""
        highest = dict.fromkeys(keys, 0)

        def note(fold: str, parts: tuple[str, ...], revision: int) -> None:
            key = StateKey(fold, parts)
            if key in highest:
                highest[key] = max(highest[key], revision)

        warehouse = self._seen.warehouse
        for level in warehouse.stock.values():
            note(StockFold.name, (level.location, level.product_id), level.revision)
        for entry, held in self._seen.cache.items():
            note(StockFold.name, entry, held.revision)
        for combo in warehouse.combos.values():
            note(ComboFold.name, (combo.location, combo.base_product_id), combo.revision)
        for key, annotation in warehouse.notes.items():
            row = warehouse.changes[key]
            note(ComboFold.name, (row.location, row.base_product_id), annotation.revision)
        return highest

    # ---------------------------------------------------------------------------- the warehouse
    def _mend_warehouse(self, findings: Sequence[Finding]) -> None:
        doubt = self._doubt(findings)
        wrong: list[TableFact] = []
        for finding in findings:
            if finding.check not in _IN_WAREHOUSE:
                continue
            wanted = finding.wanted
            if finding.check is Check.WAREHOUSE_CHANGE:
                wanted = self._rows.get(finding.key[:2], wanted)
                if wanted is None and (reason := doubt.get(finding)):
                    self._repaired.left.append((finding, reason))
                    continue
            self._replace(finding.found, wanted, wrong)
        if wrong:
            self._backoff.call("discard", lambda: self._ports.warehouse_repair.discard(wrong))
        self._repaired.done["warehouse rows removed"] += len(wrong)

    def _replace(
        self, found: TableFact | None, wanted: TableFact | None, wrong: list[TableFact]
    ) -> None:
        if found == wanted:  # the warehouse was right, and now the log is
            return
        if found is not None and not _gives_way(found, wanted):
            wrong.append(found)
        if wanted is not None:
            self._facts.append(wanted)

    def _doubt(self, findings: Iterable[Finding]) -> dict[Finding, str]:
        """Say of rows that only the warehouse has why they must stay, where they must."""
        claimed = {(c.event.location, c.event.transaction_id) for c in self._seen.claims.values()}
        unknown = [
            f for f in findings if f.check is Check.WAREHOUSE_CHANGE and f.kind is Kind.EXTRA
        ]
        doubt = {f: _UNFINISHED for f in unknown if f.key[:2] in claimed and len(f.key) == 2}
        few = max(STRANGERS_FEW, STRANGERS_MAX * len(self._seen.warehouse.changes))
        strangers = [f for f in unknown if f.key[:2] not in claimed]
        if self._settings.claims_ttl is not None:
            doubt |= dict.fromkeys(strangers, _EXPIRED)
        elif len(strangers) > few:
            doubt |= dict.fromkeys(strangers, _STRANGE)
        return doubt

    def _mend_dimensions(self, findings: Sequence[Finding]) -> None:
        orphans = [f.found or f.wanted for f in findings if f.check is Check.DIMENSION]
        if orphans:
            self._backoff.call("mend", lambda: self._ports.warehouse_repair.mend(orphans))
        self._facts += self._users([orphan for orphan in orphans if orphan.missing])
        self._repaired.done["dimension rows mended"] += len(orphans)

    def _users(self, missing: Sequence[Orphan]) -> list[TableFact]:
        """Choose a fact that uses each missing row: loading it makes the row."""
        tables = self._seen.tables
        wanted: set[Member] = {(orphan.dimension, orphan.key) for orphan in missing}
        found: list[TableFact] = []
        facts: list[TableFact] = [*tables.changes.values(), *tables.stock.values()]
        for fact in facts:
            if wanted & members(fact):
                wanted -= members(fact)
                found.append(fact)
        return found

    # -------------------------------------------------------------------------------- the cache
    def _mend_cache(self, findings: Iterable[Finding]) -> None:
        stale = [
            Stale(
                (f.wanted.location, f.wanted.product_id), max(f.found.revision, f.wanted.revision)
            )
            for f in findings
            if f.check is Check.CACHE
        ]
        self._backoff.drain("invalidate", self._ports.cache.invalidate, stale)
        self._repaired.done["cache entries invalidated"] += len(stale)


def _stock_id(level: StockChanged) -> StockId:
    """Name the cache entry of a level."""
    return level.location, level.product_id


def _gives_way(found: TableFact, wanted: TableFact | None) -> bool:
    """Say whether loading what is wanted replaces what was found."""
    if isinstance(found, ChangeRecorded) or wanted is None or isinstance(wanted, ChangeRecorded):
        return False
    return found.revision < wanted.revision
