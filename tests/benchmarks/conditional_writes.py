"""What a conditional write costs its client: one call an item, beside 25 statements a call.

    python -m tests.benchmarks.conditional_writes [ENDPOINT_URL [ROUNDS]]

Against a DynamoDB that knows PartiQL: LocalStack by default, or DynamoDB Local; moto does not. A
table of its own is made and dropped. Both writers insert the same claims under fresh ids and then
raise them with a compare-and-set, in turns in one process. Counted is this process's CPU time,
which decides how many events a second a consumer can write; the clock's time is the emulator's.
Times differ between machines: the medians' ratio counts.
"""

import gc
import resource
import statistics
import sys
from collections.abc import Callable
from itertools import count

from pipeline.adapters._aws import Aws
from pipeline.adapters.dynamodb import BatchWrites, ConditionalWriter, SingleWrites
from pipeline.adapters.dynamodb.items import number, text
from pipeline.adapters.dynamodb.writes import Guard, Outcome, Write
from pipeline.settings import LOCALSTACK

TABLE = "conditional-writes-benchmark"
ITEMS, ROUNDS = 1_000, 5
_ids = count()


def cpu_s() -> float:
    """Return the CPU time of this process, all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def inserts() -> list[Write]:
    """Make claims as large as the real ones."""
    values = {"version": number(1), "fingerprint": text("v1:" + "f" * 32)}
    values |= {"position": text("p" * 90), "event": text("e" * 350)}
    keys = [{"id": text(f"transaction-{next(_ids):020d}")} for _ in range(ITEMS)]
    return [Write(TABLE, key, values, Guard("absent", "id")) for key in keys]


def updates(inserted: list[Write]) -> list[Write]:
    """Raise the versions of what was inserted."""
    guard = Guard("equals", "version", 1)
    values = {**inserted[0].values, "version": number(2)}
    return [write._replace(values=values, guard=guard) for write in inserted]


def spent_us(writer: ConditionalWriter, writes: list[Write]) -> float:
    """Write all; return the CPU time of one item in microseconds."""
    gc.collect()
    began = cpu_s()
    outcomes = writer.write(writes)
    spent = cpu_s() - began
    assert set(outcomes) == {Outcome.WRITTEN}
    return spent / len(writes) * 1e6


def rounds(aws: Aws, times: int) -> dict[str, dict[str, list[float]]]:
    """Measure both writers in turns; the first round warms up and is dropped."""
    writers: dict[str, Callable[[Aws], ConditionalWriter]]
    writers = {"single": SingleWrites, "batch": BatchWrites}
    found: dict[str, dict[str, list[float]]] = {"insert": {}, "compare-and-set": {}}
    for _ in range(times + 1):
        for name, writer in writers.items():
            inserted = inserts()
            for kind, writes in (("insert", inserted), ("compare-and-set", updates(inserted))):
                found[kind].setdefault(name, []).append(spent_us(writer(aws), writes))
    return {kind: {name: us[1:] for name, us in each.items()} for kind, each in found.items()}


def main(endpoint_url: str, times: int) -> None:
    """Print the median cost of an item in both ways, and their ratio."""
    aws = Aws("us-east-1", endpoint_url, 8, 30.0, test_credentials=True)
    aws.dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    try:
        sys.stdout.write(f"{'CPU an item':<18}{'single':>10}{'batch':>10}{'single / batch':>17}\n")
        for kind, each in rounds(aws, times).items():
            single, batch = (statistics.median(each[name]) for name in ("single", "batch"))
            sys.stdout.write(
                f"{kind:<18}{single:>7.0f} us{batch:>7.0f} us{single / batch:>17.1f}\n"
            )
    finally:
        aws.dynamodb.delete_table(TableName=TABLE)


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else LOCALSTACK["endpoint_url"],
        int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS,
    )
