"""The embedded DynamoDB takes no batches, and says so before it can do harm."""

import pytest

from consumers.embedded import Endpoints
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.dynamodb import SingleWrites
from pipeline.bootstrap import AwsPorts
from pipeline.core.errors import SystemFault
from pipeline.ports.states import PinnedRules
from pipeline.settings import Settings
from tests.stacks import deployed, fresh

RULES = PinnedRules("pos-events in us-east-1", "0123", "{}", 0)


def test_batches_fail_at_the_first_write_of_all(embedded: Endpoints) -> None:
    """It answers success where a version check failed, so nothing may come so far."""
    prefix = fresh("batches")
    deployed(prefix, embedded, SystemClock())
    mistaken = Settings(
        prefix=prefix, endpoint_url=embedded.aws_endpoint_url, aws_credentials="test"
    )
    with pytest.raises(SystemFault):
        AwsPorts(mistaken, SystemClock()).states.pin(RULES)


def test_its_environment_says_single(embedded: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in embedded.environment().items():
        monkeypatch.setenv(name, value)
    assert isinstance(AwsPorts(Settings(), SystemClock()).writer, SingleWrites)
