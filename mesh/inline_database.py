"""A database for tests and simulation: each work runs at once, where it is asked for, and no thread takes part.

The same rules as those of mesh.database: a work runs in a transaction of its own and its caller is answered when that
is committed; one that raises is rolled back and its caller gets the error. What it leaves out is all that takes time:
group commit, the disk's sync, waiting for a lock.

In memory, or on a path where another object (a restarted process, say) is to find it again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection

from mesh.database import Schema
from mesh.errors import Unavailable

T = TypeVar("T")


class InlineDatabase:
    """One SQLite connection. It belongs to one thread, but to no event loop: it outlives the loop that used it."""

    def __init__(self, *schemas: Schema, path: Path | None = None) -> None:
        """In memory, or in the file `path`; makes the tables that are missing."""
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        engine = _engine(path)
        self._connection = engine.connect()
        with self._connection.begin():
            for schema in schemas:
                schema.create_all(self._connection)
        self._closed = False
        # A test that forgets to close leaves no warning of an open connection behind.
        self._release = weakref.finalize(self, engine.dispose)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction and answers once it is committed, or raises what it raised.

        Others get a turn before the caller goes on, as they do while a real database commits.
        """
        if self._closed:
            raise Unavailable("the database is closing; try again")
        with self._connection.begin():
            result = work(self._connection)
        await asyncio.sleep(0)
        return result

    @property
    def connection(self) -> Connection:
        """What all works run on, one after the other: to look at the tables between two of them."""
        return self._connection

    async def watch(self) -> None:
        """Waits for ever: memory does not fail."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Closes the connection; a database in memory is gone. What comes later is refused."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._release()


def _engine(path: Path | None) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(f"sqlite:///{path or ':memory:'}", poolclass=sqlalchemy.StaticPool)

    @sqlalchemy.event.listens_for(engine, "connect")
    def prepare(driver: sqlite3.Connection, _: object) -> None:
        driver.isolation_level = None  # the driver's own idea of transactions commits at the first savepoint's release
        driver.execute("PRAGMA synchronous=OFF")  # a file is for another object to find, not for a power cut
        driver.execute("PRAGMA foreign_keys=ON")

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection  # as in mesh.database.savepoint: every work comes here
        driver.execute("BEGIN IMMEDIATE")

    return engine
