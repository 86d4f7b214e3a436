"""The database of one part of the mesh: a port, and what its backends have in common.

    mesh.sqlite    a file of its own in the mesh's data folder, one process (the default)
    mesh.postgres  a schema of its own in a PostgreSQL database, shared by all replicas of the part
    mesh.databases opens the one that the settings name

Works are plain functions of a transaction. They may run more than once (a batch was rolled back, two transactions
deadlocked, a connection broke before its commit), so they must have no effect outside their transaction; and on
PostgreSQL several run at the same time, in threads and in other processes. What must not run at the same time takes
`serialize` first.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")

# How long one statement may take, its wait for locks included.
STATEMENT_LIMIT_S = 5.0


class DatabaseLost(Exception):
    """The database cannot be used any more; end the process, look at its disk or its server, start it again."""


class DatabaseMissing(Exception):
    """There is no database to look at; the part that owns it makes it when it is first started."""


class Database(Protocol):
    """Transactions of one part. `run` may be called from the loop that made the database, by any task."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction and answers once it is committed, or raises what it raised.

        A caller that is cancelled does not undo the work: its outcome is then in doubt. Raises Unavailable where the
        database is in trouble, and says there whether nothing was changed.
        """

    async def watch(self) -> None:
        """Raises DatabaseLost when the process must open the database anew; waits for ever otherwise."""

    async def close(self) -> None:
        """Finishes what was begun, then closes. What comes later is refused."""


class Schema(Protocol):
    """What makes the tables of a part, or brings older ones up to date. A sqlalchemy.MetaData is one."""

    def create_all(self, bind: Connection, /) -> Any:
        """Makes what is missing, in the transaction of `bind`. No other process does the same meanwhile."""


@contextlib.contextmanager
def savepoint(tx: Connection) -> Iterator[None]:
    """Undoes what its block did in the transaction, and only that, where the block raises."""
    driver: Any = tx.connection.driver_connection  # SQLAlchemy's begin_nested costs twenty times as much
    driver.execute("SAVEPOINT work")
    try:
        yield
    except BaseException:
        if _stands(driver):
            driver.execute("ROLLBACK TO work")
            driver.execute("RELEASE work")
        raise
    driver.execute("RELEASE work")


def _stands(driver: Any) -> bool:
    """Whether there is still a transaction to roll back in: SQLite may have taken it back, a connection may be gone."""
    return bool(driver.in_transaction if isinstance(driver, sqlite3.Connection) else not driver.closed)


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ':' || %s, 0))"


def serialize(tx: Connection, name: str) -> None:
    """Until the transaction ends, no other one of this part that names the same is past this line, in any process.

    SQLite runs all transactions one after the other, so nothing is to be done there. PostgreSQL runs them side by
    side, and READ COMMITTED does not show one what the other has not committed yet. Of two names whose hashes are
    equal (64 bits) one waits for the other, which harms nobody.
    """
    if tx.dialect.name == "postgresql":
        driver: Any = tx.connection.driver_connection  # as in savepoint: every step comes through here
        driver.execute(_LOCK, [name])
