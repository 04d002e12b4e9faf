"""AWS on a laptop: moto's Kinesis, DynamoDB, S3, SQS, CloudFormation and STS in their own process.

moto's backends are not thread-safe: a conditional write is a read followed by a write, and Kinesis
gives out the next sequence number without a lock. The stock server runs a thread a connection, so
two threads can both win `attribute_not_exists`. It is rare at Python's usual switch interval; at
10 us and with eight clients, 8 keys of 150 were won twice and 231 of 6,000 sequence numbers given
out twice. Here one thread serves every connection (wsgi.py): requests are atomic because they are
never concurrent, and, without threads fighting over the interpreter, nearly three times as many
are served in a second.

Consequence: a backend that calls back into this server would wait for itself. None of the services
named above does.
"""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request
from typing import Any

from consumers.embedded.servers import LOOPBACK, Servers

PROBE_TIMEOUT_SECONDS = 2.0


def start(servers: Servers) -> str:
    """Start the server and return its address once it answers."""
    # Bound here and handed over, so that no other process can take the port in between.
    with socket.create_server((LOOPBACK, 0), backlog=128) as listener:
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "consumers.embedded.moto", str(listener.fileno())]
        server = servers.launch("moto", command, listener=listener)
    server.wait_until(lambda: _answers(url))
    return url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/moto-api/", timeout=PROBE_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


def _application() -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    class Application(DomainDispatcherApplication):
        """moto's application with the answer to "whose host is this?" remembered.

        moto lists its own package folder to answer, once a request: a fifth of the request's time.
        """

        def __init__(self) -> None:
            super().__init__(create_backend_app)
            self._backends: dict[str | None, Any] = {}

        def get_backend_for_host(self, host: str | None) -> Any:
            if host not in self._backends:
                self._backends[host] = super().get_backend_for_host(host)
            return self._backends[host]

    return Application()


def main(arguments: list[str]) -> None:
    """Serve on the listening socket whose descriptor is the only argument."""
    from moto.backends import get_backend

    from consumers.embedded.wsgi import serve

    # CloudFormation imports most of moto, which takes some two seconds: now, while PostgreSQL
    # creates its files, and not in the first request.
    get_backend("cloudformation")
    serve(_application(), socket.socket(fileno=int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
