"""An SQLite file with group commit: one writer for a database, many handlers in one commit.

A commit that reaches the disk costs about as much for sixty-four handlers as for one, so the works that wait while
one commit is under way share the next. Each runs in a savepoint of its own, and one that raises undoes only itself.

What may happen to a batch, and what holds afterwards:
- a work raises: its savepoint is rolled back, its caller gets the error, the others are untouched;
- the database rolls back the whole transaction by itself (SQLite does on a full disk, and when a statement over its
  time limit is interrupted), or the commit fails: no work of the batch counts, and each is run again in a
  transaction of its own. So a work may run more than once and must have no effect outside its transaction;
- the disk itself fails (EIO, a corrupt file): nothing can be trusted; `watch` raises, and the process should end
  and open the file anew.

SQLite before 3.51.3 can corrupt a WAL file when two connections write or checkpoint, so one process owns a file and
one connection of it writes; readers elsewhere open it read-only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from mesh.database import STATEMENT_LIMIT_S, DatabaseLost, Schema, savepoint
from mesh.errors import Unavailable
from mesh.shielding import to_its_end

T = TypeVar("T")

log = logging.getLogger(__name__)

BATCH_MAX = 64
SLOW_WORK_S = 0.5
# How many virtual-machine instructions SQLite runs between two looks at the clock.
_PROGRESS_EVERY = 100_000
_TROUBLES = {
    sqlite3.SQLITE_FULL: "the service's disk is full",
    sqlite3.SQLITE_BUSY: "another process holds the service's database",
    sqlite3.SQLITE_READONLY: "the service's database cannot be written",
    sqlite3.SQLITE_CANTOPEN: "the service's database cannot be opened",
    sqlite3.SQLITE_IOERR: "the service's disk fails",
    sqlite3.SQLITE_CORRUPT: "the service's database is damaged",
    sqlite3.SQLITE_NOTADB: "the service's database is damaged",
}
# After these the connection's idea of the file cannot be trusted.
_LOST = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class _Work(Generic[T]):
    """One handler's transaction, and who waits for it."""

    def __init__(self, run: Callable[[Connection], T], waiter: asyncio.Future[T]) -> None:
        self.run = run
        self.waiter = waiter
        self.result: T | None = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        if self.waiter.cancelled():
            return  # the caller gave up; what was committed stays committed
        if self.error is None:
            self.waiter.set_result(self.result)  # type: ignore[arg-type]  # None only where T is
        elif isinstance(self.error, StopIteration):  # which a future refuses to hold
            self.waiter.set_exception(RuntimeError("a work raised StopIteration"))
        else:
            self.waiter.set_exception(self.error)


class _BatchLost(Exception):
    """The database took back the whole transaction; none of its works counts."""


