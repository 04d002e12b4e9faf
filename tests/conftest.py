"""What more than one test file needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.embedded import EmbeddedStack, Endpoints


@pytest.fixture(scope="session")
def embedded() -> Iterator[Endpoints]:
    """One embedded stack for the whole run: tests keep apart by names, not by servers."""
    with EmbeddedStack() as endpoints:
        yield endpoints
