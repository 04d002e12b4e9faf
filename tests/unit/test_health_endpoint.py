"""What a consumer says of itself over HTTP."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from consumers.embedded.servers import free_port
from consumers.health import LOOPBACK, Address, Pulse, served
from pipeline.core.errors import UsageError
from pipeline.runtime.health import Health
from tests.probes import probe

AT_WORK, WAITING = Health({}, 0.0), Health({"shard-1": "connection refused"}, 3.25)


@contextmanager
def endpoint(health: Health | None) -> Iterator[int]:
    """Serve a consumer that reads one shard; None: one that has not started."""
    pulse, port = Pulse("etl"), free_port()
    if health is not None:
        pulse.begin(lambda: health, lambda: ["shard-1"])
        pulse.moved("shard-0", 7)  # a shard that has ended
        pulse.moved("shard-1", 40)
    with served(Address(port), pulse):
        yield port


def test_consumer_at_work_is_well() -> None:
    with endpoint(AT_WORK) as port:
        assert probe(port, "/health") == (
            200,
            {
                "consumer": "etl",
                "ok": True,
                "started": True,
                "waiting": {},
                "waiting_s": 0.0,
                "shards": {"shard-1": {"behind_ms": 40}},
            },
        )


def test_consumer_that_waits_says_which_shard_and_why() -> None:
    with endpoint(WAITING) as port:
        status, told = probe(port, "/health")
    assert (status, told["ok"], told["waiting_s"]) == (503, False, 3.25)
    assert told["waiting"] == {"shard-1": "connection refused"}


def test_consumer_that_starts_is_not_ready() -> None:
    with endpoint(None) as port:
        status, told = probe(port, "/health")
    assert (status, told["ok"], told["started"]) == (503, False, False)


@pytest.mark.parametrize("health", [AT_WORK, WAITING, None])
def test_process_that_runs_is_alive(health: Health | None) -> None:
    with endpoint(health) as port:
        assert probe(port, "/live") == (200, {"live": True})


def test_other_paths_are_not_there() -> None:
    with endpoint(AT_WORK) as port:
        assert probe(port, "/metrics")[0] == 404


def test_port_that_is_taken_is_named() -> None:
    with (
        endpoint(AT_WORK) as port,
        pytest.raises(UsageError, match=f"--health-port {port}: cannot listen on {LOOPBACK}"),
        served(Address(port), Pulse("cache")),
    ):
        pass


def test_nobody_listens_afterwards() -> None:
    with endpoint(AT_WORK) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        probe(port, "/live")


def test_silent_peer_holds_up_neither_others_nor_the_end() -> None:
    with endpoint(AT_WORK) as port, socket.create_connection((LOOPBACK, port)):
        assert probe(port, "/live")[0] == 200


def test_nothing_is_served_unless_asked_for() -> None:
    with served(None, Pulse("etl")):
        pass
