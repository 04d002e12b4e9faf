"""The recorded run is made once: a second one on the same servers would find everything done."""

from collections.abc import Iterator

import pytest

from consumers.embedded import Endpoints
from tests.infra.recorded import Recording, record


@pytest.fixture(scope="session")
def recording(embedded: Endpoints) -> Iterator[Recording]:
    """Run the consumers once and keep what they asked of AWS."""
    with pytest.MonkeyPatch.context() as patch:
        yield record(embedded, patch)
