"""A corpus of hostile records: no crash, the documented reason for each, nothing lost."""

from pathlib import Path

import pytest

from consumers.sources import read_lines
from pipeline.core.reasons import Reason
from tests.e2e.hostile import CASES, as_base64
from tests.e2e.runs import in_memory, rows


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the corpus once, from a base64 file."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "hostile.b64").write_bytes(as_base64())
    in_memory(list(read_lines([str(folder / "hostile.b64")])), folder, shards=3)
    return folder


@pytest.mark.parametrize("line", range(1, len(CASES) + 1))
def test_hostile_record_gets_its_verdict(export: Path, line: int) -> None:
    found = rows(export, "verdicts")[line - 1]
    assert found == {"line": line, "verdict": CASES[line - 1].verdict}


def test_every_refused_record_is_in_the_quarantine(export: Path) -> None:
    refused = [
        (line, case.verdict.partition(":")[2] or "conflict")
        for line, case in enumerate(CASES, 1)
        if case.verdict.startswith(("rejected", "conflict"))
    ]
    inside = [(row["line"], row["reason"]) for row in rows(export, "quarantine")]
    spread = next(n for n, case in enumerate(CASES, 1) if case.verdict == "accepted:12")
    members = [(spread, "bad_encoding"), (spread, "malformed_json")]
    assert sorted(inside) == sorted(refused + members)


def test_every_reason_is_in_the_corpus() -> None:
    seen = {case.verdict.partition(":")[2] for case in CASES}
    assert seen >= {str(reason) for reason in Reason}