class SqliteDatabase:
    """A mesh.database.Database with one writer thread."""

    def __init__(self, path: Path, *schemas: Schema) -> None:
        """Opens the file, and makes what is missing of it and of its tables; raises OSError or DatabaseLost."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._engine = _engine(path)
        try:
            with self._engine.begin() as connection:
                for schema in schemas:
                    schema.create_all(connection)
        except DBAPIError as error:
            raise DatabaseLost(f"{path} cannot be opened: {error.orig}. {DatabaseLost.__doc__}") from None
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._queue: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._closed = False
        self._statement_deadline = float("inf")
        self._thread = threading.Thread(target=self._write, name=f"database {path.name}", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        if self._closed:
            raise Unavailable("the database is closing; try again")
        waiter: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Work(work, waiter))
        return await to_its_end(waiter)

    async def watch(self) -> None:
        """Raises DatabaseLost when the disk fails; waits for ever otherwise."""
        await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Finishes what was begun, then closes the file. What comes later is refused."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _write(self) -> None:
        with self._engine.connect() as connection:
            driver = _driver(connection)
            driver.set_progress_handler(self._statement_expired, _PROGRESS_EVERY)
            while (batch := self._next_batch()) is not None:
                try:
                    self._commit(connection, batch)
                except BaseException as error:  # a fault of ours must not leave callers waiting for ever
                    log.exception("the writer failed")
                    for work in batch:
                        work.error = work.error or error
                self._loop.call_soon_threadsafe(_deliver_all, batch)
        self._engine.dispose()

    def _next_batch(self) -> list[_Work[Any]] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH_MAX:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            if work is None:
                self._queue.put(None)  # the end: after this batch
                break
            batch.append(work)
        return batch

    def _commit(self, connection: Connection, batch: list[_Work[Any]]) -> None:
        if len(batch) > 1:
            try:
                with self._transaction(connection):
                    for work in batch:
                        self._attempt(connection, work)
                return
            except (_BatchLost, DBAPIError, sqlite3.Error) as error:
                log.warning("a batch of %d was rolled back by the database and runs one by one: %s", len(batch), error)
        for work in batch:
            self._commit_alone(connection, work)

    def _attempt(self, connection: Connection, work: _Work[Any]) -> None:
        """Runs one work of a batch in its savepoint; raises _BatchLost where the transaction is gone."""
        work.result = work.error = None
        try:
            with savepoint(connection):
                work.result = self._timed(connection, work)
        except Exception as error:
            self._fail(work, error)
        if not _driver(connection).in_transaction:
            raise _BatchLost(work.error)

    def _commit_alone(self, connection: Connection, work: _Work[Any]) -> None:
        work.result = work.error = None
        try:
            with self._transaction(connection):
                work.result = self._timed(connection, work)
        except Exception as error:
            self._fail(work, error)

    def _fail(self, work: _Work[Any], error: Exception) -> None:
        work.error = _explained(error)
        if _code(error) in _LOST:
            self._loop.call_soon_threadsafe(self._lose, error)

    def _timed(self, connection: Connection, work: _Work[T]) -> T:
        began = time.monotonic()
        self._statement_deadline = began + STATEMENT_LIMIT_S
        try:
            return work.run(connection)
        finally:
            self._statement_deadline = float("inf")
            if (took := time.monotonic() - began) > SLOW_WORK_S:
                log.warning("a handler held the database for %.1f s; all others waited", took)

    @contextlib.contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        try:
            connection.begin()
            yield
            if not _driver(connection).in_transaction:  # taken back behind the handler's back: commit would say nothing
                raise _BatchLost("the database took the transaction back")
            connection.commit()
        except BaseException:
            connection.rollback()
            raise

    def _statement_expired(self) -> bool:
        return time.monotonic() > self._statement_deadline

    def _lose(self, error: Exception) -> None:
        if not self._lost.done():
            self._lost.set_exception(DatabaseLost(f"{self.path}: {_cause(error)}. {DatabaseLost.__doc__}"))


def _deliver_all(batch: list[_Work[Any]]) -> None:
    for work in batch:
        work.deliver()


def open_read_only(path: Path) -> sqlalchemy.Engine:
    """A database of another process, to look at: a transaction sees it as of one moment, its beginning.

    It never writes and never checkpoints.
    """
    engine = sqlalchemy.create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")

    @sqlalchemy.event.listens_for(engine, "connect")
    def prepare(driver: sqlite3.Connection, _: object) -> None:
        driver.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        _driver(connection).execute("BEGIN")
        _driver(connection).execute("SELECT 1 FROM sqlite_schema")  # the moment is that of the first read

    return engine


def _engine(path: Path) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(
        f"sqlite:///{path}", poolclass=sqlalchemy.StaticPool, connect_args={"check_same_thread": False}
    )

    @sqlalchemy.event.listens_for(engine, "connect")
    def prepare(driver: sqlite3.Connection, _: object) -> None:
        driver.text_factory = _text
        driver.isolation_level = None  # the driver's own idea of transactions commits at the first savepoint's release
        driver.execute("PRAGMA journal_mode=WAL")
        driver.execute("PRAGMA synchronous=FULL")  # NORMAL loses acknowledged commits in a power cut
        driver.execute("PRAGMA busy_timeout=5000")
        driver.execute("PRAGMA foreign_keys=ON")

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        _driver(connection).execute("BEGIN IMMEDIATE")

    return engine


def _text(raw: bytes) -> str:
    """A text column; a damaged one must not keep the rows beside it from being read."""
    return raw.decode(errors="replace")


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _code(error: BaseException) -> int:
    """SQLite's primary error code; 0 for an error that is none of SQLite's."""
    code: int = getattr(_cause(error), "sqlite_errorcode", 0)
    return code & 0xFF


def _cause(error: BaseException) -> BaseException | None:
    """The driver's own error: SQLAlchemy's adds the statement and its parameters, which are nobody's business."""
    return error.orig if isinstance(error, DBAPIError) else error


def _explained(error: Exception) -> Exception:
    """What the callers are told: that the machine is in trouble, where it is, and not their request."""
    trouble = _TROUBLES.get(_code(error))
    if trouble is None:
        return error
    log.error(
        "a transaction was not committed: %s (%s)", trouble, error.orig if isinstance(error, DBAPIError) else error
    )
    return Unavailable(f"nothing was changed, as {trouble}; try again later", reason="DATABASE_UNAVAILABLE")
