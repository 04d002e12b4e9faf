"""One run: an installation in memory, its workers, its traffic, and what befalls them.

The workers are the shipped ones: handlers, steps and folds, driven by the shard reader of the local
engine. The world only decides who runs next, who dies, who loses a lease and who sleeps through it.
After a while it calms down, so that every run comes to rest; zombies that still stand then wake
one by one, and must change nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from random import Random  # noqa: TID251 - seeded: one integer decides the whole run
from typing import Any
from unittest.mock import patch

from consumers import inventory
from consumers.cache import CacheHandler
from consumers.engines import local
from consumers.engines.local import LocalOptions, LocalPorts, ShardReader
from consumers.etl import EtlHandler
from pipeline.adapters.memory import MemoryStream
from pipeline.bootstrap import backoff, memory_ports
from pipeline.core import combo_state, combos, keyed_state
from pipeline.core.errors import BudgetExhausted, FellBehind, SystemFault
from pipeline.core.records import Batch
from pipeline.ports.streams import TRIM_HORIZON
from pipeline.runtime.handler import BatchReport, Handler
from pipeline.runtime.stock_reader import StockReader
from tests import reference
from tests.simulation.acts import Acts
from tests.simulation.chaos import Chaos, Outside
from tests.simulation.ledger import Ledger, Violation
from tests.simulation.profile import Profile, draw
from tests.simulation.scheduler import Scheduler, SimulatedClock, SimulatedHalt, Task
from tests.simulation.traffic import Act, Put, script
from tests.simulation.watch import Watch

CONSUMERS = ("inventory", "etl", "cache")
WAITS_FOR = {"warehouse": "etl", "cache": "cache"}
"""Who alone may stand still while a sink is down."""
STEPS_MAX = 60_000
IDLE_S = 1.0


class Watched:
    """A handler whose reports are compared with what it was given."""

    def __init__(self, world: "World", handler: Handler) -> None:
        self._world, self._handler = world, handler
        self.name, self.resume = handler.name, handler.resume

    def handle(self, batch: Batch) -> BatchReport:
        """Handle a batch, and say so."""
        first, last = batch.records[0].position, batch.records[-1].position
        span = f"{first.sequence} to {last.sequence}"
        self._world.tell("batch", f"{span} begins")
        report = self._handler.handle(batch)
        verdicts = []
        if self.name == "inventory":
            verdicts = self._world.watch.handled(batch, report)
        self._world.tell("batch", f"{span} done: {', '.join(verdicts)}".removesuffix(": "))
        return report


class World:
    """Everything of one run."""

    def __init__(self, seed: int, directed: Mapping[str, Any], keep_trace: bool = False) -> None:
        self.rng = Random(f"tillstream {seed}")
        self.profile = draw(self.rng, directed)
        self.scheduler = Scheduler(self.rng)
        self.clock = SimulatedClock(self.scheduler)
        self.trace: list[str] | None = [] if keep_trace else None
        self.settings = self.profile.settings()
        self.rules = self.settings.rules()
        self.ports = memory_ports(self.settings, self.profile.shards, self.clock.now)
        changes = MemoryStream(self.ports.changes.name, self.profile.change_shards, self.clock.now)
        object.__setattr__(self.ports, "changes", changes)  # frozen for users, not for its maker
        self.ledger = Ledger(self.ports.events, self.ports.claims, self.rules)
        self.watch = Watch(self.ports, self.ledger, self.rules)
        self.chaos = Chaos(self.scheduler, self.profile, self.watch, self.tell)
        self.chaos.telling = keep_trace
        self.outside: Any = Outside(self.chaos, self.ports)
        self.slots: dict[tuple[str, str], Task] = {}
        self.script = script(self.rng, self.profile)
        self.acts = Acts(self)
        self.finished: dict[str, set[str]] = {consumer: set() for consumer in CONSUMERS}
        self._readers: dict[str, ShardReader] = {}
        self.steps = self._count = 0
        self.mishaps: dict[str, int] = {}

    # ------------------------------------------------------------------------------------- trace
    def tell(self, what: str, outcome: str) -> None:
        """Note one line of the trace."""
        if self.trace is not None:
            who = self.scheduler.current.name if self.scheduler.current else "world"
            self.trace.append(f"{self.scheduler.now_s:10.3f}  {who:<26}  {what:<20}  {outcome}")

    def happen(self, what: str, to: str) -> None:
        """Count a mishap and note it."""
        self.mishaps[what] = self.mishaps.get(what, 0) + 1
        self.tell(what, to)

    # ----------------------------------------------------------------------------------- workers
    def _work(self, consumer: str, shard_id: str, owner: str) -> Callable[[], None]:
        def work() -> None:
            patience = backoff(self.settings, self.clock)
            stream = self.outside.events if consumer == "inventory" else self.outside.changes
            options = LocalOptions(owner, self.profile.batch_max, IDLE_S)
            halt = SimulatedHalt(self.scheduler)
            ports = LocalPorts(stream, self.outside.checkpoints, self.clock, patience, halt)
            source = self.ports.events if consumer == "inventory" else self.ports.changes
            shard = next(shard for shard in source.shards() if shard.shard_id == shard_id)
            handler = Watched(self, self._handler(consumer))
            reader = ShardReader(shard, handler, ports, options, lambda *_: None)
            self._readers[owner] = reader
            reader.run()
            if reader.finished:
                self.finished[consumer].add(shard_id)

        return work

    def _handler(self, consumer: str) -> Handler:
        patience, outside = backoff(self.settings, self.clock), self.outside
        if consumer == "etl":
            return EtlHandler(outside.warehouse, outside.quarantine, patience)
        if consumer == "cache":
            return CacheHandler(outside.cache, outside.quarantine, patience)
        return inventory.build(self.settings, outside, self.clock, TRIM_HORIZON)

    def start(self, consumer: str, shard_id: str) -> None:
        """Give a shard to a new worker, whoever had it before."""
        self._count += 1
        name = f"{consumer}/{shard_id[-2:]}#{self._count}"
        task = self.scheduler.spawn(name, self._work(consumer, shard_id, name))
        self.slots[consumer, shard_id] = task
        self.tell("start", name)

    def supervise(self) -> None:
        """Start every shard that has no live worker, once its parents are finished."""
        for consumer, finished in self.finished.items():
            stream = self.ports.events if consumer == "inventory" else self.ports.changes
            for shard in stream.shards():
                task = self.slots.get((consumer, shard.shard_id))
                waits = task is None or task.done
                ready = waits and finished.issuperset(shard.parents)
                if ready and shard.shard_id not in finished:
                    self.start(consumer, shard.shard_id)

    def read_stock(self) -> None:
        """Ask for a few levels through the cache, as a till's screen does."""
        reader = StockReader(
            self.outside.cache, self.outside.states, backoff(self.settings, self.clock)
        )
        for _ in range(5):
            known = sorted(k.parts for k in self.ports.states.items if k.fold == "stock")
            if known:
                parts = self.rng.choice(known)
                with suppress(SystemFault):
                    self._judge(parts, reader.read(*parts))
            self.scheduler.sleep(self.rng.choice((0.1, 3.0)))

    def _judge(self, parts: tuple[str, ...], level: Any) -> None:
        self.tell("stock read", f"{parts}: {level}")
        if level is not None and self.watch.levels.get((parts, level.revision)) != level.on_hand:
            raise Violation(f"{parts} never had the level {level}")

    # ---------------------------------------------------------------------------------- the loop
    def run(self) -> None:
        """Run to rest. Raises Violation."""
        try:
            while not self._at_rest():
                self.step()
        finally:
            for task in list(self.scheduler.tasks):
                self.scheduler.kill(task)

    def step(self) -> None:
        """Do one thing: let something befall, put a record, give somebody a turn."""
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Violation("the run does not come to rest")
        if not self.chaos.calm:
            self._misfortune()
        if self.script and self.rng.random() < 0.3:
            self._feed()
        self.supervise()
        task = self.rng.choice(self.scheduler.ready())
        self.scheduler.run(task, self.rng.randint(0, self.profile.burst))
        if isinstance(task.error, Violation):
            raise task.error
        if isinstance(task.error, BudgetExhausted):
            self.happen("gave up", f"{task.name}: {task.error}")  # while starting; another starts
        elif isinstance(task.error, FellBehind):
            self.happen("fell behind", task.name)  # whoever owns the shard starts again
        elif task.error is not None:
            raise Violation(f"{task.name} failed for good: {task.error!r}") from task.error

    def _feed(self) -> None:
        step = self.script.pop(0)
        if isinstance(step, Put):
            self.acts.put(step)
        elif isinstance(step, Act):
            self.acts.act(step.name)

    def _at_rest(self) -> bool:
        if not self.chaos.calm:
            enough = not self.script and self.rng.random() < 0.005
            if enough or self.steps > self.profile.chaos_steps:
                self.tell("calm", "nothing fails from here on")
                self.chaos.calm = True
            return False
        waiting = {WAITS_FOR[port] for port in self.chaos.broken if port}
        if self.script or not all(self.drained(c) for c in CONSUMERS if c not in waiting):
            return False
        if waiting:
            self.happen("mended", ", ".join(self.chaos.broken))
            self.chaos.broken.clear()
            return False
        others = [task for task in self.scheduler.tasks if task not in self.slots.values()]
        busy = [task for task in others if task.frozen or not self._idles(task)]
        if busy and all(task.frozen for task in busy):
            self.thaw(self.rng.choice(busy))
        return not busy

    def _idles(self, task: Task) -> bool:
        """Say whether a worker reads at the tip, perhaps of a shard that is no longer its own."""
        reader = self._readers.get(task.name)
        return reader is not None and reader.at_tip_at > float("-inf")

    def drained(self, consumer: str) -> bool:
        """Say whether a consumer's checkpoints are at the tips of all its shards."""
        held = self.ports.checkpoints.all(consumer)
        stream = self.ports.events if consumer == "inventory" else self.ports.changes
        for shard_id, records in stream.records.items():
            checkpoint = held.get(shard_id)
            at = 0 if checkpoint is None else checkpoint.start.at
            if consumer == "etl":  # a restored warehouse is behind its checkpoint
                at = min(at, self.ports.warehouse.positions[consumer, shard_id][0])
            if records and at < len(records):
                return False
        return True

    # ---------------------------------------------------------------------------------- mishaps
    def _misfortune(self) -> None:
        rng, profile, tasks = self.rng, self.profile, self.scheduler.tasks
        if tasks and rng.random() < profile.crash:
            task = rng.choice(tasks)
            self.happen("crash", task.name)
            self.scheduler.kill(task)
        if self.slots and rng.random() < profile.steal:
            self._steal(*rng.choice(list(self.slots)))
        frozen = [task for task in tasks if task.frozen]
        if frozen and rng.random() < profile.thaw:
            self.thaw(rng.choice(frozen))
        if rng.random() < 0.02 * profile.readers:
            self._count += 1
            self.scheduler.spawn(f"screen#{self._count}", self.read_stock)
        if tasks and rng.random() < profile.steal / 2:
            task = rng.choice(tasks)
            if task not in self.slots.values():
                self.freeze(task)

    def _steal(self, consumer: str, shard_id: str) -> None:
        """Give a shard to another worker; the old one goes on unaware, or sleeps through it."""
        old = self.slots[consumer, shard_id]
        if old.done:
            return
        self.happen("lease lost", old.name)
        self.start(consumer, shard_id)
        if self.rng.random() < 0.7:
            self.freeze(old)

    def freeze(self, task: Task) -> None:
        """Let a task stand where it is."""
        self.happen("frozen", task.name)
        task.frozen = True

    def thaw(self, task: Task) -> None:
        """Let a zombie walk."""
        self.happen("wakes", task.name)
        task.frozen = False
        if task.name in self._readers:
            self._readers[task.name].at_tip_at = float("-inf")  # let it look first


@contextmanager
def limits(profile: Profile) -> Iterator[None]:
    """Make limits that are constants so small that a small run meets them; and no log lines."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(keyed_state, "ITEM_BYTES_MAX", profile.item_bytes_max))
        for module in (combos, combo_state):
            stack.enter_context(patch.object(module, "COMBO_IDS_MAX", profile.ids_max))
        stack.enter_context(patch.object(reference, "IDS_MAX", profile.ids_max))
        stack.enter_context(patch.object(local._log, "disabled", True))
        yield
