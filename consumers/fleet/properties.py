"""The properties file of a MultiLangDaemon, which the daemon itself hardly checks.

A key that it does not know, or knows in another case, it ignores; a number that is none it reads as
0; and a `false` or a 0 for a primitive field it never applies, since it cannot tell it from "not
set" (`ConfigurationSettableUtils` compares with the type's default). Each of these would leave
somebody believing that the fleet runs otherwise than it does, so here each is refused by name.

Source: the fields of MultiLangDaemonConfiguration and its beans, amazon-kinesis-client-multilang
3.1.3, by what their Java types do to a value. Fields that are read from the file and then applied
nowhere (validateSequenceNumberBeforeCheckpointing) or that no converter can fill
(shardPrioritization) are not listed.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from consumers.handlers import Consumer
from pipeline.bootstrap import stream_names
from pipeline.core.errors import UsageError
from pipeline.settings import Settings

SHUTDOWN_GRACE_MS = 30_000
"""For a daemon that is asked to stop. Its own default, 0, loses the checkpoint of each shard."""
READ_PAUSE_LEAST_MS = 200
"""PollingConfig takes no less: Kinesis allows five reads a second and shard."""

Check = Callable[[str], str | None]
"""Says what is wrong with a value."""


def _text(value: str) -> str | None:
    good = value.strip() == value != "" and value.isprintable()
    return None if good else "wants a printable text without spaces around it"


def _number(value: str) -> str | None:
    if re.fullmatch(r"0+", value):
        return "is never applied as 0; leave it out for the daemon's own default"
    return None if re.fullmatch(r"[0-9]{1,18}", value) else "wants a whole number above 0"


def _nullable_number(value: str) -> str | None:
    return None if re.fullmatch(r"[0-9]{1,18}", value) else "wants a whole number"


def _decimal(value: str) -> str | None:
    good = re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) and float(value) > 0
    return None if good else "wants a number above 0"


def _flag(value: str) -> str | None:
    return None if value == "true" else "can only be set to true: false is never applied"


def _nullable_flag(value: str) -> str | None:
    return None if value in ("true", "false") else "wants true or false"


def _duration(value: str) -> str | None:
    good = re.fullmatch(r"P(?=[\dT])(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?", value)
    return None if good else "wants an ISO 8601 duration, such as PT10M"


def _one_of(*choices: str) -> Check:
    def check(value: str) -> str | None:
        return None if value in choices else f"wants one of {', '.join(choices)}"

    return check


def _each(check: Check, *keys: str) -> dict[str, Check]:
    return dict.fromkeys(keys, check)


DECIDED = {
    "executableName": "it is this project's own worker",
    "applicationName": "set TILLSTREAM_PREFIX",
    "streamName": "set TILLSTREAM_PREFIX",
    "streamArn": "set TILLSTREAM_PREFIX and TILLSTREAM_REGION",
    "initialPositionInStream": "it follows from the consumer and --from-latest (P1)",
    "initialPositionInStreamExtended": "it follows from the consumer and --from-latest (P1)",
    "workerId": "each daemon needs one of its own",
    "workerIdentifier": "each daemon needs one of its own",
}
"""Keys that are not to be chosen one by one, and what decides them."""

KEYS: Mapping[str, Check] = {
    **_each(
        _text,
        *("executableName", "processingLanguage", "applicationName", "streamName", "tableName"),
        *("workerId", "regionName", "kinesisEndpoint", "dynamoDBEndpoint"),
        *("AwsCredentialsProvider", "AwsCredentialsProviderDynamoDB"),
        *("AwsCredentialsProviderCloudWatch", "metricsEnabledDimensions"),
        *("coordinatorStateTableName", "workerMetricsTableName"),
        *("fanoutConfig.consumerArn", "fanoutConfig.consumerName"),
    ),
    **_each(
        _number,
        *("failoverTimeMillis", "leaseAssignmentIntervalMillis", "shardSyncIntervalMillis"),
        *("maxLeasesForWorker", "maxLeasesToStealAtOneTime", "maxLeaseRenewalThreads"),
        *("initialLeaseTableReadCapacity", "initialLeaseTableWriteCapacity"),
        *("listShardsBackoffTimeInMillis", "maxListShardsRetryAttempts"),
        *("parentShardPollIntervalMillis", "schedulerInitializationBackoffTimeMillis"),
        *("taskBackoffTimeMillis", "metricsBufferTimeMillis", "metricsMaxQueueSize"),
        *("maxRecords", "idleTimeBetweenReadsInMillis", "maxActiveThreads"),
        *("millisBehindLatestThresholdForReducedTps", "shutdownGraceMillis", "timeoutInSeconds"),
        *("coordinatorStateReadCapacity", "coordinatorStateWriteCapacity"),
        *("workerMetricsReadCapacity", "workerMetricsWriteCapacity"),
        *("inMemoryWorkerMetricsCaptureFrequencyMillis", "workerMetricsReporterFreqInMillis"),
        *("noOfPersistedMetricsPerWorkerMetrics", "dampeningPercentage"),
        *("reBalanceThresholdPercentage", "varianceBalancingFrequency"),
        *("fanoutConfig.maxDescribeStreamSummaryRetries", "fanoutConfig.retryBackoffMillis"),
        *("fanoutConfig.maxDescribeStreamConsumerRetries",),
        *("fanoutConfig.registerStreamConsumerRetries",),
    ),
    **_each(_nullable_number, "logWarningForTaskAfterMillis", "gracefulLeaseHandoffTimeoutMillis"),
    **_each(_nullable_number, "retryGetRecordsInSeconds", "maxGetRecordsThreadPool"),
    **_each(_decimal, "maxThroughputPerHostKBps", "workerMetricsEMAAlpha"),
    **_each(
        _flag,
        *("cleanupLeasesUponShardCompletion", "ignoreUnexpectedChildShards"),
        *("callProcessRecordsEvenForEmptyRecordList",),
        *("skipShardSyncAtWorkerInitializationIfLeasesExist",),
    ),
    **_each(
        _nullable_flag,
        *("enablePriorityLeaseAssignment", "leaseTableDeletionProtectionEnabled"),
        *("leaseTablePitrEnabled", "isGracefulLeaseHandoffEnabled", "disableWorkerMetrics"),
        *("allowThroughputOvershoot", "coordinatorStatePointInTimeRecoveryEnabled"),
        *("coordinatorStateDeletionProtectionEnabled", "workerMetricsDeletionProtectionEnabled"),
        *("workerMetricsPointInTimeRecoveryEnabled",),
    ),
    **_each(_duration, "staleWorkerMetricsEntryCleanupDuration"),
    "initialPositionInStream": _one_of("TRIM_HORIZON", "LATEST"),
    "retrievalMode": _one_of("POLLING", "FANOUT", "DEFAULT"),
    "metricsLevel": _one_of("NONE", "SUMMARY", "DETAILED"),
    "clientVersionConfig": _one_of(
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X", "CLIENT_VERSION_CONFIG_3X"
    ),
    "coordinatorStateBillingMode": _one_of("PAY_PER_REQUEST", "PROVISIONED"),
    "workerMetricsBillingMode": _one_of("PAY_PER_REQUEST", "PROVISIONED"),
}
"""Every key that a daemon applies, with what it may say."""


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What the command line says of a fleet."""

    workers: int = 1
    overrides: Mapping[str, str] = field(default_factory=dict)
    from_latest: bool = False
    verbose: bool = False


