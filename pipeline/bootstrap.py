"""The only place where ports meet adapters. Nothing connects before it is used."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from pipeline.adapters import dynamodb, memory, memory_rebuild, memory_repair, memory_warehouse
from pipeline.adapters._aws import Aws
from pipeline.adapters.kinesis import KinesisStream
from pipeline.adapters.memory_upkeep import MemoryUpkeep
from pipeline.adapters.s3 import S3Quarantine
from pipeline.core.combos import ComboFold
from pipeline.core.keyed_state import Fold
from pipeline.core.rules import Rules
from pipeline.core.stock import StockFold
from pipeline.ports.cache import StockCache
from pipeline.ports.change_log import ChangeLog
from pipeline.ports.checkpoints import CheckpointStore
from pipeline.ports.claims import ClaimStore
from pipeline.ports.clock import Clock
from pipeline.ports.combos import ComboTable
from pipeline.ports.dictionary import Dictionary
from pipeline.ports.page_reports import PageReports
from pipeline.ports.quarantine import Quarantine
from pipeline.ports.reports import Reports
from pipeline.ports.states import StateStore
from pipeline.ports.streams import Publisher, RecordStream
from pipeline.ports.table_repair import TableRepair
from pipeline.ports.upkeep import WarehouseUpkeep
from pipeline.ports.warehouse import Warehouse
from pipeline.ports.warehouse_rebuild import WarehouseRebuild
from pipeline.ports.warehouse_repair import WarehouseRepair
from pipeline.runtime.backoff import Backoff
from pipeline.runtime.folding import Folding, FoldTables
from pipeline.runtime.inventory import InventoryPorts, InventorySteps
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.adapters.postgres import PostgresServer


class Stream(RecordStream, Publisher, Protocol):
    """A stream that can be read and written."""


class Ports(Protocol):
    """Every port of one installation."""

    @property
    def claims(self) -> ClaimStore: ...
    @property
    def change_log(self) -> ChangeLog: ...
    @property
    def combos(self) -> ComboTable: ...
    @property
    def states(self) -> StateStore: ...
    @property
    def quarantine(self) -> Quarantine: ...
    @property
    def events(self) -> Stream: ...
    @property
    def changes(self) -> Stream: ...
    @property
    def checkpoints(self) -> CheckpointStore: ...
    @property
    def warehouse(self) -> Warehouse: ...
    @property
    def upkeep(self) -> WarehouseUpkeep: ...
    @property
    def reports(self) -> Reports: ...
    @property
    def cache(self) -> StockCache: ...
    @property
    def table_repair(self) -> TableRepair: ...
    @property
    def warehouse_repair(self) -> WarehouseRepair: ...
    @property
    def warehouse_rebuild(self) -> WarehouseRebuild: ...


@dataclass(frozen=True, slots=True)
class MemoryPorts:
    """Everything in this process's memory."""

    claims: memory.MemoryClaims
    change_log: memory.MemoryChangeLog
    combos: memory.MemoryCombos
    states: memory.MemoryStates
    quarantine: memory.MemoryQuarantine
    events: memory.MemoryStream
    changes: memory.MemoryStream
    checkpoints: memory.MemoryCheckpoints
    warehouse: memory_warehouse.MemoryWarehouse
    upkeep: MemoryUpkeep
    reports: memory_warehouse.MemoryReports
    cache: memory.MemoryCache
    table_repair: memory_repair.MemoryTableRepair
    warehouse_repair: memory_repair.MemoryWarehouseRepair
    warehouse_rebuild: memory_rebuild.MemoryWarehouseRebuild


