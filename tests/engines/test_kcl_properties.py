"""The daemon's properties: what it is told follows from the settings, and it applies each of it."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.fleet.properties import (
    DECIDED,
    KEYS,
    FleetOptions,
    checked,
    daemon_properties,
    file_text,
    parse_overrides,
    worker_path,
)
from consumers.handlers import Consumer
from pipeline.core.errors import UsageError
from pipeline.settings import Settings

SETTINGS = Settings(prefix="shop1", region="eu-west-1")


def told(consumer: Consumer = Consumer.INVENTORY) -> dict[str, str]:
    return daemon_properties(consumer, SETTINGS, FleetOptions())


def told_with(**overrides: str) -> dict[str, str]:
    return daemon_properties(Consumer.ETL, SETTINGS, FleetOptions(overrides=overrides))


@pytest.mark.parametrize(
    ("consumer", "stream"),
    [
        (Consumer.INVENTORY, "shop1-pos-events"),
        (Consumer.CACHE, "shop1-inventory-changes"),
        (Consumer.ETL, "shop1-inventory-changes"),
    ],
)
def test_each_consumer_is_an_application_on_its_stream(consumer: Consumer, stream: str) -> None:
    found = told(consumer)
    assert (found["streamName"], found["applicationName"]) == (stream, f"shop1-{consumer}")


@pytest.mark.parametrize("consumer", list(Consumer))
def test_every_consumer_starts_at_the_oldest_record(consumer: Consumer) -> None:
    assert told(consumer)["initialPositionInStream"] == "TRIM_HORIZON"


def test_cache_may_skip_what_is_there() -> None:
    found = daemon_properties(Consumer.CACHE, SETTINGS, FleetOptions(from_latest=True))
    assert found["initialPositionInStream"] == "LATEST"


@pytest.mark.parametrize("consumer", [Consumer.INVENTORY, Consumer.ETL])
def test_others_may_not(consumer: Consumer) -> None:
    with pytest.raises(UsageError, match=r"TRIM_HORIZON \(P1\)"):
        daemon_properties(consumer, SETTINGS, FleetOptions(from_latest=True))


def test_daemon_that_is_asked_to_stop_has_time_to_checkpoint() -> None:
    assert told()["shutdownGraceMillis"] == "30000"


def test_aws_itself_needs_no_endpoint_and_gets_metrics() -> None:
    found = told()
    assert not {"kinesisEndpoint", "dynamoDBEndpoint", "disableWorkerMetrics"} & found.keys()
    assert (found["regionName"], found["metricsLevel"]) == ("eu-west-1", "SUMMARY")


def test_emulator_is_named_for_both_services() -> None:
    settings = Settings(endpoint_url="http://127.0.0.1:4566")
    found = daemon_properties(Consumer.CACHE, settings, FleetOptions())
    assert found["kinesisEndpoint"] == found["dynamoDBEndpoint"] == "http://127.0.0.1:4566"
    assert (found["metricsLevel"], found["disableWorkerMetrics"]) == ("NONE", "true")


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("kcl_failover_time", "failoverTimeMillis"),
        ("kcl_assignment_interval", "leaseAssignmentIntervalMillis"),
        ("kcl_shard_sync_interval", "shardSyncIntervalMillis"),
        ("kcl_parent_poll_interval", "parentShardPollIntervalMillis"),
    ],
)
def test_interval_is_a_setting_in_milliseconds(setting: str, key: str) -> None:
    settings = Settings.model_validate({setting: "1.5s"})
    assert daemon_properties(Consumer.ETL, settings, FleetOptions())[key] == "1500"


@pytest.mark.parametrize("interval", ["0", "0.0004s"])
def test_interval_that_the_daemon_would_ignore_is_no_setting(interval: str) -> None:
    with pytest.raises(ValidationError, match="kcl_failover_time"):
        Settings.model_validate({"kcl_failover_time": interval})


@pytest.mark.parametrize(("wait", "said"), [("0", "200"), ("200ms", "200"), ("2s", "2000")])
def test_pause_between_reads_is_what_kinesis_allows(wait: str, said: str) -> None:
    settings = Settings.model_validate({"idle_wait": wait, "batch_records_max": 77})
    found = daemon_properties(Consumer.ETL, settings, FleetOptions())
    assert (found["idleTimeBetweenReadsInMillis"], found["maxRecords"]) == (said, "77")


def test_executable_is_found_though_its_folder_has_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/home/a b/bin/python3")
    assert told()["executableName"] == "python3 -m consumers.fleet.worker inventory"
    assert worker_path({"PATH": "/bin"}) == "/home/a b/bin:/bin"


# --------------------------------------------------------------------------------- overrides
def test_override_is_told() -> None:
    found = told_with(maxLeasesForWorker="8", shutdownGraceMillis="60000")
    assert (found["maxLeasesForWorker"], found["shutdownGraceMillis"]) == ("8", "60000")


@pytest.mark.parametrize("key", ["maxLeaseForWorker", "validateSequenceNumberBeforeCheckpointing"])
def test_key_that_the_daemon_ignores_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match=f"unknown property {key}: the daemon would ignore it"):
        told_with(**{key: "8"})


def test_key_in_another_case_is_refused_with_the_right_one() -> None:
    with pytest.raises(UsageError, match=r"did you mean dynamoDBEndpoint\? Case matters"):
        told_with(dynamoDbEndpoint="http://127.0.0.1:1")


@pytest.mark.parametrize("key", list(DECIDED))
def test_key_that_the_project_decides_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match=f"--set {key}: not to be set here"):
        told_with(**{key: "x"})


REFUSED = {
    "cleanupLeasesUponShardCompletion": ["false", "no", "True", ""],
    "maxLeasesForWorker": ["0", "00", "-1", "many", "1.5", "", "\u0665"],
    "shutdownGraceMillis": ["0"],
    "isGracefulLeaseHandoffEnabled": ["no", "0", ""],
    "retryGetRecordsInSeconds": ["-1", "x"],
    "workerMetricsEMAAlpha": ["0", "0.0", "x"],
    "staleWorkerMetricsEntryCleanupDuration": ["1h", "P", "PT", "-PT1H"],
    "metricsLevel": ["ALL", "none"],
    "retrievalMode": ["PUSH"],
    "tableName": ["", " ", " x", "a\nb"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in REFUSED.items() for v in vs])
def test_value_that_the_daemon_would_not_apply_is_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"property {key}"):
        told_with(**{key: value})


APPLIED = {
    "cleanupLeasesUponShardCompletion": "true",
    "isGracefulLeaseHandoffEnabled": "false",
    "retryGetRecordsInSeconds": "0",
    "workerMetricsEMAAlpha": "0.25",
    "staleWorkerMetricsEntryCleanupDuration": "P1DT2H",
    "metricsLevel": "DETAILED",
    "fanoutConfig.consumerName": "inventory",
}


@pytest.mark.parametrize("key", list(APPLIED))
def test_value_that_the_daemon_applies_is_told(key: str) -> None:
    assert told_with(**{key: APPLIED[key]})[key] == APPLIED[key]


@pytest.mark.parametrize("pair", ["maxLeasesForWorker", "=8", ""])
def test_override_that_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="wants key=value"):
        parse_overrides([pair])


def test_override_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="each key once"):
        parse_overrides(["tableName=a", "tableName=b"])


def test_value_of_an_override_may_hold_an_equals_sign() -> None:
    assert parse_overrides(["tableName=a=b"]) == {"tableName": "a=b"}


# ------------------------------------------------------------------------------------ the file
@given(st.dictionaries(st.sampled_from(sorted(KEYS)), st.text(min_size=1), max_size=4))
def test_daemon_reads_back_what_was_written(properties: dict[str, str]) -> None:
    try:
        good = checked(properties)
    except UsageError:
        return
    assert read_as_java_does(file_text(good)) == good


def test_file_is_ascii_and_doubles_backslashes() -> None:
    text = file_text({"tableName": "a\\u0041 é 😀"})
    assert text == "tableName = a\\\\u0041 \\u00e9 \\ud83d\\ude00\n"
    assert read_as_java_does(text) == {"tableName": "a\\u0041 é 😀"}


def read_as_java_does(text: str) -> dict[str, str]:
    """Read what `java.util.Properties.load` would, of lines with a plain key."""
    found = {}
    for line in text.encode("ascii").decode().splitlines():
        key, _, value = line.partition(" = ")
        plain = re.sub(
            r"\\u([0-9a-f]{4})|\\(.)", lambda m: chr(int(m[1], 16)) if m[1] else m[2], value
        )
        found[key] = plain.encode("utf-16", "surrogatepass").decode("utf-16")
    return found


def test_defaults_are_kept_by_the_daemon() -> None:
    assert checked(told()) == told()
    assert Settings().kcl_failover_time == timedelta(seconds=10)
