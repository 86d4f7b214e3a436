"""The databases of simulated processes: real SQLite in memory, which outlives whoever opened it.

A transaction runs at once, between two awaits, so a process that dies has committed or has not. What a disk or a server
adds is modelled: it takes its time, it can be full (nothing is changed, and the caller is told), and the answer to a
commit can be lost with its connection (it is changed, and the caller is told that it does not know).

Replicas share a database, as they do on PostgreSQL; transactions are serial then, which PostgreSQL's are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from mesh.database import Schema
from mesh.errors import Unavailable
from mesh.inline_database import InlineDatabase
from mesh.settings import Settings
from mesh.shielding import to_its_end

T = TypeVar("T")

SYNC_S = 0.0005


@dataclass
class Disk:
    """One part's."""

    database: InlineDatabase
    full: bool = False
    slow: float = 1.0  # a factor
    loses_answers: float = 0.0  # of its commits


class Disks:
    """The databases of all parts."""

    def __init__(self, rng: random.Random) -> None:
        self.parts: dict[str, Disk] = {}
        self.harm: Counter[str] = Counter()
        self._rng = rng

    def open(self, settings: Settings, name: str, *schemas: Schema) -> Opened:
        """In the place of mesh.databases.open_database."""
        if name not in self.parts:
            self.parts[name] = Disk(_blank(name, *schemas))
        return Opened(self.parts[name], self._rng, self.harm)

    def look(self, reader: Callable[[dict[str, Connection]], T]) -> T:
        """Reads all databases at one moment."""
        with contextlib.ExitStack() as reading:
            connections = {name: disk.database.connection for name, disk in self.parts.items()}
            for connection in connections.values():
                reading.enter_context(connection.begin())
            return reader(connections)


# Databases of simulations before, and what they were like with their tables just made: to make those takes longer than
# most simulations, and SQLAlchemy keeps the statements that it has compiled by the engine.
_USED: dict[str, tuple[InlineDatabase, sqlite3.Connection]] = {}


def _blank(name: str, *schemas: Schema) -> InlineDatabase:
    if name in _USED:
        database, blank = _USED[name]
        blank.backup(_driver(database))
        return database
    database, blank = InlineDatabase(*schemas), sqlite3.connect(":memory:")
    _driver(database).backup(blank)
    _USED[name] = database, blank
    return database


def _driver(database: InlineDatabase) -> sqlite3.Connection:
    driver = database.connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


class Opened:
    """A process's connection to the database of its part; see mesh.database.Database."""

    def __init__(self, disk: Disk, rng: random.Random, harm: Counter[str]) -> None:
        self._disk = disk
        self._harm = harm
        self._rng = rng
        self._closed = False
        self._running: dict[asyncio.Task[object], None] = {}

    async def run(self, work: Callable[[Connection], T]) -> T:
        """As the port says: a caller that is cancelled does not undo the work."""
        if self._closed:
            raise Unavailable("the database is closing; try again")
        running = asyncio.create_task(self._run(work), name="transaction")
        self._running[running] = None
        running.add_done_callback(lambda done: self._running.pop(done, None))
        return await to_its_end(running)

    async def watch(self) -> None:
        """Waits for ever."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Finishes what was begun."""
        self._closed = True
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        disk = self._disk
        await asyncio.sleep(self._rng.expovariate(1 / SYNC_S) * disk.slow)
        if disk.full:
            self._harm["transactions refused"] += 1
            raise Unavailable("nothing was changed, as the service's disk is full", reason="DATABASE_UNAVAILABLE")
        result = await disk.database.run(work)
        if disk.loses_answers and self._rng.random() < disk.loses_answers:
            self._harm["commits unanswered"] += 1
            raise Unavailable("the connection broke at the commit, which is in doubt", reason="DATABASE_UNAVAILABLE")
        await asyncio.sleep(self._rng.expovariate(1 / SYNC_S) * disk.slow)
        return result
