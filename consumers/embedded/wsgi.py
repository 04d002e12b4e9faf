"""An HTTP/1.1 server for one WSGI application: one thread, connections kept alive.

Measured with eight client threads making conditional writes to moto on two cores: the stock server
(a thread a connection) 290 a second, waitress and cheroot with one worker thread 425, this one 580,
and 790 with the host cache of moto.py. The difference is threads contending for the interpreter.
A server for tests: no TLS, no time-outs, no limit on the number of connections.
"""

from __future__ import annotations

import asyncio
import io
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HEAD_BYTES_MAX = 64 * 1024
END_OF_HEAD = b"\r\n\r\n"
NO_BODY_STATUSES = ("1", "204", "304")


class BadRequest(Exception):
    """The peer does not speak HTTP/1.x as we understand it."""


@dataclass(frozen=True)
class Head:
    """The request line and the headers, names in lower case."""

    method: str
    target: str
    version: str
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        default = "keep-alive" if self.version == "HTTP/1.1" else "close"
        return self.headers.get("connection", default).lower() != "close"


def parse_head(raw: bytes) -> Head:
    """Parse what stands before the empty line; repeated headers are joined by commas."""
    request_line, *lines = raw.decode("latin-1").split("\r\n")
    parts = request_line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(request_line)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(line)
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    method, target, version = parts
    return Head(method, target, version, headers)


def take_body(head: Head, buffer: bytearray) -> bytes | None:
    """Remove the body from the start of `buffer` and return it, or None while it is incomplete."""
    if head.headers.get("transfer-encoding", "").lower() == "chunked":
        return _take_chunks(buffer)
    length = head.headers.get("content-length", "0")
    if not length.isdecimal():
        raise BadRequest(f"Content-Length: {length}")
    if len(buffer) < int(length):
        return None
    body = bytes(buffer[: int(length)])
    del buffer[: int(length)]
    return body


def _take_chunks(buffer: bytearray) -> bytes | None:
    chunks: list[bytes] = []
    position = 0
    while (end := buffer.find(b"\r\n", position)) >= 0:
        try:
            size = int(buffer[position:end].partition(b";")[0], 16)
        except ValueError:
            raise BadRequest("chunk size") from None
        start, position = end + 2, end + 2 + size + 2
        if len(buffer) < position:
            return None
        if size == 0:
            # No trailers: the AWS SDKs put theirs inside the body (aws-chunked).
            del buffer[:position]
            return b"".join(chunks)
        chunks.append(bytes(buffer[start : start + size]))
    return None


def environ_of(head: Head, body: bytes) -> dict[str, Any]:
    """Build the WSGI environment, with RAW_URI for applications that need undecoded paths."""
    path, _, query = head.target.partition("?")
    environ: dict[str, Any] = {
        f"HTTP_{name.upper().replace('-', '_')}": value for name, value in head.headers.items()
    }
    environ |= {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": head.target,
        "REQUEST_URI": head.target,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": head.headers.get("host", "").rpartition(":")[2] or "80",
        "SERVER_PROTOCOL": head.version,
        "CONTENT_TYPE": head.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    environ.pop("HTTP_TRANSFER_ENCODING", None)  # the body is already whole
    return environ


def respond(application: WSGIApplication, head: Head, body: bytes) -> bytes:
    """Call the application and return the whole response as it goes over the wire."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
        started[:] = [(status, headers)]

    chunks = application(environ_of(head, body), start_response)
    content = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    ((status, headers),) = started
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() != "content-length"]
    lines += _length(head, status, headers, content)
    if not head.keep_alive:
        lines.append("Connection: close")
    if head.method == "HEAD":
        content = b""
    return "\r\n".join(lines).encode("latin-1") + END_OF_HEAD + content


def _length(head: Head, status: str, headers: list[tuple[str, str]], content: bytes) -> list[str]:
    if status.startswith(NO_BODY_STATUSES):
        return []
    declared = {name.lower(): value for name, value in headers}.get("content-length")
    length = declared if head.method == "HEAD" and declared else str(len(content))
    return [f"Content-Length: {length}"]


class Connection(asyncio.Protocol):
    """One client's connection: requests are answered in order, each before the next is read."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._buffer = bytearray()
        self._head: Head | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while self._answer_one():
                pass
        except BadRequest:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            self._transport.close()

    def _answer_one(self) -> bool:
        head = self._head or self._take_head()
        if head is None:
            return False
        body = take_body(head, self._buffer)
        if body is None:
            return False
        self._head = None
        self._transport.write(self._response(head, body))
        if not head.keep_alive:
            self._transport.close()
        return head.keep_alive

    def _take_head(self) -> Head | None:
        end = self._buffer.find(END_OF_HEAD)
        if end < 0:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise BadRequest("the head is too long")
            return None
        self._head = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + len(END_OF_HEAD)]
        if self._head.headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._head

    def _response(self, head: Head, body: bytes) -> bytes:
        try:
            return respond(self._application, head, body)
        except Exception:  # noqa: BLE001 - nothing is hidden: the client and the log get all of it
            report = traceback.format_exc()
            sys.stderr.write(report)
            content = report.encode()
            start = f"HTTP/1.1 500 Internal Server Error\r\nContent-Length: {len(content)}"
            return start.encode() + END_OF_HEAD + content


def serve(application: WSGIApplication, listener: socket.socket) -> None:
    """Answer requests on a listening socket until the process is stopped."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(application), sock=listener)
        await server.serve_forever()

    asyncio.run(run())
