"""One frozen Settings: the only reader of the environment.

Every field is `TILLSTREAM_<NAME>` in the environment. Durations take seconds (`600`), a number
with a unit (`10m`, `1h`, `24h`, `7d`) or ISO 8601 (`PT10M`). Sets take a comma-separated list.
"""

import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import available_timezones

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline.core.errors import UsageError
from pipeline.core.rules import DedupeScope, Rules

STREAM_RETENTION_HOURS = 168
"""What `infra/data.yaml` asks for: an outage over a long weekend loses nothing."""

LOCALSTACK = {
    "endpoint_url": "http://127.0.0.1:4566",
    "aws_credentials": "test",
    "postgres_dsn": "postgresql://tillstream:tillstream@127.0.0.1:15432/tillstream",
    "redis_url": "redis://:tillstream@127.0.0.1:16379/0",
}
"""What `target = localstack` stands for.

The ports of PostgreSQL and Redis are not their usual ones, which a developer's own servers hold.
"""
EMBEDDED_FILE = Path("stack.env")
"""Where `tillstream stack` writes its addresses, and `target = embedded` reads them."""

_UNITS = {"": 1, "ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_duration(value: Any) -> Any:
    """Read `600`, `10m`, `1h`; leave anything else (ISO 8601, a timedelta) to pydantic."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        number, unit = match.groups()
        if unit.lower() not in _UNITS:
            raise ValueError(f"unknown unit {unit!r}: use s, m, h or d")
        try:
            return timedelta(seconds=float(number) * _UNITS[unit.lower()])
        except OverflowError:
            raise ValueError("longer than a duration can be") from None
    return value


def _parse_set(value: Any) -> Any:
    if isinstance(value, str):
        return frozenset(part.strip() for part in value.split(",") if part.strip())
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
KclInterval = Annotated[Duration, Field(ge=timedelta(milliseconds=1))]
"""The client library counts in milliseconds, and ignores 0."""
WriteMode: TypeAlias = Literal["batch", "single"]
Names = Annotated[frozenset[str], NoDecode, BeforeValidator(_parse_set), Field(min_length=1)]


class Settings(BaseSettings):
    """Everything that can be set. Frozen; the README's table lists each field with its default."""

    model_config = SettingsConfigDict(env_prefix="TILLSTREAM_", frozen=True, extra="forbid")

    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,22}[a-z0-9]$")] = "tillstream"
    """Begins the name of every stream, table and bucket: two stacks can share an account."""
    target: Literal["aws", "localstack", "embedded"] = "aws"
    """Chooses the four settings below, as far as they are not set themselves."""
    region: str = "us-east-1"
    endpoint_url: str | None = None
    """One endpoint for every AWS service: the embedded stack, LocalStack. Unset: AWS itself."""
    aws_credentials: Literal["default", "test"] = "default"
    """`default`: wherever boto3 finds them. `test`: the fixed key that emulators take."""
    postgres_dsn: str = "postgresql://localhost/tillstream"
    reports_dsn: str | None = None
    """A read replica for reports. Unset: the warehouse itself."""
    postgres_tls: Literal["prefer", "require", "verify-ca", "verify-full"] | None = None
    """Unset: what the DSN's `sslmode` says; libpq's own default only prefers TLS."""
    postgres_ca_file: str | None = None
    """Whom TLS trusts: for RDS, its regional bundle of certificates."""
    postgres_login: Literal["dsn", "iam"] = "dsn"
    """`iam`: a token of RDS instead of a password, a new one for each connection."""
    redis_url: str = "redis://localhost:6379/0"

    categories: Names = Rules().categories
    sources: Names = Rules().sources
    combo_sources: Names = Rules().combo_sources
    combo_window: Duration = timedelta(minutes=10)
    return_window: Duration | None = None
    """Unset: the combo window."""
    allowed_lateness: Duration = timedelta(hours=1)
    dedupe_scope: DedupeScope = "global"
    state_entries_max: Annotated[int, Field(ge=1, le=1_000)] = 1_000
    state_bytes_max: Annotated[int, Field(ge=512, le=96 * 1024)] = 96 * 1024
    outbox_effects_max: Annotated[int, Field(ge=1, le=500)] = 500

    arrival_clock: datetime | None = None
    """Stands in for every record's arrival time: for replaying old files and for tests."""
    batch_records_max: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Kinesis records a batch. Larger batches fold more events per commit; a crash repeats more."""
    calls_in_flight_max: Annotated[int, Field(ge=1, le=64)] = 8
    """Concurrent calls to one AWS service from one process, and the size of its connection pool."""
    conditional_writes: WriteMode | None = None
    """How DynamoDB is written: 25 statements a call over PartiQL, or one call an item.

    Unset: `batch`, and `single` on the embedded stack, which answers PartiQL wrongly. Set `single`
    where a policy forbids PartiQL.
    """
    idle_wait: Duration = timedelta(milliseconds=500)
    """Pause after an empty read.

    Kinesis allows five reads a second and shard, for all consumers.
    """
    retry_budget: Duration = timedelta(seconds=60)
    """How long one call is tried before the batch is given up; it comes again."""
    call_timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=10)
    """Connecting, and waiting for an answer, of one call."""
    kcl_failover_time: KclInterval = timedelta(seconds=10)
    """Without a sign of life from the owner of a lease for so long, others may take it."""
    kcl_assignment_interval: KclInterval = timedelta(seconds=10)
    """Between two rounds in which the fleet's leader spreads leases over daemons."""
    kcl_shard_sync_interval: KclInterval = timedelta(seconds=60)
    """Between two looks of a daemon for shards without a lease."""
    kcl_parent_poll_interval: KclInterval = timedelta(seconds=10)
    """Between two looks of a child shard at whether its parents are finished."""
    warehouse_statement_timeout: Duration = timedelta(seconds=60)
    """Of one statement of a load; 0: none."""
    warehouse_lock_timeout: Duration = timedelta(seconds=10)
    """Of one wait of a load for a lock; 0: none."""
    refresh_interval: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(minutes=5)
    """How old the warehouse's stored reports may be.

    Older still where refreshing them would take more than a tenth of the server's time.
    """
    time_zone: str = "UTC"
    """IANA name: of locations that the warehouse meets for the first time."""
    cache_ttl: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(hours=1)
    """Life of a cache entry; up to a tenth is added at random."""
    claims_ttl: Duration | None = None
    """Unset: claims are kept for ever.

    If set, it must exceed retention plus `resend_horizon` (P4).
    """
    resend_horizon: Duration = timedelta(days=30)
    """How long after the first delivery a till or a batch upload may send a transaction again."""

    @model_validator(mode="before")
    @classmethod
    def _aim(cls, given: dict[str, Any]) -> dict[str, Any]:
        missing = LOCALSTACK.keys() - given.keys()
        if given.get("target") == "localstack":
            return LOCALSTACK | given
        if given.get("target") == "embedded" and missing:
            return _embedded() | given
        return given

    @field_validator("arrival_clock")
    @classmethod
    def _aware(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            raise ValueError("needs an offset, such as Z")
        return moment

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in available_timezones() | {"UTC"}:
            raise ValueError("no IANA time zone, such as Europe/London")
        return name

    @field_validator("combo_sources")
    @classmethod
    def _accepted(cls, names: frozenset[str], others: ValidationInfo) -> frozenset[str]:
        if unknown := names - others.data.get("sources", names):
            raise ValueError(f"not among the sources: {', '.join(sorted(unknown))}")
        return names

    @field_validator("conditional_writes")
    @classmethod
    def _possible(cls, mode: WriteMode | None, others: ValidationInfo) -> WriteMode | None:
        if mode == "batch" and others.data.get("target") == "embedded":
            raise ValueError("the embedded stack takes single alone")
        return mode

    def write_mode(self) -> WriteMode:
        """Return how DynamoDB is written."""
        return self.conditional_writes or ("single" if self.target == "embedded" else "batch")

    def environment(self) -> dict[str, str]:
        """Return this process's environment with these settings in it, for a child process."""
        own = {f"TILLSTREAM_{n.upper()}": _text(v) for n, v in self if v is not None}
        whole = os.environ.items()  # noqa: TID251 - the one reader
        inherited = {k: v for k, v in whole if not k.startswith("TILLSTREAM_")}
        return inherited | own

    def rules(self) -> Rules:
        """Return the part that decides results."""
        return Rules(
            categories=self.categories,
            sources=self.sources,
            combo_sources=self.combo_sources,
            combo_window_us=_microseconds(self.combo_window),
            return_window_us=_microseconds(
                self.combo_window if self.return_window is None else self.return_window
            ),
            allowed_lateness_us=_microseconds(self.allowed_lateness),
            dedupe_scope=self.dedupe_scope,
            state_entries_max=self.state_entries_max,
            state_bytes_max=self.state_bytes_max,
        )


def _embedded() -> dict[str, str]:
    """Read where the embedded servers of this folder are."""
    try:
        pairs = (line.partition("=") for line in EMBEDDED_FILE.read_text().splitlines())
    except FileNotFoundError:
        raise UsageError(
            f"target embedded: no {EMBEDDED_FILE} here; `tillstream stack` writes it while it runs"
        ) from None
    said = {name.removeprefix("TILLSTREAM_").lower(): value for name, _, value in pairs}
    return {"aws_credentials": "test"} | {k: v for k, v in said.items() if k in LOCALSTACK}


def _text(value: Any) -> str:
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    return ",".join(sorted(value)) if isinstance(value, frozenset) else str(value)


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
