"""Debian's PostgreSQL is installed where it is missing, or one line says why it cannot be."""

import os
import shutil

import pytest

from tests.postgres_servers import provide

NEVER_BUILT = "0"


def on_the_path(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in names else None)


def refusal() -> str:
    with pytest.raises(pytest.UsageError) as refused:
        provide(NEVER_BUILT)
    return str(refused.value)


def test_machine_without_apt_get_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_path(monkeypatch)
    assert refusal() == (
        "PostgreSQL 0 is not in /usr/lib/postgresql/0, and there is no apt-get to install it"
    )


def test_person_without_root_or_sudo_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_path(monkeypatch, "apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert refusal().endswith("and installing it takes root or sudo")
