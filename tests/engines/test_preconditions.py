"""What a consumer refuses to start on (P1 to P4), and what it says then."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consumers.handlers import Consumer, build_handler
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import memory_ports
from pipeline.core.errors import (
    RefusedToStart,
    TransientFault,
)
from pipeline.ports.streams import (
    TRIM_HORIZON,
    Start,
)
from pipeline.settings import Settings
from tests.engines.rig import NOW, Faulty

LATEST = Start("AT_TIMESTAMP", NOW)


class Site:
    """Tables that consumers with these or those settings start on, one after the other."""

    def __init__(self) -> None:
        self.ports = memory_ports(Settings(), 1, lambda: NOW)

    def start(
        self, consumer: Consumer = Consumer.INVENTORY, start: Start = TRIM_HORIZON, **settings: Any
    ) -> Any:
        return build_handler(consumer, Settings(**settings), self.ports, SystemClock(), start)


def test_the_cache_may_start_at_the_latest_record() -> None:
    assert Site().start(Consumer.CACHE, LATEST).name == "cache"


@pytest.mark.parametrize("consumer", [Consumer.INVENTORY, Consumer.ETL])
def test_no_other_consumer_may_start_at_the_latest_record(consumer: Consumer) -> None:
    with pytest.raises(RefusedToStart, match=f"{consumer} must start at TRIM_HORIZON"):
        Site().start(consumer, LATEST)


@pytest.mark.parametrize("consumer", list(Consumer))
def test_every_consumer_starts_at_the_oldest_record(consumer: Consumer) -> None:
    assert Site().start(consumer).name == str(consumer)


def test_a_start_that_was_refused_pins_nothing() -> None:
    site = Site()
    with pytest.raises(RefusedToStart):
        site.start(start=LATEST)
    assert site.ports.states.pinned is None


@pytest.mark.parametrize(
    "changed",
    [
        {"combo_window": timedelta(minutes=11)},
        {"return_window": timedelta(minutes=11)},
        {"allowed_lateness": timedelta(hours=2)},
        {"categories": frozenset({"pants", "jacket"})},
        {"sources": frozenset({"POS"})},
        {"combo_sources": frozenset({"POS", "batch"})},
        {"dedupe_scope": "location"},
        {"state_entries_max": 999},
        {"state_bytes_max": 5_000},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_other_rules_are_refused_and_replay_is_named(changed: dict[str, Any]) -> None:
    site = Site()
    site.start()
    with pytest.raises(RefusedToStart, match=r"other rules.*tillstream replay.*\(P2\)"):
        site.start(**changed)


def test_settings_that_are_no_rules_may_change() -> None:
    site = Site()
    site.start()
    assert site.start(outbox_effects_max=7, batch_records_max=9).name == "inventory"


def test_the_same_rules_said_in_other_words_are_the_same() -> None:
    site = Site()
    site.start()
    assert site.start(return_window=timedelta(minutes=10)).name == "inventory"


@pytest.mark.parametrize("changed", [{"prefix": "another"}, {"region": "eu-west-1"}])
def test_tables_of_another_application_are_refused(changed: dict[str, Any]) -> None:
    site = Site()
    site.start()
    with pytest.raises(RefusedToStart, match=r"belong to 'tillstream-pos-events.*\(P3\)"):
        site.start(**changed)


@pytest.mark.parametrize("days", [1, 37])
def test_claims_that_do_not_outlive_resends_are_refused(days: int) -> None:
    with pytest.raises(RefusedToStart, match=r"claims_ttl is .*37 days.*\(P4\)"):
        Site().start(claims_ttl=timedelta(days=days), resend_horizon=timedelta(days=30))


@pytest.mark.parametrize("ttl", [None, timedelta(days=37, seconds=1)])
def test_claims_that_outlive_resends_are_accepted(ttl: timedelta | None) -> None:
    assert Site().start(claims_ttl=ttl, resend_horizon=timedelta(days=30)).name == "inventory"


def test_a_start_outlives_a_throttled_pin() -> None:
    ports: Any = memory_ports(Settings(), 1, lambda: NOW)
    states = Faulty(ports.states, "pin", TransientFault("throttled"))
    throttled = replace(ports, states=states)
    handler = build_handler(Consumer.INVENTORY, Settings(), throttled, SystemClock(), TRIM_HORIZON)
    assert handler.name == "inventory"
