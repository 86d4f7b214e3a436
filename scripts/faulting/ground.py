"""The ground on which faults are done: a real mesh, its processes by name, and the customers beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import ClassVar, TypeVar

from console import control
from console.client import MeshClient
from console.supervisor import ORCHESTRATOR
from mesh.addresses import BROKER, MeshFile
from mesh.settings import Settings
from scripts.faulting.fault import MET, Place
from scripts.faulting.orders import Orders
from services import SERVICES

T = TypeVar("T")

PARTS = (*SERVICES, ORCHESTRATOR, BROKER)


class Stuck(Exception):
    """Something that must happen did not, within its limit; the text says what."""


class Ground:
    """One mesh. Its client is another one after the whole mesh was started again: ask for it each time."""

    heals_s: ClassVar[float] = 60.0  # the limit of all waiting: long, for a machine that is busy with other things

    def __init__(self, place: Place, settings: Mapping[str, str]) -> None:
        self.place = place
        self.client = MeshClient(Settings(data=place.data, addresses=dict(place.addresses)))
        self._clients = [self.client]
        self.environment = {**os.environ, **settings, **place.environment}
        self.begin(0, 1, 0)

    def begin(self, orders: int, at_once: int, seed: int) -> None:
        """Makes ready for a fault."""
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()  # what happened, by what is counted
        self.faults: list[str] = []  # what does not hold, besides what every run is judged by
        self.figures: list[str] = []  # what was measured, a line each
        self.orders = Orders(orders, at_once, lambda: self.client, random.Random(seed))

    @property
    def mesh(self) -> MeshFile:
        """Where everything is, as of now; raises Stuck where the whole mesh has ended."""
        try:
            return control.running(self.place.data)
        except control.NotRunning:
            raise Stuck("the mesh has ended; its supervisor.log may say why") from None

    @property
    def books(self) -> Settings:
        """What the audit reads."""
        return Settings(data=self.place.data)

    async def up(self) -> None:
        """Starts the mesh, and returns once every part serves; raises Stuck."""
        command = [sys.executable, "-P", "-m", "console.main", "up", "--detach", "--base-port", "0"]
        done = await asyncio.to_thread(  # not by uvloop, as in scripts.faulting.crash_points
            subprocess.run,
            [*command, "--data", str(self.place.data)],
            check=False,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise Stuck(f"the mesh does not start: {done.stderr.strip()}")
        # Others may wait for answers on the connections of the one before, which tell them that they are broken.
        self.client = MeshClient(Settings(data=self.place.data, addresses=dict(self.place.addresses)))
        self._clients.append(self.client)

    async def down(self) -> None:
        """Ends the mesh, in order, where one runs."""
        await self.close()
        with contextlib.suppress(control.NotRunning):
            await asyncio.to_thread(control.down, self.place.data)

    async def close(self) -> None:
        """Lets go of all connections; the mesh runs on."""
        for client in self._clients:
            await client.close()

    def pid_of(self, name: str) -> int:
        """The pid of a part's latest process, or of nats-server's."""
        return self.mesh.pid_of(name)

    def send(self, name: str, number: signal.Signals) -> int:
        """Sends a signal to a part; returns the pid it had, 0 where it has just ended by itself."""
        pid = self.pid_of(name)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return 0
        return pid

    async def replaced(self, name: str, pid: int) -> None:
        """Returns once another process is in the place of one that ended."""

        async def other() -> bool:
            return self.pid_of(name) not in (0, pid)

        await self.until(other, what=f"another process in the place of {name}")

    async def all_serve(self) -> None:
        """Returns once every part says that it serves."""

        async def serve() -> bool:
            return all(one.state == control.SERVING for one in await control.health(self.mesh))

        await self.until(serve, what="every part's SERVING", every_s=0.1)

    async def until(self, condition: Callable[[], Awaitable[T]], *, what: str, every_s: float = 0.05) -> T:
        """The first true value of a condition; raises Stuck."""
        deadline = time.monotonic() + self.heals_s
        while not (value := await condition()):
            if time.monotonic() > deadline:
                raise Stuck(f"{what}: not within {self.heals_s:.0f} s")
            await asyncio.sleep(every_s)
        return value

    async def moments(self, orders_each: int) -> AsyncIterator[int]:
        """Comes again and again until no order is left to be placed, each time in the middle of some orders.

        That is: so many more orders are let come, a quarter of them have ended, and the rest run, or come, into what
        is done now. So no fault follows another unless the mesh got on in between; raises Stuck where it does not.
        """
        number = 0
        while True:
            before = self.orders.ended
            if not (more := self.orders.let_come(orders_each)):
                return
            due = before + max(1, more // 4)

            async def got_on(due: int = due) -> bool:
                return self.orders.ended >= due

            await self.until(got_on, what=f"progress ({self.orders.ended} orders have ended)")
            self.counts[MET] += self.orders.under_way
            yield number
            number += 1

    def logs(self) -> dict[str, str]:
        """The logs of all parts so far, by name."""
        return {path.stem: path.read_text(errors="replace") for path in (self.place.data / "logs").glob("*.log")}