def memory_ports(settings: Settings, shard_count: int, now: Callable[[], int]) -> MemoryPorts:
    """Build an empty installation in memory."""
    events = stream_names(settings)[0]
    warehouse = memory_warehouse.MemoryWarehouse()
    log, combos = memory.MemoryChangeLog(events), memory.MemoryCombos()
    held = warehouse.changes, warehouse.effects, warehouse.dimensions
    return MemoryPorts(
        claims=memory.MemoryClaims(),
        change_log=log,
        combos=combos,
        states=memory.MemoryStates(),
        quarantine=memory.MemoryQuarantine(),
        events=memory.MemoryStream(events, shard_count, now),
        changes=memory.MemoryStream(stream_names(settings)[1], shard_count, now),
        checkpoints=memory.MemoryCheckpoints(),
        warehouse=warehouse,
        upkeep=MemoryUpkeep(),
        reports=memory_warehouse.MemoryReports(warehouse),
        cache=memory.MemoryCache(),
        table_repair=memory_repair.MemoryTableRepair(log.rows, log.annotations, combos.items),
        warehouse_repair=memory_repair.MemoryWarehouseRepair(*held),
        warehouse_rebuild=memory_rebuild.MemoryWarehouseRebuild(*held),
    )


def stream_names(settings: Settings) -> tuple[str, str]:
    """Name the stream of raw events and the stream of facts."""
    return f"{settings.prefix}-pos-events", f"{settings.prefix}-inventory-changes"


def folds(rules: Rules) -> tuple[Fold, ...]:
    """List the derived tables. A new one is a new fold here, not a new path through the steps."""
    return ComboFold(rules), StockFold()


def backoff(settings: Settings, clock: Clock) -> Backoff:
    """Build the retry policy."""
    return Backoff(clock, budget_s=settings.retry_budget.total_seconds())


def inventory_steps(settings: Settings, epoch: int, ports: Ports, clock: Clock) -> InventorySteps:
    """Wire the ten steps."""
    rules, patience = settings.rules(), backoff(settings, clock)
    tables = FoldTables(ports.states, ports.change_log, ports.combos)
    folding = Folding(folds(rules), epoch, settings.outbox_effects_max, tables, patience)
    outside = InventoryPorts(ports.claims, ports.change_log, ports.quarantine, ports.changes)
    return InventorySteps(rules, outside, folding, patience)


def _writer(settings: Settings, aws: Aws) -> dynamodb.ConditionalWriter:
    single = settings.write_mode() == "single"
    return dynamodb.SingleWrites(aws) if single else dynamodb.BatchWrites(aws)


def postgres_server(settings: Settings, dsn: str, aws: Aws) -> "PostgresServer":
    """Say how to connect to PostgreSQL: with its TLS, and with a token where IAM logs in."""
    from pipeline.adapters.postgres import PostgresServer

    token = aws.database_token if settings.postgres_login == "iam" else None
    return PostgresServer(dsn, settings.postgres_tls, settings.postgres_ca_file, token)


