"""The page says what the snapshot holds, whatever it holds."""

import re
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.report.making import ReportFile
from consumers.report.model import Comparison, Figure, Page, as_json, say, spoken
from consumers.report.page import page_of
from consumers.report.rendering import drawings, render
from pipeline.core.errors import SystemFault, UsageError
from pipeline.ports.page_reports import (
    CategorySales,
    Conflict,
    Control,
    Deliveries,
    LocationHour,
    LocationSales,
    ProductSales,
    Question,
    Rejected,
    Sales,
    TimeSales,
    Top,
)
from tests.report_snapshots import AGREED, EMPTY, MONDAY, NOON, WEEK, made, midnight

HOSTILE = "</td><script>alert(1)</script>\"'&{{ 7 * 7 }}"


def figure(page: Page, name: str) -> Figure:
    """Find a figure."""
    return next(figure for figure in page.figures() if figure.name == name)


def sentence(page: Page, name: str) -> str:
    """Say what a figure says."""
    return spoken(figure(page, name).sentence)


# ---------------------------------------------------------------------------------------- sentences
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sales_over_time", "Tills sold 30 units in 6 sales; the best day was 3 October 2011, with"
         " 25 units."),
        ("location_hours", "The strongest hour of the day begins at 09:00: 25 units, 83.3 %"
         " of all."),
        ("locations", "GB-1 sold most: 25 units, 83.3 % of all."),
        ("combos_over_time", "2 combos were made; 4 units of them stand, 2 were undone by"
         " returns."),
        ("attach_rate", "30.0 % of the jackets left with pants, 60.0 % of the pants with a"
         " jacket."),
        ("combo_gap", "Half of the pairs are complete within 45 s, nine in ten within 59 s; the"
         " jacket comes first in 50.0 %."),
        ("returns_by_category", "Tills took back 3 units in 1 return: 10.0 % of what they sold."),
        ("deliveries", "3 of 10 deliveries came again (30.0 %), 1 of them with another body."),
        ("rejected", "4 records were no valid events; they are kept in the quarantine."),
        ("late", "3 of 6 events of jackets and pants came too late (50.0 %)."),
        ("freshness", "The location that has been quiet longest was last heard of 1 min 30 s ago."),
    ],
)  # fmt: skip
def test_sentence_is_worked_out_from_the_numbers(name: str, says: str) -> None:
    assert sentence(made(), name) == says


def test_long_period_is_told_by_the_week() -> None:
    days = tuple(
        TimeSales(midnight(MONDAY + timedelta(days=number)), number, 0, 1) for number in range(100)
    )
    page = made(days=days, combo_days=(), attach_days=())
    assert figure(page, "sales_over_time").heading == "Sales by week"
    assert "the best week began on 2 January 2012" in sentence(page, "sales_over_time")


def test_short_period_is_told_by_the_hour() -> None:
    nine = midnight(MONDAY) + timedelta(hours=9)
    page = made(hours=(TimeSales(nine, 5, 0, 1), TimeSales(nine + timedelta(hours=1), 7, 0, 2)))
    assert "the best hour was 3 October 2011, 10:00, with 7 units" in sentence(
        page, "sales_over_time"
    )


def test_no_pants_have_no_attach_rate() -> None:
    page = made(attach_days=tuple(day._replace(pants_sold=0) for day in WEEK.attach_days))
    assert sentence(page, "attach_rate") == (
        "30.0 % of the jackets left with pants; tills sold no pants."
    )


# -------------------------------------------------------------------------------- bounds and gaps
def test_empty_warehouse_gives_a_page_that_says_so() -> None:
    text = render(made(EMPTY))
    assert ("There are no sales" in text, "<svg" in text) == (True, False)


def test_what_a_list_leaves_out_is_said() -> None:
    notes = figure(made(), "best_sellers").notes
    assert [spoken(note) for note in notes] == ["Shown are 1 of 2 products that were sold."]


def test_locations_that_are_not_listed_share_a_line() -> None:
    hours = (*WEEK.location_hours, LocationHour(None, 9, 2), LocationHour(None, 10, 1))
    page = made(location_hours=hours, locations=Top(WEEK.locations.rows, 500))
    table = figure(page, "location_hours").table
    assert table is not None
    assert table.rows[-1] == ("all others", 2, 1, 0)
    assert "the other 498 share the last" in render(page).replace(
        '<span class="number" data-figure="location_hours.others">498</span>', "498"
    )


def test_returns_alone_are_a_page() -> None:
    page = made(
        totals=Sales(0, 3, 0, 1),
        categories=(CategorySales("tie", 0, 3, 0, 1),),
        locations=Top((LocationSales("GB-1", 0, 3, 0, 1),), 1),
        location_hours=(LocationHour("GB-1", 9, 0),),
        days=(TimeSales(midnight(MONDAY), 0, 3, 0),),
        best_sellers=EMPTY.best_sellers,
    )
    assert "–" in dict(_key_figures(page))["Return rate"]
    assert render(page).count("<svg") > 0


