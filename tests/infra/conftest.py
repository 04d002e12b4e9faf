"""The recorded run is made once for all tests of this folder."""

from collections.abc import Iterator

import pytest

from consumers.embedded import Endpoints
from tests.infra.recorded import Recording, record


@pytest.fixture(scope="package")
def recording(embedded: Endpoints) -> Iterator[Recording]:
    """Run the consumers once and keep what they asked of AWS."""
    with pytest.MonkeyPatch.context() as patch:
        yield record(embedded, patch)
