"""The KCL engine's processor, over amazon_kclpy's own process: here, because the extra is here."""

import pytest
from amazon_kclpy.checkpoint_error import CheckpointError
from amazon_kclpy.kcl import KCLProcess

from tests.engines.kcl_claims import *  # noqa: F403 - the suite
from tests.engines.kcl_rig import Rig


@pytest.fixture
def rig() -> Rig:
    """A process with amazon_kclpy around it."""
    return Rig(KCLProcess, CheckpointError)