def daemon_properties(
    consumer: Consumer, settings: Settings, options: FleetOptions
) -> dict[str, str]:
    """Return what a daemon of a consumer is told. Raises UsageError for what it would ignore."""
    for key in options.overrides:
        if key in DECIDED:
            raise UsageError(f"--set {key}: not to be set here; {DECIDED[key]}")
    if options.from_latest and consumer is not Consumer.CACHE:
        raise UsageError(f"--from-latest is of the cache; {consumer} starts at TRIM_HORIZON (P1)")
    events, changes = stream_names(settings)
    found = {
        "executableName": _executable(consumer, options),
        "streamName": events if consumer is Consumer.INVENTORY else changes,
        "applicationName": f"{settings.prefix}-{consumer}",
        "AwsCredentialsProvider": "DefaultCredentialsProvider",
        "regionName": settings.region,
        "initialPositionInStream": "LATEST" if options.from_latest else "TRIM_HORIZON",
        "retrievalMode": "POLLING",
        "maxRecords": str(settings.batch_records_max),
        "idleTimeBetweenReadsInMillis": str(max(READ_PAUSE_LEAST_MS, _ms(settings.idle_wait))),
        "failoverTimeMillis": str(_ms(settings.kcl_failover_time)),
        "leaseAssignmentIntervalMillis": str(_ms(settings.kcl_assignment_interval)),
        "shardSyncIntervalMillis": str(_ms(settings.kcl_shard_sync_interval)),
        "parentShardPollIntervalMillis": str(_ms(settings.kcl_parent_poll_interval)),
        "shutdownGraceMillis": str(SHUTDOWN_GRACE_MS),
        **_for_emulator(settings.endpoint_url),
    }
    return checked({**found, **options.overrides})


def _executable(consumer: Consumer, options: FleetOptions) -> str:
    """Name the worker's command; `worker_path` is what finds it.

    By the interpreter's bare name: the daemon splits the command at spaces, without quoting, and a
    folder may have some.
    """
    verbose = " --verbose" if options.verbose else ""
    return f"{Path(sys.executable).name} -m consumers.fleet.worker {consumer}{verbose}"


def worker_path(environment: Mapping[str, str]) -> str:
    """Return a PATH on which a daemon finds this interpreter first."""
    return os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])


def _for_emulator(endpoint_url: str | None) -> dict[str, str]:
    """Name the endpoints; CloudWatch, and balancing by CPU load, are AWS' alone."""
    if endpoint_url is None:
        return {"metricsLevel": "SUMMARY"}
    return {
        "kinesisEndpoint": endpoint_url,
        "dynamoDBEndpoint": endpoint_url,
        "metricsLevel": "NONE",
        "disableWorkerMetrics": "true",
    }


def checked(properties: Mapping[str, str]) -> dict[str, str]:
    """Return properties that the daemon applies, each of them. Raises UsageError for any other."""
    by_lower_case = {key.lower(): key for key in KEYS}
    for key, value in properties.items():
        if key not in KEYS:
            meant = by_lower_case.get(key.lower())
            hint = f"did you mean {meant}? Case matters" if meant else "the daemon would ignore it"
            raise UsageError(f"unknown property {key}: {hint}")
        if fault := KEYS[key](value):
            raise UsageError(f"property {key} {fault} (got {value!r})")
    return dict(properties)


def parse_overrides(pairs: Iterable[str]) -> dict[str, str]:
    """Read `key=value` pairs. Raises UsageError for anything else, and for a key given twice."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or key in found:
            raise UsageError(f"--set {pair}: wants key=value, each key once")
        found[key.strip()] = value.strip()
    return found


def file_text(properties: Mapping[str, str]) -> str:
    """Write properties as `java.util.Properties` reads them: ASCII, backslashes doubled."""
    return "".join(f"{key} = {_escaped(value)}\n" for key, value in properties.items())


def _escaped(value: str) -> str:
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    pairs = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(chr(unit) if unit < 127 else f"\\u{unit:04x}" for unit in pairs)


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
