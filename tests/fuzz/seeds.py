"""What the fuzz starts from, and what it once found: text files of one bytes literal a line.

Text, so that a difference can be read and two branches merged. `corpus` holds one input of every
kind that an earlier run met, `regressions` every input that ever broke a claim; both are replayed
by the tests.
"""

import ast
from collections.abc import Iterable
from pathlib import Path

from pipeline.core.reasons import EXAMPLES, Reason
from pipeline.core.records import UserRecord, write_aggregate
from tests.fuzz.dice import Dice
from tests.fuzz.shapes import Pool, built_event

HERE = Path(__file__).parent
NAMES = ("event", "record")
_PLAIN = built_event(Dice(b""))


def stored(folder: str, name: str) -> list[bytes]:
    """Read the inputs of one target; none if there is no such file."""
    path = HERE / folder / f"{name}.txt"
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    return [ast.literal_eval(line) for line in lines if line.startswith("b")]


def store(folder: str, name: str, inputs: Iterable[bytes], why: str = "") -> Path:
    """Append inputs that are not there yet, under a comment."""
    path = HERE / folder / f"{name}.txt"
    known = set(stored(folder, name))
    lines = [f"# {' '.join(why.split())}".encode("ascii", "backslashreplace").decode()] * bool(why)
    lines += [ascii(data) for data in inputs if data not in known]
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="ascii") as file:
        file.writelines(line + "\n" for line in lines)
    return path


def replayed(name: str) -> list[bytes]:
    """List every input of one target that is kept."""
    return stored("regressions", name) + stored("corpus", name)


def first_pool() -> Pool:
    """Gather the seeds; the plainest comes first."""
    events = (_PLAIN, *EXAMPLES.values(), *replayed("event"))
    good = UserRecord("a", _PLAIN), UserRecord("b", b"[]", 5)
    records = (
        write_aggregate(good),
        write_aggregate([]),
        write_aggregate([*good, UserRecord("a", write_aggregate(good))]),
        EXAMPLES[Reason.BAD_AGGREGATE],
        *replayed("record"),
    )
    return Pool(events, records)
