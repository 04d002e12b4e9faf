"""Asks a consumer how it is, as an orchestrator does."""

from http.client import HTTPConnection
from typing import Any

import orjson

from consumers.health import LOOPBACK

TIMEOUT_S = 5.0


def probe(port: int, path: str) -> tuple[int, Any]:
    """Return the status and what is said."""
    connection = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, orjson.loads(answer.read())
    finally:
        connection.close()
