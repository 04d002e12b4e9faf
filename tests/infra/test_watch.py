"""Alarms look at metrics that somebody writes, and go off before anything is lost."""

import json
from typing import Any

import pytest

from consumers.engines.aws_lambda import LambdaEngine
from consumers.handlers import Consumer
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import stream_names
from pipeline.core.errors import TransientFault
from pipeline.settings import Settings
from tests.engines.lambda_rig import MINUTE_MS, event
from tests.event_source_mapping import Invoked
from tests.infra.recorded import Recording
from tests.infra.rendering import PREFIX, installation
from tests.infra.roles import CONSUMERS

WATCH = installation()["watch"]
FLEET = installation(Engine="kcl")["watch"]
ALARMS = WATCH.of_type("AWS::CloudWatch::Alarm")
OF_THE_AUDIT = "claims_without_rows"
OF_THE_ENGINE = "unfinished"


def metrics(alarm: Any) -> list[Any]:
    """List the metrics that an alarm looks at."""
    if "Metrics" not in alarm:
        return [alarm]
    return [m["MetricStat"]["Metric"] for m in alarm["Metrics"] if "MetricStat" in m]


def own_metrics() -> set[tuple[str, str]]:
    """Collect consumer and name of every metric of the installation's, dashboard included."""
    found = {
        (metric["Dimensions"][0]["Value"], metric["MetricName"])
        for alarm in ALARMS.values()
        for metric in metrics(alarm)
        if metric["Namespace"] == PREFIX
    }
    for widget in json.loads(WATCH.properties("Dashboard")["DashboardBody"])["widgets"]:
        above: list[str] = []
        for row in widget["properties"]["metrics"]:
            if row[0] == "...":
                row = [*above[:-1], *row[1:]]
            above = [above[at] if text == "." else text for at, text in enumerate(row)]
            if above[0] == PREFIX:
                found.add((above[3], above[1]))
    return found


def test_every_count_that_is_watched_is_reported(recording: Recording) -> None:
    reported = {(str(c), name) for c, names in recording.counts.items() for name in names}
    reported |= {(consumer, OF_THE_ENGINE) for consumer in CONSUMERS}
    watched = own_metrics()
    assert len(watched) > 12
    assert watched - reported == {("inventory", OF_THE_AUDIT)}


@pytest.mark.parametrize("consumer", list(Consumer))
def test_counts_are_written_where_they_are_looked_for(
    consumer: Consumer, capsys: pytest.CaptureFixture[str]
) -> None:
    def connect(*_: Any) -> Any:
        raise TransientFault("nobody there")

    settings = Settings(prefix=PREFIX)
    stream = stream_names(settings)[consumer is not Consumer.INVENTORY]
    engine = LambdaEngine.wired(consumer, settings, SystemClock(), connect)
    engine.invoke(event(1, stream=stream), Invoked("request", MINUTE_MS))
    (line,) = (json.loads(li) for li in capsys.readouterr().out.splitlines() if "_aws" in li)
    (written,) = line["_aws"]["CloudWatchMetrics"]
    assert (written["Namespace"], written["Dimensions"]) == (PREFIX, [["consumer"]])
    assert (line["consumer"], line[OF_THE_ENGINE]) == (consumer, [1.0])


@pytest.mark.parametrize("stack", [WATCH, FLEET], ids=["lambda", "kcl"])
@pytest.mark.parametrize("stream", ["Events", "Changes"])
def test_half_the_retention_is_the_last_call(stack: Any, stream: str) -> None:
    alarm = stack.properties(f"{stream}HalfWayToLoss")
    percent = alarm["Metrics"][0]["Expression"]
    assert percent == "100 * age / (168 * 3600000)"
    assert alarm["Threshold"] == 50
    (metric,) = metrics(alarm)
    assert metric["MetricName"] == "GetRecords.IteratorAgeMilliseconds"


def test_the_last_call_follows_the_retention() -> None:
    alarm = installation(RetentionHours="24")["watch"].properties("EventsHalfWayToLoss")
    assert alarm["Metrics"][0]["Expression"] == "100 * age / (24 * 3600000)"


def test_warehouses_lag_is_read_where_the_engine_shows_it() -> None:
    seen = {name: metrics(s.properties("EtlLag")) for name, s in (("l", WATCH), ("k", FLEET))}
    assert [m["MetricName"] for m in seen["l"]] == ["IteratorAge"]
    assert [m["Dimensions"][0]["Value"] for m in seen["l"]] == [f"{PREFIX}-etl"]
    assert [m["Dimensions"][0]["Value"] for m in seen["k"]] == [f"{PREFIX}-inventory-changes"]


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_every_consumer_is_watched(consumer: str) -> None:
    wanted = {"Quarantines", "Stuck", "Fails"} | ({"GaveUp"} if consumer != "inventory" else set())
    assert {f"{consumer.capitalize()}{what}" for what in wanted} <= ALARMS.keys()
    assert ("GaveUp" in wanted) is (f"{consumer.capitalize()}GaveUp" in ALARMS)


@pytest.mark.parametrize("name", ALARMS)
def test_alarms_reach_the_topic_and_take_silence_for_no_news(name: str) -> None:
    assert ALARMS[name]["AlarmActions"] == ALARMS[name]["OKActions"] == ["<Alarms>"]
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"
    assert ALARMS[name]["AlarmDescription"].startswith("production: ")


def test_alarms_that_only_lambda_has_are_not_left_without_it() -> None:
    left = FLEET.of_type("AWS::CloudWatch::Alarm").values()
    assert not [m for a in left for m in metrics(a) if m["Namespace"] == "AWS/Lambda"]


def test_somebody_is_told_if_there_is_somebody() -> None:
    assert not WATCH.of_type("AWS::SNS::Subscription")
    mail = installation(Email="on-call@example.org")["watch"].properties("Mail")
    assert (mail["Protocol"], mail["TopicArn"]) == ("email", "<Alarms>")
