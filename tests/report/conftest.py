"""A page of a full warehouse, opened in Chromium without any network."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from consumers.embedded import Endpoints
from consumers.report.page import page_of
from consumers.report.rendering import render
from pipeline.adapters.postgres.page_reports import PostgresPageReports
from pipeline.ports.page_reports import Question
from tests.audits import ARRIVAL
from tests.report.warehouse import full_warehouse

NAMES = ("chromium", "chromium-browser", "google-chrome")
MADE = ARRIVAL + timedelta(seconds=90)


@dataclass
class Opened:
    """A page and whatever the browser said of it."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Open = Callable[..., Opened]
"""Opens the page; takes the options of a browser's context."""


@pytest.fixture(scope="session")
def warehouse(embedded: Endpoints) -> Iterator[str]:
    """A database with everything that a page must cope with; for reading only."""
    with full_warehouse(embedded.postgres_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def file(warehouse: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of all of it."""
    question = Question()
    page = page_of(PostgresPageReports(warehouse).snapshot(question), question, MADE)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(page), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium: the one that Playwright would download is not to be had everywhere."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found is not None, f"none of {', '.join(NAMES)} is on the PATH: make report-test"
    with sync_playwright() as playwright:
        # Root has no sandbox; the page is ours.
        lent = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield lent
        lent.close()


@pytest.fixture
def open_page(browser: Browser, file: Path) -> Iterator[Open]:
    """Open the page, as often as a test likes."""
    contexts = []

    def opened(**options: Any) -> Opened:
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.messages.append(message.text))
        found.page.on("pageerror", lambda error: found.messages.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(file.as_uri())
        return found

    yield opened
    for context in contexts:
        context.close()
