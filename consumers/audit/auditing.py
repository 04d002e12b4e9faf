"""The audit: look, judge, look again, and mend if asked to.

A system at work is never quite still: a fact may be in the tables and on its way to a sink. So
whatever the first look finds is looked at once more after a pause, and only what is found again,
the same to the last digit, is a finding. What has moved meanwhile is counted as in flight. A sink
whose consumer is stopped does lack what it lacks, and is said to.
"""

from dataclasses import dataclass

from consumers.audit.checks import Judged, judge
from consumers.audit.look import Look, look
from consumers.audit.repair import Repair, Repaired
from consumers.inventory import check_preconditions, preconditions
from pipeline.bootstrap import Ports, backoff
from pipeline.core.reconciling import Finding, Part
from pipeline.ports.clock import Clock
from pipeline.ports.streams import TRIM_HORIZON
from pipeline.settings import Settings

SETTLE_S = 3.0
"""Between two looks: time enough for a batch, on a system that keeps up."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What came of an audit.

    `moving` counts differences that did not stay the same, `uncertain` keys whose order of arrival
    is not known.
    """

    seen: Look
    findings: list[Finding]
    moving: int
    uncertain: int
    repaired: Repaired | None = None

    @property
    def clean(self) -> bool:
        """Say whether nothing differs; after a repair, whether nothing is left to be mended."""
        return not (self.findings if self.repaired is None else self.repaired.left)


def audit(ports: Ports, settings: Settings, clock: Clock, part: Part, *, mend: bool) -> Audit:
    """Compare everything; with `mend`, repair what differs.

    Reads only, unless it mends. Holds the part in memory, about 3 KB for each change in it. Raises
    RefusedToStart if the tables belong to another application or to other rules: under others, to
    fold the log anew would prove nothing.
    """
    patience = backoff(settings, clock)

    def examine() -> tuple[Look, Judged]:
        seen = look(ports, settings.rules(), part)
        return seen, judge(seen, claims_expire=settings.claims_ttl is not None)

    seen, judged = patience.call("audit", examine)
    if seen.states or seen.claims:  # else there may be no rules yet, and asking would store them
        wanted = preconditions(settings, TRIM_HORIZON)
        patience.call("rules", lambda: check_preconditions(wanted, ports.states))
    findings, moving = judged.findings, 0
    if findings:
        clock.wait(SETTLE_S)
        before = set(findings)
        seen, judged = patience.call("audit", examine)
        findings = [finding for finding in judged.findings if finding in before]
        moving = len(judged.findings) - len(findings)
    repaired = Repair(ports, settings, clock, seen).run(findings) if mend else None
    return Audit(seen, findings, moving, judged.uncertain, repaired)
