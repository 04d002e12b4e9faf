"""The health of one consumer over HTTP: for readiness probes, and for whoever is on call.

`GET /health` answers 200 while the consumer is at work and 503 while it starts or waits for its
sink. `GET /live` answers 200 for as long as the process runs, and is what may restart it: a
consumer that waits is not broken, and another one in its place would wait too.

Plain HTTP on loopback unless told otherwise: what it says names shards and the faults of servers,
never a record.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from threading import Thread
from typing import Any, NamedTuple

import orjson

from pipeline.core.errors import UsageError
from pipeline.runtime.health import Health

LOOPBACK = "127.0.0.1"
CLIENT_TIMEOUT_S = 5.0
"""A peer that connects and says nothing holds a thread no longer than this."""


class Address(NamedTuple):
    """Where to listen."""

    port: int
    host: str = LOOPBACK


def address(port: int | None, host: str | None) -> Address | None:
    """Read the options of the command line. Raises UsageError."""
    if port is None:
        if host is not None:
            raise UsageError("--health-host says where --health-port listens: name a port")
        return None
    return Address(port, host or LOOPBACK)


class Pulse:
    """How one consumer is, gathered from its handler and its engine. Safe from any thread."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer
        self._behind_ms: dict[str, int] = {}
        self._ask: Callable[[], Health] | None = None
        self._shards: Callable[[], list[str]] = list

    def begin(self, ask: Callable[[], Health], shards: Callable[[], list[str]]) -> None:
        """Take note that the consumer is at work; from here on it is asked itself."""
        self._shards, self._ask = shards, ask

    def moved(self, shard_id: str, behind_ms: int) -> None:
        """Take note of a batch."""
        self._behind_ms[shard_id] = behind_ms

    def report(self) -> Mapping[str, Any]:
        """Say how it is; `ok` decides the status."""
        health = Health({}, 0.0) if self._ask is None else self._ask()
        shards = {shard: {"behind_ms": self._behind_ms.get(shard)} for shard in self._shards()}
        return {
            "consumer": self._consumer,
            "ok": self._ask is not None and health.ok,
            "started": self._ask is not None,
            "waiting": health.waiting,
            "waiting_s": round(health.waiting_s, 3),
            "shards": shards,
        }


@contextmanager
def served(where: Address | None, pulse: Pulse) -> Iterator[None]:
    """Answer for the length of the block; nowhere if no address is given. Raises UsageError."""
    if where is None:
        yield
        return
    try:
        server = _Server(where, pulse)
    except OSError as fault:
        why = f"cannot listen on {where.host}: {fault.strerror}"
        raise UsageError(f"--health-port {where.port}: {why}") from None
    thread = Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    block_on_close = False  # a silent peer must not hold up the end of the consumer

    def __init__(self, where: Address, pulse: Pulse) -> None:
        self.pulse = pulse
        self.address_family = AF_INET6 if ":" in where.host else AF_INET
        super().__init__((where.host, where.port), _Answer)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the name service for its own name, which can take seconds.
        TCPServer.server_bind(self)


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/live":
            self._say(HTTPStatus.OK, {"live": True})
        elif path == "/health":
            report = self.server.pulse.report()
            status = HTTPStatus.OK if report["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
            self._say(status, report)
        else:
            self._say(HTTPStatus.NOT_FOUND, {"paths": ["/health", "/live"]})

    def _say(self, status: HTTPStatus, content: Mapping[str, Any]) -> None:
        body = orjson.dumps(content) + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""
