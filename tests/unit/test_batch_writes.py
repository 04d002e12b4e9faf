"""What `BatchWrites` makes of the answers that no server on a laptop gives.

The service here is a few lines: it refuses what DynamoDB refuses as a whole, keeps each request,
and answers each item with the errors that the test names, one a request, then with success. That
the statements mean what they should is the business of the contract suites, on real servers.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NamedTuple

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from pipeline.adapters._aws import Aws
from pipeline.adapters.dynamodb.batches import BatchWrites
from pipeline.adapters.dynamodb.writes import Guard, Outcome, Write
from pipeline.core.errors import SystemFault, TransientFault

MODEL: Any = botocore.session.get_session().get_service_model("dynamodb")
REQUEST = MODEL.operation_model("BatchExecuteStatement").input_shape
CODES = frozenset(MODEL.shape_for("BatchStatementErrorCodeEnum").enum)
PASSING = [
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ThrottlingError",
    "TransactionConflict",
]
REFUSALS = ["ConditionalCheckFailed", "DuplicateItem"]
LASTING = ["AccessDenied", "ItemCollectionSizeLimitExceeded", "ResourceNotFound", "ValidationError"]
WRITTEN, REFUSED = Outcome.WRITTEN, Outcome.REFUSED


class Sent(NamedTuple):
    """One statement as the service saw it."""

    verb: str
    key: str
    text: str


class Service:
    """BatchExecuteStatement over tables with one key, `id`."""

    def __init__(self, **errors: Sequence[str]) -> None:
        self.requests: list[list[Sent]] = []
        self._errors = {key: list(codes) for key, codes in errors.items()}
        self._lock = Lock()
        self.whole: list[str] = []
        self.change: Callable[[list[Any]], list[Any]] = list

    def batch_execute_statement(self, **request: Any) -> dict[str, Any]:
        validate_parameters(request, REQUEST)
        sent = [_sent(**statement) for statement in request["Statements"]]
        with self._lock:
            if self.whole:
                raise ClientError({"Error": {"Code": self.whole.pop()}}, "BatchExecuteStatement")
            items = [(one.text.split('"')[1], one.key) for one in sent]
            assert len(set(items)) == len(items), "Provided list of item keys contains duplicates"
            self.requests.append(sent)
            return {"Responses": self.change([self._response(one.key) for one in sent])}

    def _response(self, key: str) -> dict[str, Any]:
        codes = self._errors.get(key)
        return {"Error": {"Code": codes.pop(0), "Message": "injected"}} if codes else {}

    @property
    def sizes(self) -> list[int]:
        return sorted(map(len, self.requests), reverse=True)

    @property
    def verbs(self) -> list[tuple[str, str]]:
        return [(one.verb, one.key) for request in self.requests for one in request]


def _sent(Statement: str, Parameters: list[Any]) -> Sent:
    verb = Statement.split()[0]
    assert Statement.count("?") == len(Parameters)
    return Sent(verb, Parameters[0 if verb == "INSERT" else -2]["S"], Statement)


def write(service: Service, *writes: Write) -> list[Outcome | None]:
    aws = Aws("us-east-1", None, calls_in_flight_max=4, call_timeout_s=1)
    vars(aws)["dynamodb"] = service
    return list(BatchWrites(aws).write(writes))


def put(key: str, kind: Any = "absent", value: int = 1, table: str = "t") -> Write:
    values = {"version": {"N": str(value)}, "text": {"S": f"text of {key}"}}
    return Write(table, {"id": {"S": key}}, values, Guard(kind, "version", value))


def many(count: int) -> list[Write]:
    return [put(f"k{number}") for number in range(count)]


# ------------------------------------------------------------------------------------ requests
def test_nothing_is_sent_for_no_writes() -> None:
    service = Service()
    assert (write(service), service.requests) == ([], [])


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (25, [25]), (26, [25, 1]), (60, [25, 25, 10])]
)
def test_a_request_takes_25_statements(count: int, sizes: list[int]) -> None:
    service = Service()
    assert (write(service, *many(count)), service.sizes) == ([WRITTEN] * count, sizes)


def test_the_order_is_kept_within_a_request() -> None:
    service = Service()
    write(service, *many(20))
    assert service.verbs == [("INSERT", f"k{number}") for number in range(20)]


def test_an_item_is_in_a_request_once() -> None:
    service = Service()
    write(service, put("a"), put("b"), put("a", "equals", 1), put("a", "equals", 2))
    assert service.requests[0][0].text == service.requests[0][1].text
    assert [[one.key for one in sent] for sent in service.requests] == [["a", "b"], ["a"], ["a"]]


def test_the_writes_of_one_item_are_answered_in_their_order() -> None:
    service = Service(a=["DuplicateItem", "ThrottlingError"])
    outcomes = write(service, put("a"), put("a", "equals", 1), put("a", "equals", 2))
    assert outcomes == [REFUSED, None, WRITTEN]


def test_one_key_in_two_tables_is_two_items() -> None:
    service = Service()
    write(service, put("a"), put("a", table="u"))
    assert service.sizes == [2]


def test_values_are_not_in_the_text() -> None:
    service = Service()
    write(service, put("it's?"), put("it's?", "below"), put("it's?", "absent_or_below"))
    assert not [one for sent in service.requests for one in sent if "it's" in one.text]


# ------------------------------------------------------------------------------------- answers
def test_every_write_has_its_own_outcome() -> None:
    errors = {f"k{n}": ["DuplicateItem"] for n in range(0, 60, 7)}
    errors |= {f"k{n}": ["ThrottlingError"] for n in range(3, 60, 7)}
    outcomes = write(Service(**errors), *many(60))
    assert outcomes == [{0: REFUSED, 3: None}.get(n % 7, WRITTEN) for n in range(60)]


@pytest.mark.parametrize("code", PASSING)
def test_a_statement_that_may_pass_later_is_not_known(code: str) -> None:
    assert write(Service(b=[code]), put("a"), put("b"), put("c")) == [WRITTEN, None, WRITTEN]


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("kind", ["absent", "equals", "below"])
def test_a_condition_that_does_not_hold_is_a_refusal(kind: str, code: str) -> None:
    assert write(Service(a=[code]), put("a", kind), put("b", kind)) == [REFUSED, WRITTEN]


@pytest.mark.parametrize("code", [*LASTING, "NewCode"])
def test_an_error_that_no_waiting_mends_is_raised(code: str) -> None:
    with pytest.raises(SystemFault, match=f"{code}: injected: INSERT") as caught:
        write(Service(b=[code]), put("a"), put("b"))
    assert not isinstance(caught.value, TransientFault)


def test_every_code_of_the_service_is_one_of_these() -> None:
    assert sorted([*PASSING, *REFUSALS, *LASTING]) == sorted(CODES)


def test_a_call_that_was_throttled_leaves_its_own_writes_unknown() -> None:
    service = Service()
    service.whole = ["ThrottlingException"]
    outcomes = write(service, *many(50))
    assert sorted(outcomes.count(outcome) for outcome in (None, WRITTEN)) == [25, 25]


def test_a_call_that_was_denied_is_raised() -> None:
    service = Service()
    service.whole = ["AccessDeniedException"]
    with pytest.raises(SystemFault, match="AccessDeniedException"):
        write(service, *many(3))


@pytest.mark.parametrize("change", [lambda responses: responses[:-1], lambda r: [*r, {}]])
def test_a_response_too_few_or_too_many_is_raised(change: Callable[[list[Any]], list[Any]]) -> None:
    service = Service()
    service.change = change
    with pytest.raises(SystemFault, match=r"3 statements got [24] responses"):
        write(service, *many(3))


# ------------------------------------------------------------------------- insert, or raise
def test_an_upsert_inserts_first_and_updates_what_was_there() -> None:
    service = Service(b=["DuplicateItem"])
    outcomes = write(service, *(put(key, "absent_or_below") for key in "abc"))
    assert outcomes == [WRITTEN] * 3
    assert service.verbs == [("INSERT", "a"), ("INSERT", "b"), ("INSERT", "c"), ("UPDATE", "b")]


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        (["DuplicateItem", "ConditionalCheckFailed"], REFUSED),
        (["DuplicateItem", "ThrottlingError"], None),
        (["ThrottlingError"], None),
    ],
)
def test_an_upsert_has_the_outcome_of_its_last_statement(
    codes: list[str], outcome: Outcome | None
) -> None:
    service = Service(a=codes)
    assert write(service, put("a", "absent_or_below")) == [outcome]
    assert len(service.requests) == len(codes)


def test_only_an_upsert_is_tried_as_an_update() -> None:
    service = Service(a=["DuplicateItem"])
    assert (write(service, put("a")), service.verbs) == ([REFUSED], [("INSERT", "a")])
