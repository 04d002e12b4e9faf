"""Engines that do not dawdle."""

import pytest

from consumers.engines import local


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"POLL_S": 0.002, "SHARD_PAUSE_S": 0.005, "SHARD_SYNC_S": 0.02}.items():
        monkeypatch.setattr(local, name, seconds)
