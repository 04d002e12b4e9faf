"""How a connection to PostgreSQL is made: DSN, TLS, login, and what the faults of one mean.

Kept apart from what is asked of the server, so that the loader, the migrations and the reports
connect alike. With `token` set, each new connection asks for a password of its own: an IAM token
of RDS is good for fifteen minutes of connecting, not for a session, so nothing renews one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, LiteralString, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolClosed

from pipeline.core.errors import SystemFault, TransientFault, UsageError, ValueRefused

Tls: TypeAlias = Literal["prefer", "require", "verify-ca", "verify-full"]
Token: TypeAlias = Callable[[str, int, str], str]
"""Makes a password from host, port and user."""
Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

DEFAULT_PORT = 5432
_ENCRYPTED = ("require", "verify-ca", "verify-full")
# Under whatever the DSN says itself. A peer that vanished without a word is noticed in a minute.
_CONNECTION_DEFAULTS: Mapping[str, str | int] = {
    "application_name": "tillstream",
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
# Classes of SQLSTATE that a second try may mend: connection, rollback (deadlock, serialization),
# resources (connections, memory, disk), operator (shutdown, cancel, a time-out of ours).
# Source: PostgreSQL, appendix A.
_TRANSIENT_CLASSES = frozenset({"08", "40", "53", "57"})
_LOCK_NOT_AVAILABLE = "55P03"
READ_ONLY = "25006"  # a fail-over left us on the old primary, or its disk is full
# Classes that blame a value: data exception, integrity constraint, program limit (an index entry).
_VALUE_CLASSES = frozenset({"22", "23", "54"})
_NOT_MIGRATED = frozenset({"3F000", "42P01", "42703", "42883"})


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where a server is and how to log in. What is set here wins over the same in the DSN."""

    dsn: str
    tls: Tls | None = None
    ca_file: str | None = None
    token: Token | None = None

    def parameters(self) -> dict[str, Any]:
        """Return libpq's parameters, with a fresh token where tokens are used.

        Raises UsageError, which never quotes a password.
        """
        found = {**_CONNECTION_DEFAULTS, **_read(self.dsn)}
        if self.tls is not None:
            found["sslmode"] = self.tls
        if self.ca_file is not None:
            found["sslrootcert"] = self.ca_file
        if self.token is not None:
            found["password"] = self._password(found, self.token)
        return found

    def _password(self, found: Mapping[str, Any], token: Token) -> str:
        if found.get("sslmode") not in _ENCRYPTED:
            raise UsageError(
                "an IAM token travels as a password: set postgres_tls to verify-full or require"
            )
        host, user = found.get("host"), found.get("user")
        if not host or not user or "," in str(host):
            raise UsageError("IAM tokens are made for one host and one user: name both in the DSN")
        return token(str(host), int(found.get("port") or DEFAULT_PORT), str(user))

    def connect(self) -> Connection:
        """Open a connection."""
        return psycopg.connect(**self.parameters())

    @contextmanager
    def transaction(self, limits: LiteralString = "") -> Iterator[Connection]:
        """Lend a connection of its own in one transaction; `limits` is run first.

        Raises SystemFault for whatever the server raises.
        """
        try:
            with self.connect() as connection:
                if limits:
                    connection.execute(limits)
                yield connection
        except psycopg.Error as fault:
            raise translated(fault) from fault


def server(where: str | PostgresServer) -> PostgresServer:
    """Take a DSN for a server that needs no more."""
    return PostgresServer(where) if isinstance(where, str) else where


def _read(dsn: str) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # Without its cause: libpq quotes the text that it cannot read, password and all.
        raise UsageError("the PostgreSQL DSN cannot be read") from None
    if "@" in str(given.get("host")):  # the rest of a password with a bare @ shows up as the host
        raise UsageError("the PostgreSQL DSN has an @ in its password: write it as %40")
    return dict(given)


def translated(fault: psycopg.Error) -> SystemFault:
    """Say what may help: a second try, another batch, or neither.

    The details, which quote rows, stay in the cause.
    """
    state = fault.sqlstate
    line = str(fault).strip().partition("\n")[0]
    if _is_transient(fault, state):
        return TransientFault(f"PostgreSQL: {line}")
    if state is not None and state[:2] in _VALUE_CLASSES:
        return ValueRefused(f"PostgreSQL {state}: {line}")
    if state in _NOT_MIGRATED:
        return SystemFault(f"PostgreSQL {state}: {line} (has the warehouse been migrated?)")
    return SystemFault(f"PostgreSQL {state}: {line}")


def _is_transient(fault: psycopg.Error, state: str | None) -> bool:
    if state is None:  # libpq's own: refused, lost, timed out, or no connection left in the pool
        return isinstance(fault, psycopg.OperationalError) and not isinstance(fault, PoolClosed)
    return state[:2] in _TRANSIENT_CLASSES or state in (_LOCK_NOT_AVAILABLE, READ_ONLY)
