"""One simulation from beginning to end: what was planned happens, everything is mended, and the books are read.

Each run follows from its plan alone, so it can be had again; its `trace` tells two runs apart that should be the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from console.audit import Books, books_of
from eventbus import exhausted
from eventbus.dead_letters import MESSAGE, REASON
from eventbus.streams import DEAD_LETTERS
from mesh.backoff import Backoff
from scripts.simulation.chance import from_seed
from scripts.simulation.customers import Customers
from scripts.simulation.loop import SimulationLoop
from scripts.simulation.plan import Act, Fault, Placed, Plan, told
from scripts.simulation.process import CURRENT
from scripts.simulation.troubles import Troubles
from scripts.simulation.world import World

# All in virtual time. How long what was planned may take; and from then on, until the books are right.
ANSWERED_WITHIN_S = 60.0
SETTLED_WITHIN_S = 150.0
LOOK_AFTER_S = Backoff(first_s=1.0, max_s=10.0)
# After so long with nothing in flight, what is wrong stays wrong.
STAYS_WRONG_S = 30.0
# Why an event may be a dead letter: it was delivered too often, in times as bad as these.
PASSING = {"DATABASE_UNAVAILABLE", exhausted.REASON}


@dataclass
class Verdict:
    """What became of a plan."""

    plan: Plan
    faults: list[str] = field(default_factory=list)  # of the mesh: empty is good
    endings: Counter[str] = field(default_factory=Counter)  # orders, by status
    happened: Counter[str] = field(default_factory=Counter)  # of what was planned to go wrong
    harm: Counter[str] = field(default_factory=Counter)  # what came of that
    virtual_s: float = 0.0
    trace: str = ""
    log: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "seed": self.plan.seed,
            "plan": self.plan.text().splitlines(),
            "failed": self.faults,
            "orders": dict(sorted(self.endings.items())),
            "faults": dict(sorted(self.happened.items())),
            "harm": dict(sorted(self.harm.items())),
            "virtual_s": round(self.virtual_s, 3),
            "trace": self.trace,
            "log": self.log,
        }


def run(plan: Plan) -> Verdict:
    """Runs a plan; never raises for what the mesh does wrong."""
    verdict = Verdict(plan)
    loop = SimulationLoop()
    with _taken_apart_later(), from_seed(plan.seed, loop.time) as rng, _recorded(verdict, loop):
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(_simulate(plan, rng, verdict))
        finally:
            asyncio.set_event_loop(None)
            loop.close()  # with all that still goes on: nobody cleans up behind a simulation, as behind a power cut
    return verdict


async def _simulate(plan: Plan, rng: random.Random, verdict: Verdict) -> None:
    await _Trial(World(plan, rng), plan, verdict).run()


class _Recorder(logging.Handler):
    """Writes down what the mesh logs, and takes for a fault what it did not foresee."""

    def __init__(self, verdict: Verdict, loop: SimulationLoop) -> None:
        super().__init__(logging.WARNING)
        self._verdict = verdict
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        process = CURRENT.get()
        self._verdict.log.append(f"{self._loop.time():.6f} {process}: {record.getMessage()}")
        if record.levelno >= logging.ERROR and record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            self._verdict.faults.append(f"{process} logged {type(error).__name__}: {error}")


@contextlib.contextmanager
def _recorded(verdict: Verdict, loop: SimulationLoop) -> Iterator[None]:
    root = logging.getLogger()
    before, handlers = root.level, list(root.handlers)
    recorder = _Recorder(verdict, loop)
    root.handlers[:] = [recorder]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)


@contextlib.contextmanager
def _taken_apart_later() -> Iterator[None]:
    """What died in the midst of something is taken apart when all is over, without what Python says to that.

    The garbage collector comes when it likes, and it closes coroutines, whose `finally` then runs.
    """
    gc.disable()
    gc.freeze()  # what was there before is not looked through at the end: it is most of all objects
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of coroutines that never began
            yield
            logging.disable()
            gc.collect()
    finally:
        logging.disable(logging.NOTSET)
        sys.unraisablehook = before
        gc.enable()


class _Trial:
    def __init__(self, world: World, plan: Plan, verdict: Verdict) -> None:
        self._world = world
        self._plan = plan
        self._verdict = verdict
        self._customers = Customers(world, world.rng)
        self._troubles = Troubles(world, world.rng)
        self._placed = {item.number: item for item in plan.items if isinstance(item, Placed)}

    async def run(self) -> None:
        self._world.start()
        await self._customers.stock_up()
        happening = [asyncio.create_task(self._happens(item)) for item in self._plan.items]
        for item, task in zip(self._plan.items, happening, strict=True):
            task.set_name(told(item))
        try:
            _, unanswered = await asyncio.wait(happening, timeout=ANSWERED_WITHIN_S)
            for one in unanswered:
                self._verdict.faults.append(f"not answered, long after everything was mended: {one.get_name()}")
            await asyncio.gather(*(one for one in happening if one.done()))
            await self._settle()
        except Exception as error:
            self._verdict.faults.append(f"a customer was told {type(error).__name__}: {error}")
        self._verdict.trace = f"{self._world.network.trace & 0xFFFFFFFF:08x}"
        self._verdict.virtual_s = asyncio.get_running_loop().time()
        self._verdict.happened = self._troubles.happened
        self._verdict.harm = self._world.harm()
        self._verdict.faults += self._world.ended
        self._verdict.faults += self._wrong_letters()

    async def _happens(self, item: Placed | Act | Fault) -> None:
        await asyncio.sleep(item.at_s)
        if isinstance(item, Placed):
            await self._customers.place(item)
        elif isinstance(item, Fault):
            await self._troubles.happen(item)
        elif item.number in self._placed:
            await self._customers.act(item, self._placed[item.number])

    async def _settle(self) -> None:
        """Waits until the books are right, or stay wrong."""
        now_s = asyncio.get_running_loop().time
        limit_s, quiet_since_s = now_s() + SETTLED_WITHIN_S, 0.0
        for tries in itertools.count(1):
            await asyncio.sleep(LOOK_AFTER_S.bound_s(tries))
            books, broken = self._world.disks.look(self._judge)
            quiet_since_s = now_s() if books.in_flight or not quiet_since_s else quiet_since_s
            good = books.at_rest and not books.faults and not broken
            if good or now_s() > min(limit_s, quiet_since_s + STAYS_WRONG_S):
                books.judge_as_settled()
                self._verdict.faults += books.faults + broken
                break
        self._verdict.endings = Counter(books.orders)

    def _judge(self, connections: dict[str, Connection]) -> tuple[Books, list[str]]:
        books = books_of(connections, time.time_ns() // 1000)
        # An event that only the broker ever had goes with what the broker loses, and nobody else knows of the order.
        by_event = {item.order_id for item in self._placed.values() if item.by_event}
        books.open_sagas = [saga_id for saga_id in books.open_sagas if saga_id not in by_event]
        told = not self._troubles.lost_unsynced
        if not told:
            books.behind.clear()
        promises = self._customers.promises
        return books, [] if books.in_flight else list(promises.broken(connections, told=told))

    def _wrong_letters(self) -> list[str]:
        """Dead letters that should not be: an event comes too often in bad times, and is never wrong in itself."""
        stream = self._world.broker.streams.get(DEAD_LETTERS)
        letters = [(one.subject, one.headers or {}) for one in stream.messages.values()] if stream else []
        return [
            f"{subject} is a dead letter: {headers.get(REASON)}: {headers.get(MESSAGE)}"
            for subject, headers in letters
            if headers.get(REASON) not in PASSING
        ]
