"""Faults between a real AWS client and its service, injected where botocore lets one listen.

Each of them is a context manager around some calls of one operation. `times` says how many calls
are hit, counted over all threads; the calls after that go through.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ReadTimeoutError

Answer = dict[str, Any]


class _Budget:
    """So many hits, whichever thread comes; a fault that hit nothing would prove nothing."""

    def __init__(self, times: int) -> None:
        self._left, self._lock, self.spent = times, Lock(), False

    def spend(self) -> bool:
        with self._lock:
            self._left -= 1
            self.spent = True
            return self._left >= 0


@contextmanager
def _listening(client: Any, event: str, handler: Callable[..., Any]) -> Iterator[None]:
    client.meta.events.register(event, handler)
    try:
        yield
    finally:
        client.meta.events.unregister(event, handler)


def _event(client: Any, moment: str, operation: str) -> str:
    return f"{moment}.{client.meta.service_model.service_id.hyphenize()}.{operation}"


@contextmanager
def answer_lost(client: Any, operation: str, times: int = 1) -> Iterator[None]:
    """Let the service act, and the answer get lost on its way back."""
    budget = _Budget(times)

    def lose(**_: Any) -> None:
        if budget.spend():
            raise ReadTimeoutError(endpoint_url="the service")

    with _listening(client, _event(client, "after-call", operation), lose):
        yield
    assert budget.spent, f"no {operation} was called"


@contextmanager
def refused(
    client: Any, operation: str, code: str, status: int = 400, times: int = 1
) -> Iterator[None]:
    """Have the service refuse with an error code, before it acts."""
    budget = _Budget(times)

    def refuse(**_: Any) -> tuple[AWSResponse, Answer] | None:
        if not budget.spend():
            return None
        answer: Answer = {
            "Error": {"Code": code, "Message": "injected"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        return AWSResponse("", status, HTTPHeaders(), None), answer

    with _listening(client, _event(client, "before-call", operation), refuse):
        yield
    assert budget.spent, f"no {operation} was called"


@contextmanager
def asked(client: Any, operation: str) -> Iterator[list[Answer]]:
    """Collect the parameters of every call of an operation."""
    requests: list[Answer] = []

    def note(params: Answer, **_: Any) -> None:
        requests.append(params)

    with _listening(client, _event(client, "provide-client-params", operation), note):
        yield requests


@contextmanager
def asked_with(client: Any, operation: str, **parameters: Any) -> Iterator[None]:
    """Add parameters to every call of an operation, such as a page size that a test can fill."""

    def add(params: Answer, **_: Any) -> Answer:
        return {**params, **parameters}

    with _listening(client, _event(client, "provide-client-params", operation), add):
        yield


@contextmanager
def answer_changed(
    client: Any, operation: str, change: Callable[[Answer], None], times: int = 1
) -> Iterator[None]:
    """Let the service act, and change what it says."""
    budget = _Budget(times)

    def alter(parsed: Answer, **_: Any) -> None:
        if budget.spend():
            change(parsed)

    with _listening(client, _event(client, "after-call", operation), alter):
        yield
    assert budget.spent, f"no {operation} was called"
