"""The functions as Lambda calls them: from the environment's settings, to JSON on stdout."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from consumers.handlers import Consumer
from infra.bundles import ROOT
from pipeline.settings import Settings
from tests.engines.lambda_rig import event

STREAMS = {"inventory": "pos-events", "cache": "inventory-changes", "etl": "inventory-changes"}
PROGRAM = """
import json, sys
from consumers.engines import aws_lambda

class Context:
    aws_request_id = "request-7"

    def get_remaining_time_in_millis(self):
        return 60_000

handler = getattr(aws_lambda, sys.argv[1] + "_handler")
print(json.dumps(handler(json.load(sys.stdin), Context())))
"""


class Unavailable(BaseHTTPRequestHandler):
    """A service that is there, and out of order."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def endpoint_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module", params=list(Consumer))
def told(request: pytest.FixtureRequest, endpoint_url: str) -> tuple[Consumer, list[Any]]:
    """Call a function in a process of its own; return the consumer and the lines it wrote."""
    consumer: Consumer = request.param
    said = {"endpoint_url": endpoint_url, "aws_credentials": "test", "retry_budget": 0}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(consumer)],
        cwd=ROOT,
        env=Settings.model_validate(said).environment(),
        input=json.dumps(event(4, 5, stream=f"tillstream-{STREAMS[consumer]}")).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return consumer, [json.loads(line) for line in done.stdout.splitlines()]


def test_stores_out_of_order_bring_the_batch_back(told: tuple[Consumer, list[Any]]) -> None:
    assert told[1][-1] == {"batchItemFailures": [{"itemIdentifier": "4"}]}


def test_a_fault_is_told_once_and_as_json(told: tuple[Consumer, list[Any]]) -> None:
    consumer, lines = told
    (log,) = [line for line in lines if "level" in line]
    assert (log["level"], log["service"], log["request_id"]) == (
        "WARNING",
        "tillstream",
        "request-7",
    )
    assert log["message"].startswith(f"{consumer}: ")
    assert log["message"].endswith("2 of 2 records come again")


def test_metrics_are_written_for_the_consumer(told: tuple[Consumer, list[Any]]) -> None:
    consumer, lines = told
    (metrics,) = [line for line in lines if "_aws" in line]
    assert (metrics["consumer"], metrics["unfinished"]) == (str(consumer), [2.0])
