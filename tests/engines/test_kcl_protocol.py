"""The KCL engine's processor, over the stand-in for amazon_kclpy's process."""

import pytest

from tests.engines.kcl_claims import *  # noqa: F403 - the suite
from tests.engines.kcl_rig import Rig, StandIn, StandInError


@pytest.fixture
def rig() -> Rig:
    """A process with the stand-in around it."""
    return Rig(StandIn, StandInError)
