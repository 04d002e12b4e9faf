"""The parent of LocalStack, PostgreSQL and Redis: starts them, stops them when told to.

Runs as `python -m consumers.localstack.keeper FOLDER PART=ADDRESS...` in a session of its own, so
that the servers outlive the command that started them. stdout carries one JSON object a line until
the servers are ready: `notice`, then `ready` or `error`. SIGTERM ends it and them.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from shutil import rmtree

import psycopg
from psycopg import sql

from consumers.embedded import EmbeddedStackError, postgres, redis
from consumers.embedded.servers import Servers
from consumers.localstack import processes
from consumers.localstack.installation import Installation
from consumers.localstack.parts import AWS, PARTS, POSTGRES, REDIS, Part
from pipeline.adapters._aws import translated
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.core.errors import SystemFault
from pipeline.settings import Settings

POLL_S = 0.1
FIRST_CALL_S = 240
"""For the first call to a service: LocalStack installs kinesis-mock at that of Kinesis."""

# In memory, so that what is left of one run cannot meet the next. Streams change state at once:
# LocalStack's CloudFormation looks again at a stream that is not ready after 5 s only. In effect no
# limit on shards, since many stacks share one LocalStack in tests; which also let it fail a while.
ENVIRONMENT = {
    "OVERRIDE_IN_DOCKER": "0",
    "DISABLE_EVENTS": "1",
    "ENABLE_CONFIG_UPDATES": "1",
    "SKIP_SSL_CERT_DOWNLOAD": "1",
    "DYNAMODB_IN_MEMORY": "1",
    "KINESIS_PERSISTENCE": "0",
    "KINESIS_LATENCY": "0",
    "KINESIS_SHARD_LIMIT": "10000",
    "LS_LOG": "warn",
}
OF_THIS_MACHINE = frozenset({"OVERRIDE_IN_DOCKER", "SKIP_SSL_CERT_DOWNLOAD"})
"""What a container is not told: that it is none, and what it may not download."""


def main(arguments: list[str]) -> int:
    """Run the named parts until SIGTERM; return 1 if they could not start."""
    folder, wanted = Path(arguments[0]), [_part(argument) for argument in arguments[1:]]
    leaving = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A flag and no exception: the clean-up must not be interrupted by a second signal.
        signal.signal(number, lambda *_: leaving.set())
    servers = Servers(_empty(folder / "run"))
    try:
        _start(servers, Installation(folder), wanted, leaving)
        _say("ready", "")
        leaving.wait()
    except BrokenPipeError:
        return 1  # whoever started this has gone before it was ready
    except EmbeddedStackError as fault:  # with the end of the server's log
        _say("error", str(fault))
        return 1
    except SystemFault as fault:
        _say("error", str(fault).partition("\n")[0])
        return 1
    finally:
        servers.stop()
        processes.kill(folder)  # what LocalStack started and did not stop
        servers.remove_files()
    return 0


def _part(argument: str) -> Part:
    name, _, address = argument.partition("=")
    return next(replace(part, address=address) for part in PARTS if part.name == name)


def _empty(folder: Path) -> Path:
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _start(
    servers: Servers, installation: Installation, wanted: list[Part], leaving: threading.Event
) -> None:
    steps: dict[str, Callable[[Servers, Part], None]] = {
        AWS.name: partial(start_localstack, installation),
        POSTGRES.name: start_postgres,
        REDIS.name: start_redis,
    }
    with ThreadPoolExecutor(len(steps)) as pool:
        left = {pool.submit(steps[part.name], servers, part): part.name for part in wanted}
        while left:
            done, _ = wait(left, POLL_S, FIRST_COMPLETED)
            if leaving.is_set() or any(starting.exception() for starting in done):
                servers.stop()  # ends the waits of the others
            for starting in done:
                name = left.pop(starting)
                starting.result()
                _say("notice", f"{name} is ready")


def start_localstack(installation: Installation, servers: Servers, part: Part) -> None:
    """Start LocalStack and the services that are slow at their first call."""
    for state in (installation.root / "var").glob("lib/localstack/*"):
        if state != installation.library:  # of a run that was killed
            rmtree(state)
    variables = ENVIRONMENT | {
        "FILESYSTEM_ROOT": str(installation.root),
        "GATEWAY_LISTEN": f"{part.host}:{part.port}",
    }
    server = servers.launch(
        "localstack",
        [
            "env",
            *(f"{name}={value}" for name, value in variables.items()),
            *(installation.python, "-P", "-m", "localstack.runtime.main"),
        ],
    )
    server.wait_until(lambda: part.version() is not None)
    patient = timedelta(seconds=FIRST_CALL_S)
    there = Settings(target="localstack", endpoint_url=part.address, call_timeout=patient)
    aws = AwsPorts(there, SystemClock()).aws
    with translated("the first call to DynamoDB"):
        aws.dynamodb.list_tables()
    with translated("the first call to Kinesis"):
        aws.kinesis.list_streams()


def start_postgres(servers: Servers, part: Part) -> None:
    """Start PostgreSQL with the database and the role of the settings, who is no superuser.

    Its password is in the project's sources: with it nobody may run programs on this machine.
    """
    role, database = sql.Identifier(part.user), sql.Identifier(part.path)
    password = sql.Literal(part.password)
    with psycopg.connect(postgres.start(servers, part.port), autocommit=True) as server:
        server.execute(
            sql.SQL("create role {} login createdb createrole password {}").format(role, password)
        )
        server.execute(sql.SQL("create database {} owner {}").format(database, role))


def start_redis(servers: Servers, part: Part) -> None:
    """Start Redis with the password of the settings."""
    executable = redis.find_executable()
    if executable is None:
        raise EmbeddedStackError("there is no Redis here: install redis-server or valkey-server")
    redis.start_at(servers, executable, part.port, part.password)


def _say(kind: str, content: str) -> None:
    sys.stdout.write(json.dumps({kind: content}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