def _key_figures(page: Page) -> list[tuple[str, str]]:
    return [(key.label, key.number.text) for key in page.keys]


# -------------------------------------------------------------------------------------- reconciled
@pytest.mark.parametrize(
    ("control", "state", "says"),
    [
        (Control("stock", 5, 5, False), "agrees", "everything agrees"),
        (Control("stock", 5, 6, True), "differs", "something differs"),
        (Control("stock", 5, 6, False), "waits", "facts are on their way"),
    ],
)
def test_head_tells_the_worst_of_the_checks(control: Control, state: str, says: str) -> None:
    page = made(controls=(Control("dimensions", 1, 1, True), control))
    assert (page.reconciliation.state, says in render(page)) == (state, True)


@pytest.mark.parametrize("agrees", [True, False])
def test_comparison_that_is_handed_in_counts(agrees: bool) -> None:
    comparison = Comparison(agrees, say("Compared."), () if agrees else (HOSTILE,))
    page = made(comparison=comparison)
    assert (page.reconciliation.state == "agrees", as_json(page)["stores_agree"]) == (agrees,) * 2
    assert "<script" not in render(page)


# -------------------------------------------------------------------------------------- untrusted
def test_identifiers_never_become_markup() -> None:
    page = made(
        locations=Top((LocationSales(HOSTILE, 25, 3, 5, 1), LocationSales("B", 1, 0, 1, 0)), 2),
        location_hours=(LocationHour(HOSTILE, 9, 25),),
        best_sellers=Top((ProductSales(HOSTILE, HOSTILE, 20, 3),), 2),
        conflicts=Top((Conflict(HOSTILE, HOSTILE, HOSTILE, 1),), 1),
    )
    text = render(page)
    assert ("<script" in text, "{{ 7 * 7 }}" in text) == (False, True)
    assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_attributes_in_an_identifier_stay_in_its_drawing() -> None:
    name = 'J role="x" class="y"'
    page = made(best_sellers=Top((ProductSales(name, "jacket", 20, 3),), 1))
    (wide, _) = drawings(figure(page, "best_sellers"))
    assert 'J role="x" class="y"' in wide.svg


# ------------------------------------------------------------------------------------ for scripts
def test_json_has_the_numbers_of_the_page() -> None:
    told = as_json(made(comparison=AGREED))
    on_page = re.findall(r'data-figure="([^"]+)"', render(made(comparison=AGREED)))
    cells = {
        f"{table}.{number}.{key}"
        for table, rows in told["tables"].items()
        for number, row in enumerate(rows)
        for key in row
    }
    checks = {f"checks.{c['name']}.{side}" for c in told["checks"] for side in ("left", "right")}
    assert set(on_page) == cells | checks | set(told["figures"])


# ------------------------------------------------------------------------------ what is not seen
def test_login_that_does_not_see_everything_is_told_so() -> None:
    told = render(made(sees_all=False))
    assert "all locations that this login may see" in told
    assert "of the whole warehouse" not in told
    assert sentence(made(sees_all=False), "rejected") == (
        "They name no location, and so this login may not see them."
    )


@pytest.mark.parametrize(
    "refused",
    [
        {"rejected": (Rejected("empty", 1),)},
        {"deliveries": (Deliveries("POS", 4, 0, 0, 4),)},
    ],
)
def test_what_was_refused_is_told_where_nothing_was_accepted(refused: dict[str, Any]) -> None:
    page = page_of(replace(EMPTY, **refused), Question(), NOON)
    assert (page.empty, {"rejected", "deliveries"} <= {f.name for f in page.figures()}) == (
        True,
        True,
    )
    assert "Data quality" in render(page)


# -------------------------------------------------------------------------------------- the file
def test_file_is_put_into_place_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    ReportFile(path).write(made())
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert list(tmp_path.iterdir()) == [path]


def test_file_system_that_refuses_is_a_fault_and_leaves_no_half_page(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    file = ReportFile(path)
    path.mkdir()  # meanwhile, by somebody else
    with pytest.raises(SystemFault, match=r"report\.html: Is a directory"):
        file.write(made())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing/report.html", "no such folder"),
        (".", "no file"),
        ("device", "no file"),
        ("x" * 300, "too long"),
    ],
)
def test_place_that_cannot_be_written_is_said_before_any_work(
    tmp_path: Path, path: str, says: str
) -> None:
    (tmp_path / "device").symlink_to("/dev/null")
    with pytest.raises(UsageError, match=says):
        ReportFile(tmp_path / path)


def test_link_stays_a_link_and_what_it_names_keeps_its_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    ReportFile(link).write(made())
    assert (link.is_symlink(), real.stat().st_mode & 0o777) == (True, 0o600)
    assert real.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_new_file_can_be_read_by_others(tmp_path: Path) -> None:
    ReportFile(tmp_path / "report.html").write(made())
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o644


def test_missing_extra_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "consumers.report.rendering", raising=False)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(
        UsageError, match=r"vl_convert is missing: pip install 'tillstream\[report\]'"
    ):
        ReportFile(tmp_path / "report.html")
