"""The embedded stack: three usable servers, and nothing of them afterwards."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
import redis as redis_client
from botocore.config import Config

from consumers.embedded import Endpoints
from consumers.embedded import redis as embedded_redis
from consumers.embedded.servers import Servers

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

THREADS = 8
END_TIMEOUT_SECONDS = 20.0

# Runs a stack, says where, and waits. On Ctrl+C it still asks PostgreSQL something before it ends.
PARENT = """
import json, signal, sys
from dataclasses import asdict
from pathlib import Path
import psycopg
from consumers.embedded import EmbeddedStack
stack = EmbeddedStack(Path(sys.argv[1]))
with stack as endpoints:
    with psycopg.connect(endpoints.postgres_dsn) as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone()
        try:
            print(json.dumps([asdict(endpoints), stack.process_group, folder]), flush=True)
            signal.pause()
        except KeyboardInterrupt:
            print(connection.execute("SELECT 'still here'").fetchone()[0], flush=True)
"""


@contextmanager
def parent_of_a_stack(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[Any]]]:
    command = [sys.executable, "-c", PARENT, str(folder)]
    # A session of its own, so that a signal to its group is what Ctrl+C is to a terminal's.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        try:
            yield parent, json.loads(parent.stdout.readline())
        finally:
            parent.kill()


def eventually(claim: Callable[[], bool]) -> bool:
    deadline, pause = time.monotonic() + END_TIMEOUT_SECONDS, threading.Event()
    while not claim() and time.monotonic() < deadline:
        pause.wait(0.05)
    return claim()


def answers(url: str) -> bool:
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=1).close()
    except OSError:
        return False
    return True


def group_is_empty(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def assert_nothing_is_left(workdir: Path, report: list[Any]) -> None:
    endpoints, group, data = report
    assert eventually(lambda: group_is_empty(group))
    assert eventually(lambda: not any(answers(url) for url in endpoints.values()))
    assert list(workdir.iterdir()) == []
    assert not Path(data).exists()


def client(embedded: Endpoints, service: str) -> Any:
    make: Any = boto3.client  # the stubs know each service by its literal name only
    return make(
        service,
        endpoint_url=embedded.aws_endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(max_pool_connections=THREADS),
    )


@pytest.fixture
def table(embedded: Endpoints) -> str:
    name = f"race-{secrets.token_hex(8)}"
    client(embedded, "dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def test_postgres_18_accepts_connections_after_start(embedded: Endpoints) -> None:
    with psycopg.connect(embedded.postgres_dsn) as connection:
        row = connection.execute("SHOW server_version_num").fetchone()
    assert row is not None
    assert int(row[0]) >= 180_000


def test_postgres_refuses_a_wrong_password(embedded: Endpoints) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(embedded.postgres_dsn, password="guess")


def test_redis_runs_lua_scripts_after_start(embedded: Endpoints) -> None:
    with redis_client.Redis.from_url(embedded.redis_url) as connection:
        script, key = "return redis.call('INCRBY', KEYS[1], 7)", secrets.token_hex(8)
        assert connection.eval(script, 1, key) == 7


def test_environment_names_every_server(embedded: Endpoints) -> None:
    environment = embedded.environment()
    assert environment["TILLSTREAM_ENDPOINT_URL"] == embedded.aws_endpoint_url
    assert environment["TILLSTREAM_POSTGRES_DSN"] == embedded.postgres_dsn
    assert environment["TILLSTREAM_REDIS_URL"] == embedded.redis_url


@pytest.mark.parametrize("key", ["plain", "dots/../and space", "pct%2Fü+&=?"])
def test_s3_returns_what_was_put(embedded: Endpoints, key: str) -> None:
    s3, bucket = client(embedded, "s3"), f"put-{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=bucket)
    body = secrets.token_bytes(300_000)
    s3.put_object(Bucket=bucket, Key=key, Body=io.BytesIO(body))
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"] == key
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body


def test_s3_takes_a_multipart_upload(embedded: Endpoints) -> None:
    s3, bucket = client(embedded, "s3"), f"parts-{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=bucket)
    s3.upload_fileobj(io.BytesIO(bytes(9_000_000)), bucket, "large")
    assert s3.head_object(Bucket=bucket, Key="large")["ContentLength"] == 9_000_000


def test_chunked_request_bodies_arrive_whole(embedded: Endpoints) -> None:
    s3, bucket = client(embedded, "s3"), f"chunks-{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=bucket)
    address = urlsplit(embedded.aws_endpoint_url)
    head = f"PUT /{bucket}/key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        for piece in (head, "3\r\nabc\r\n", "a;x=y\r\n01234", "56789\r\n0\r", "\n\r\n"):
            connection.sendall(piece.encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"abc0123456789"


@pytest.mark.parametrize("request_text", ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"])
def test_what_is_not_http_is_refused(embedded: Endpoints, request_text: str) -> None:
    address = urlsplit(embedded.aws_endpoint_url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(request_text.encode())
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_exactly_one_of_many_threads_wins_a_conditional_put(
    embedded: Endpoints, table: str
) -> None:
    dynamodb: DynamoDBClient = client(embedded, "dynamodb")

    def wins(_: int) -> int:
        won = 0
        for number in range(40):
            try:
                dynamodb.put_item(
                    TableName=table,
                    Item={"key": {"S": str(number)}},
                    ConditionExpression="attribute_not_exists(#key)",
                    ExpressionAttributeNames={"#key": "key"},
                )
                won += 1
            except dynamodb.exceptions.ConditionalCheckFailedException:
                pass
        return won

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(wins, range(THREADS))) == 40


def test_compare_and_set_loses_no_increment(embedded: Endpoints, table: str) -> None:
    dynamodb: DynamoDBClient = client(embedded, "dynamodb")
    key = {"key": {"S": "counter"}}
    dynamodb.put_item(TableName=table, Item={**key, "version": {"N": "0"}})

    def increment(_: int) -> None:
        while True:
            version = dynamodb.get_item(TableName=table, Key=key)["Item"]["version"]["N"]
            try:
                dynamodb.put_item(
                    TableName=table,
                    Item={**key, "version": {"N": str(int(version) + 1)}},
                    ConditionExpression="version = :seen",
                    ExpressionAttributeValues={":seen": {"N": version}},
                )
                return
            except dynamodb.exceptions.ConditionalCheckFailedException:
                continue

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(increment, range(40)))
    assert dynamodb.get_item(TableName=table, Key=key)["Item"]["version"]["N"] == "40"


def test_kinesis_gives_each_record_its_own_sequence_number(embedded: Endpoints) -> None:
    kinesis, stream = client(embedded, "kinesis"), f"race-{secrets.token_hex(8)}"
    kinesis.create_stream(StreamName=stream, ShardCount=1)

    def put(_: int) -> list[str]:
        records = [{"Data": b"x", "PartitionKey": "same"}] * 20
        answer = kinesis.put_records(StreamName=stream, Records=records)
        return [record["SequenceNumber"] for record in answer["Records"]]

    with ThreadPoolExecutor(THREADS) as pool:
        numbers = [number for answer in pool.map(put, range(40)) for number in answer]
    assert len(set(numbers)) == 800


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    with parent_of_a_stack(tmp_path) as (parent, report):
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert_nothing_is_left(tmp_path, report)


def test_servers_survive_ctrl_c_until_the_parent_is_done(tmp_path: Path) -> None:
    with parent_of_a_stack(tmp_path) as (parent, report):
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout is not None
        assert parent.stdout.readline() == "still here\n"
        assert parent.wait(END_TIMEOUT_SECONDS) == 0
        assert group_is_empty(report[1])  # at once: the parent waited for it
        assert_nothing_is_left(tmp_path, report)


def test_the_redis_stand_in_speaks_lua_and_publishes(tmp_path: Path) -> None:
    servers, notices = Servers(tmp_path), list[str]()
    try:
        url = embedded_redis.start(servers, None, notices.append)
        with redis_client.Redis.from_url(url) as connection, connection.pubsub() as subscriber:
            subscriber.subscribe("news")
            assert subscriber.get_message(timeout=5) is not None
            connection.eval("redis.call('SET', KEYS[1], ARGV[1])", 1, "key", "1")
            connection.publish("news", "key")
            message = subscriber.get_message(timeout=5)
    finally:
        servers.stop()
    assert message is not None and message["data"] == b"key"
    assert notices == [embedded_redis.STAND_IN_NOTICE]
