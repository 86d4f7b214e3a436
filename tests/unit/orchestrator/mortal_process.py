"""A process that dies, or is paused, at one of its points, and the ports through which alone it has effects.

Points are numbered in the order in which the process reaches them:

    commit      a transaction that writes has run and is not committed; to die here rolls it back
    committed   it is committed, and nobody in the process has heard of it
    call        an RPC is about to leave
    done        the participant has done it, and the reply has not come
    reply       the reply has come, and nobody in the process has heard of it

A process that has stopped waits in its ports for ever: nothing comes out of it any more, and nothing goes in. (Timers
may still run in its memory, which nobody can see.) One that was only paused goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import Connection

from mesh.contract import Method
from mesh.inline_database import InlineDatabase
from orchestrator.asking import Tell
from orchestrator.participants import Answer
from tests.unit.orchestrator.counted_shop import CountedShop

T = TypeVar("T")

# Longer than nothing: what does not wait for the disk shall be seen to overtake it.
DISK_S = 0.001


class Process:
    """Counts its points, and stops at the last one that it was given."""

    def __init__(self, last: int | None, watch: Callable[[str], None]) -> None:
        """`watch` is told of every point."""
        self.points: list[str] = []
        self.stopped = asyncio.Event()
        self._last = last
        self._watch = watch
        self._going = asyncio.Event()
        self._going.set()
        self._buried = False

    @property
    def going(self) -> bool:
        """Whether it has not stopped, or goes on again."""
        return self._going.is_set()

    def reaches(self, point: str) -> bool:
        """Counts a point; whether the process goes on from it."""
        if not self.going:
            return False
        self.points.append(point)
        if len(self.points) - 1 == self._last:
            self._going.clear()
            self.stopped.set()
        self._watch(point)
        return self.going

    async def passes(self, point: str) -> None:
        """Counts a point, and returns if and when the process goes on from it."""
        self.reaches(point)
        await self.goes_on()

    async def goes_on(self) -> None:
        """Returns while it is going, and does not while it is not."""
        if self._buried:
            raise asyncio.CancelledError
        await self._going.wait()

    def resume(self) -> None:
        """Lets it go on, to no further last point."""
        self._last = None
        self._going.set()

    def bury(self) -> None:
        """Lets the test's loop end its tasks: they do nothing more, and wait for nothing."""
        self._going.clear()
        self._buried = True


class _RolledBack(Exception):
    """The process has stopped in a transaction."""


class MortalDatabase:
    """The port of a process to a database that outlives it."""

    def __init__(self, database: InlineDatabase, process: Process) -> None:
        self._database = database
        self._process = process
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """As mesh.database: a caller that is cancelled does not undo the work."""
        await self._process.goes_on()
        running = asyncio.create_task(self._run(work), name=f"transaction {_name(work)}")
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        result = await asyncio.shield(running)
        await self._process.goes_on()
        return result

    async def watch(self) -> None:
        """Waits for ever."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Leaves the database to the others."""

    async def _run(self, work: Callable[[Connection], T]) -> T:
        await asyncio.sleep(DISK_S)
        while True:
            await self._process.goes_on()
            try:
                result, wrote = await self._database.run(lambda tx: self._transact(tx, work))
                break
            except _RolledBack:
                continue
        if wrote:
            await self._process.passes(f"committed {_name(work)}")
        return result

    def _transact(self, tx: Connection, work: Callable[[Connection], T]) -> tuple[T, bool]:
        driver: Any = tx.connection.driver_connection
        before = driver.total_changes
        result = work(tx)
        wrote = driver.total_changes > before
        if wrote and not self._process.reaches(f"commit {_name(work)}"):
            raise _RolledBack
        return result, wrote


class Network:
    """Between the processes and the shop. A call that has left arrives, whatever becomes of its caller."""

    def __init__(self, shop: CountedShop, leg_s: float, slow_s: Mapping[str, float], *, holds_at_death: bool) -> None:
        """`leg_s` is what a call takes to its participant, and its reply back; `slow_s` is on top, by method.

        With `holds_at_death`, the last thing that a process does at a `call` is to send it.
        """
        self._shop = shop
        self._leg_s = leg_s
        self._slow_s = slow_s
        self._open = asyncio.Event()
        self._open.set()
        self._calls: set[asyncio.Task[Answer]] = set()
        self.holds_at_death = holds_at_death
        self.holding = 0  # calls that have left, and not arrived

    def send(self, method: Method, request: bytes, sender: Process) -> asyncio.Task[Answer]:
        """The reply to a call."""
        call = asyncio.create_task(self._travel(method, request, sender), name=f"call of {method.name}")
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return call

    def hold(self) -> None:
        """What is under way does not arrive before `let_through`."""
        self._open.clear()

    def let_through(self) -> None:
        """Everything arrives."""
        self._open.set()

    async def empty(self) -> None:
        """Returns once nothing is under way."""
        while self._calls:
            await asyncio.wait(set(self._calls))

    async def _travel(self, method: Method, request: bytes, sender: Process) -> Answer:
        self.holding += 1
        await asyncio.sleep(self._leg_s + self._slow_s.get(method.name, 0.0))
        if not sender.going:  # the calls of those who live are not held up
            await self._open.wait()
        self.holding -= 1
        answer = await self._shop.perform(method, request)
        sender.reaches(f"done {method.name}")
        await asyncio.sleep(self._leg_s)
        return answer

    def _ended(self, call: asyncio.Task[Answer]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # asked for, as nobody may wait for it any more, and asyncio would complain


class MortalCalls:
    """The port of a process to the participants."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    async def ask(
        self, method: Method, request: bytes, timeout_s: float | None, on_failure: Tell, on_pause: Tell
    ) -> Answer:
        """As orchestrator.participants.Participants.ask."""
        await self._process.goes_on()
        if not self._process.reaches(f"call {method.name}") and self._network.holds_at_death:
            self._network.send(method, request, self._process)
        await self._process.goes_on()
        answer = await asyncio.shield(self._network.send(method, request, self._process))
        await self._process.passes(f"reply {method.name}")
        return answer


def _name(work: Callable[..., Any]) -> str:
    """What a transaction is about, for people."""
    return work.__qualname__.replace(".<locals>", "").removesuffix(".work").removesuffix(".<lambda>")
