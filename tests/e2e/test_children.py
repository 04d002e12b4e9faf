"""Consumers as child processes: started again when they die, given up when that does not help."""

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.children import RESTARTS_MAX, Children
from consumers.demo import demo_lines
from consumers.embedded import Endpoints
from consumers.embedded_run import EmbeddedRun
from consumers.sources import PartitionBy
from pipeline.adapters.clock import SystemClock
from pipeline.core.errors import SystemFault
from pipeline.settings import Settings
from tests.databases import new_database
from tests.e2e.runs import QUIET

CONSUMERS = ("inventory", "cache", "etl")


def ignore(name: str, counts: Counter[str]) -> None:
    """Take no notice of a batch."""


def test_child_that_is_killed_is_started_again_and_the_work_gets_done(
    embedded: Endpoints, tmp_path: Path
) -> None:
    with new_database(embedded.postgres_dsn) as dsn:
        settings = Settings(prefix="tended", batch_records_max=40)
        servers = replace(embedded, postgres_dsn=dsn)
        check_killed_child(EmbeddedRun(settings, servers, SystemClock(), QUIET), tmp_path)


def check_killed_child(run: EmbeddedRun, tmp_path: Path) -> None:
    """Kill the inventory child at its first batch, and look at what came of it."""
    run.deploy(1)
    run.publish(demo_lines()[:200], PartitionBy.KEY, tmp_path / "positions.jsonl")
    said: list[str] = []

    def kill_at_the_first_batch(name: str, counts: Counter[str]) -> None:
        if name == "inventory" and not children.restarts:
            os.kill(children.pids["inventory"], signal.SIGKILL)

    environment = run.settings.environment()
    children = Children(environment, SystemClock(), kill_at_the_first_batch, said.append)
    children.run(CONSUMERS)
    rows = sum(1 for _ in run.ports.change_log.scan())
    facts = sum(1 for _ in run.ports.warehouse.rows().changes)
    assert (rows, facts) == (len({line.data for line in demo_lines()[:200]}), rows)
    assert said == ["inventory ended with exit code -9 and is started again"]


def test_child_that_keeps_dying_is_given_up_with_its_own_words() -> None:
    nowhere = Settings.model_validate(
        {
            "endpoint_url": "http://127.0.0.1:9",
            "aws_credentials": "test",
            "retry_budget": "0",
        }
    )
    said: list[str] = []
    children = Children(nowhere.environment(), SystemClock(), ignore, said.append)
    with pytest.raises(SystemFault, match=r"inventory ended with exit code 1: tillstream: .*127"):
        children.run(("inventory",))
    assert len(said) == RESTARTS_MAX


def test_child_that_was_started_wrongly_is_not_started_again() -> None:
    environment = Settings().environment() | {"TILLSTREAM_COMBO_WINDOW": "soon"}
    said: list[str] = []
    with pytest.raises(SystemFault, match=r"exit code 2: .*combo_window"):
        Children(environment, SystemClock(), ignore, said.append).run(("inventory",))
    assert said == []
