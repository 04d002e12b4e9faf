"""The three servers at the addresses of `target = localstack`, whoever started them."""

import json
import socket
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit

from pipeline.settings import LOCALSTACK

PROBE_TIMEOUT_S = 3

Ask = Callable[[str], str | None]
"""Return the version of the server that answers at an address to its credentials, or None."""


@dataclass(frozen=True)
class Part:
    """One server: where it is, and how to ask whether it is the one we mean."""

    name: str
    address: str
    ask: Ask

    @property
    def host(self) -> str:
        return urlsplit(self.address).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    @property
    def user(self) -> str:
        return urlsplit(self.address).username or ""

    @property
    def password(self) -> str:
        return urlsplit(self.address).password or ""

    @property
    def path(self) -> str:
        return urlsplit(self.address).path.strip("/")

    def version(self) -> str | None:
        """Return the version of the server that answers here to our credentials, or None."""
        return self.ask(self.address)

    def is_taken(self) -> bool:
        """Say whether anything listens on the port."""
        try:
            with socket.create_connection((self.host, self.port), PROBE_TIMEOUT_S):
                return True
        except OSError:
            return False


def localstack_version(address: str) -> str | None:
    """Ask LocalStack."""
    try:
        health = f"{address}/_localstack/health"
        with urllib.request.urlopen(health, timeout=PROBE_TIMEOUT_S) as answer:
            return str(json.load(answer)["version"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None


def postgres_version(address: str) -> str | None:
    """Ask PostgreSQL."""
    import psycopg  # a driver is not for every command that only starts

    try:
        with psycopg.connect(address, connect_timeout=PROBE_TIMEOUT_S) as connection:
            return connection.info.parameter_status("server_version")
    except psycopg.Error:
        return None


def redis_version(address: str) -> str | None:
    """Ask Redis."""
    import redis

    try:
        with redis.Redis.from_url(
            address, socket_timeout=PROBE_TIMEOUT_S, socket_connect_timeout=PROBE_TIMEOUT_S
        ) as client:
            return str(client.info("server")["redis_version"])
    except redis.RedisError:
        return None


AWS = Part("localstack", LOCALSTACK["endpoint_url"], localstack_version)
POSTGRES = Part("postgres", LOCALSTACK["postgres_dsn"], postgres_version)
REDIS = Part("redis", LOCALSTACK["redis_url"], redis_version)
PARTS = (AWS, POSTGRES, REDIS)
