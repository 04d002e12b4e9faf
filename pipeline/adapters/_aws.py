"""What every AWS adapter shares: clients, the reading of errors, and calls in flight.

Low-level clients with parameter validation off: pydantic and the types have validated, and
botocore's own check costs 0.6 of a call's client CPU. Its retries are off too: `runtime.backoff`
is the one place that tries again, since only it sees the remainder of a bulk call and the stop of
the process.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected

from pipeline.core.errors import SystemFault, TransientFault, UsageError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_CREATING = Lock()

PASSING_CODES = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
"""Error codes that a later try may not meet.

Source: the services' API references, common errors.
"""


@dataclass(frozen=True)
class Aws:
    """Where AWS is, and how it is called. Clients are made on first use and are safe in threads."""

    region: str
    endpoint_url: str | None
    calls_in_flight_max: int
    call_timeout_s: float
    test_credentials: bool = False

    def _client(self, service: str) -> Any:
        config = Config(
            parameter_validation=False,
            max_pool_connections=self.calls_in_flight_max,
            connect_timeout=self.call_timeout_s,
            read_timeout=self.call_timeout_s,
            retries={"total_max_attempts": 1},
            user_agent="tillstream",  # else put together for each call, at a tenth of its CPU
            tcp_keepalive=True,
            s3={"addressing_style": "path"} if self.endpoint_url else None,
        )
        key = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        with _CREATING:  # clients are safe in threads, making one is not
            make: Any = boto3.Session().client  # the stubs want a literal name
            try:
                return make(
                    service,
                    region_name=self.region,
                    endpoint_url=self.endpoint_url,
                    config=config,
                    **(key if self.test_credentials else {}),
                )
            except ValueError as fault:
                raise UsageError(f"endpoint_url or region: {fault}") from None

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """The DynamoDB client."""
        client: DynamoDBClient = self._client("dynamodb")
        return client

    @cached_property
    def kinesis(self) -> "KinesisClient":
        """The Kinesis client."""
        client: KinesisClient = self._client("kinesis")
        return client

    def database_token(self, host: str, port: int, user: str) -> str:
        """Make a password for RDS: a signature of our own, good for fifteen minutes."""
        where = {"DBHostname": host, "Port": port, "DBUsername": user, "Region": self.region}
        try:
            return str(self._rds.generate_db_auth_token(**where))
        except BotoCoreError as fault:  # credentials that cannot be had now
            raise TransientFault(f"a token for RDS: {fault}") from fault

    @cached_property
    def _rds(self) -> Any:
        return self._client("rds")

    @cached_property
    def s3(self) -> "S3Client":
        """The S3 client."""
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def cloudformation(self) -> "CloudFormationClient":
        """The CloudFormation client."""
        client: CloudFormationClient = self._client("cloudformation")
        return client

    @cached_property
    def account(self) -> str:
        """The account's number; asking needs no permission."""
        client: STSClient = self._client("sts")
        with translated("GetCallerIdentity"):
            return client.get_caller_identity()["Account"]

    @cached_property
    def fan(self) -> "Fan":
        """The threads that calls go out on."""
        return Fan(self.calls_in_flight_max)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn botocore's exceptions into the project's: worth another try, or not."""
    try:
        yield
    except ClientError as fault:
        error = fault.response.get("Error", {})
        status = fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passing = error.get("Code") in PASSING_CODES or status >= 500
        kind = TransientFault if passing else SystemFault
        raise kind(f"{what}: {error.get('Code')}: {error.get('Message')}") from fault
    # Connections refused, lost, timed out; the call may have acted.
    except (HTTPClientError, NotConnected) as fault:
        raise TransientFault(f"{what}: {fault}") from fault
    except BotoCoreError as fault:
        raise SystemFault(f"{what}: {fault}") from fault


def error_code(fault: SystemFault) -> str:
    """Return the service's code behind a translated exception; empty if there is none."""
    cause = fault.__cause__
    return cause.response["Error"].get("Code", "") if isinstance(cause, ClientError) else ""


class Fan:
    """Run one call per item, several at once; an item whose call may pass is answered None."""

    def __init__(self, calls_in_flight_max: int) -> None:
        self._pool = ThreadPoolExecutor(calls_in_flight_max, thread_name_prefix="aws")

    def each(
        self, call: Callable[[Item], Answer], items: Sequence[Item]
    ) -> Sequence[Answer | None]:
        """Call for every item; answers in the order of the items.

        Raises the first lasting fault.
        """

        def attempt(item: Item) -> Answer | None:
            try:
                return call(item)
            except TransientFault:
                return None

        if len(items) == 1:
            return [attempt(items[0])]
        return list(self._pool.map(attempt, items))