class AwsPorts:
    """Everything on AWS, or on what speaks its protocols.

    Each part is made when first asked for.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self.aws = Aws(
            settings.region,
            settings.endpoint_url,
            settings.calls_in_flight_max,
            settings.call_timeout.total_seconds(),
            settings.aws_credentials == "test",
        )
        self.writer = _writer(settings, self.aws)

    def _table(self, name: str) -> str:
        return f"{self._settings.prefix}-{name}"

    @cached_property
    def claims(self) -> ClaimStore:
        """`processed_transactions`."""
        ttl = self._settings.claims_ttl
        ttl_us = None if ttl is None else ttl // timedelta(microseconds=1)
        table = self._table("processed_transactions")
        return dynamodb.DynamoClaims(self.aws, self.writer, table, ttl_us)

    @cached_property
    def change_log(self) -> ChangeLog:
        """`inventory_change_log`."""
        table, stream = self._table("inventory_change_log"), stream_names(self._settings)[0]
        return dynamodb.DynamoChangeLog(self.aws, self.writer, table, stream)

    @cached_property
    def combos(self) -> ComboTable:
        """`inventory_combos`."""
        return dynamodb.DynamoCombos(self.aws, self.writer, self._table("inventory_combos"))

    @cached_property
    def states(self) -> StateStore:
        """`keyed_state` and `stock_levels`; each fold names the table of its states."""
        layouts: dict[str, dynamodb.Layout] = {
            "keyed_state": dynamodb.AccumulatorLayout(self._table("keyed_state")),
            "stock_levels": dynamodb.StockLayout(self._table("stock_levels")),
        }
        by_fold = {fold.name: layouts[fold.table] for fold in folds(self._settings.rules())}
        return dynamodb.DynamoStates(self.aws, self.writer, by_fold, self._table("keyed_state"))

    @cached_property
    def quarantine(self) -> Quarantine:
        """The quarantine bucket."""
        return S3Quarantine(self.aws, self._settings.prefix)

    @cached_property
    def events(self) -> Stream:
        """`pos-events`."""
        return KinesisStream(self.aws, stream_names(self._settings)[0])

    @cached_property
    def changes(self) -> Stream:
        """`inventory-changes`."""
        return KinesisStream(self.aws, stream_names(self._settings)[1])

    @cached_property
    def checkpoints(self) -> CheckpointStore:
        """The local engine's checkpoints."""
        return dynamodb.DynamoCheckpoints(self.aws, self._table("checkpoints"))

    @cached_property
    def warehouse(self) -> Warehouse:
        """PostgreSQL. Imported here, so that the inventory consumer runs without its driver."""
        from pipeline.adapters.postgres import PostgresWarehouse, TimeLimits

        settings = self._settings
        limits = TimeLimits(
            settings.warehouse_statement_timeout.total_seconds(),
            settings.warehouse_lock_timeout.total_seconds(),
        )
        return PostgresWarehouse(
            self._postgres(settings.postgres_dsn), time_zone=settings.time_zone, limits=limits
        )

    @cached_property
    def upkeep(self) -> WarehouseUpkeep:
        """PostgreSQL's chores."""
        from pipeline.adapters.postgres.upkeep import PostgresUpkeep

        return PostgresUpkeep(self._postgres(self._settings.postgres_dsn))

    @cached_property
    def reports(self) -> Reports:
        """PostgreSQL, through the analysts' views; its replica, if there is one."""
        from pipeline.adapters.postgres.reports import PostgresReports

        return PostgresReports(self._postgres(self._replica()))

    @cached_property
    def dictionary(self) -> Dictionary:
        """PostgreSQL's catalogue; its replica's, if there is one."""
        from pipeline.adapters.postgres.dictionary import PostgresDictionary

        return PostgresDictionary(self._postgres(self._replica()))

    def _replica(self) -> str:
        return self._settings.reports_dsn or self._settings.postgres_dsn

    @cached_property
    def page_reports(self) -> PageReports:
        """The same, for the report's page. Not of `Ports`: a warehouse in memory has no page."""
        from pipeline.adapters.postgres.page_reports import PostgresPageReports

        return PostgresPageReports(self._postgres(self._replica()))

    def _postgres(self, dsn: str) -> "PostgresServer":
        return postgres_server(self._settings, dsn, self.aws)

    @cached_property
    def cache(self) -> StockCache:
        """Redis. Imported here, so that the inventory consumer runs without its driver."""
        from pipeline.adapters.redis import RedisCache

        settings = self._settings
        ttl_s, timeout_s = settings.cache_ttl.total_seconds(), settings.call_timeout.total_seconds()
        return RedisCache(settings.redis_url, self._clock, ttl_s, timeout_s)

    @cached_property
    def table_repair(self) -> TableRepair:
        """Change log and combos, by key."""
        log, combos = self._table("inventory_change_log"), self._table("inventory_combos")
        return dynamodb.DynamoTableRepair(self.aws, self.writer, log, combos)

    @cached_property
    def warehouse_repair(self) -> WarehouseRepair:
        """PostgreSQL, past the loader."""
        from pipeline.adapters.postgres.repair import PostgresWarehouseRepair

        return PostgresWarehouseRepair(self._postgres(self._settings.postgres_dsn))

    @cached_property
    def warehouse_rebuild(self) -> WarehouseRebuild:
        """PostgreSQL, past the loader."""
        from pipeline.adapters.postgres.rebuild import PostgresWarehouseRebuild

        settings = self._settings
        where = self._postgres(settings.postgres_dsn)
        return PostgresWarehouseRebuild(where, time_zone=settings.time_zone)
