"""The golden stream, and what must come of it."""

from pathlib import Path

import pytest

from consumers.sources import Line
from tests.e2e.runs import in_memory
from tests.localstack.golden import golden_lines


@pytest.fixture(scope="session")
def golden() -> list[Line]:
    """The deliveries of the golden stream."""
    return golden_lines()


@pytest.fixture(scope="session")
def wanted(golden: list[Line], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the stream in memory, without reshards or faults: nothing may depend on those."""
    folder = tmp_path_factory.mktemp("memory")
    in_memory(golden, folder)
    return folder
