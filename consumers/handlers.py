"""The three consumers by name, and the wiring of their handlers: the same on every engine.

Apart from `consume`, which is the local engine's, since engines never know each other. Nothing here
imports a driver: the inventory consumer runs where neither PostgreSQL's nor Redis' is installed.
"""

from enum import StrEnum
from typing import Protocol

from consumers import inventory
from consumers.cache import CacheHandler
from consumers.etl import EtlHandler
from pipeline.bootstrap import Ports, backoff
from pipeline.core.errors import RefusedToStart
from pipeline.ports.clock import Clock
from pipeline.ports.streams import TRIM_HORIZON, Start
from pipeline.runtime.handler import Handler
from pipeline.runtime.health import Health
from pipeline.runtime.upkeep import Upkeep
from pipeline.settings import Settings


class Consumer(StrEnum):
    """The three consumers."""

    INVENTORY = "inventory"
    CACHE = "cache"
    ETL = "etl"


class HealthyHandler(Handler, Protocol):
    """A handler that says how it is, to whoever asks from another thread."""

    def health(self) -> Health:
        """Say which shards wait for the consumer's sink."""


def build_handler(
    consumer: Consumer, settings: Settings, ports: Ports, clock: Clock, start: Start
) -> HealthyHandler:
    """Check what the consumer must have to start, and wire its handler. Raises RefusedToStart."""
    patience = backoff(settings, clock)
    if consumer is Consumer.INVENTORY:
        return inventory.build(settings, ports, clock, start)
    if consumer is Consumer.ETL:
        if start != TRIM_HORIZON:
            raise RefusedToStart("etl must start at TRIM_HORIZON: a skipped fact is never loaded")
        upkeep = Upkeep(ports.upkeep, clock, settings.refresh_interval.total_seconds())
        return EtlHandler(ports.warehouse, ports.quarantine, patience, upkeep.loaded)
    return CacheHandler(ports.cache, ports.quarantine, patience)
