"""A schema of its own in a PostgreSQL database, for a part of the mesh that may have replicas.

One transaction for each work, from a pool of threads that have a connection each. No group commit: PostgreSQL does
that by itself for transactions that commit together, while a batch of works in one transaction would lock against
the batches of other processes.

What may happen to a work, and what holds afterwards:
- it raises: its transaction is rolled back, its caller gets the error;
- two transactions lock each other out, or cannot be serialized: one is rolled back and run again, a few times;
- the connection breaks before the commit (the server was started again, a firewall forgot us): nothing was changed,
  and it is run again on a new connection. Where there is none to be had, its caller gets Unavailable;
- the connection breaks during the commit: nobody knows. It is not run again here, as it may count twice: its caller
  gets Unavailable, repeats its step, and the ledger answers;
- a statement waits for a lock or runs over its time limit: nothing was changed, its caller gets Unavailable;
- this process is frozen in the middle of it: the server ends the transaction, so that nobody waits for its locks
  longer than for a slow statement. Between the rows of an `executemany`, which go through a pipeline, the server has no
  limit for that: there another process of the same part ends it (`watch`).

Isolation is READ COMMITTED, whatever the server's default is: each statement sees what was committed when it began,
which is what waiting for a lock and then looking relies on (mesh.database.serialize).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Literal, TypeAlias, TypeVar

import psycopg
import sqlalchemy as sql
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from mesh.backoff import Backoff
from mesh.database import STATEMENT_LIMIT_S, DatabaseLost, DatabaseMissing, Schema
from mesh.errors import Invalid, Unavailable
from mesh.shielding import to_its_end

T = TypeVar("T")
Failure: TypeAlias = "DBAPIError | psycopg.Error"

log = logging.getLogger(__name__)

CONNECT_LIMIT_S = 5
# Less than a statement may take: who waits for the lock of a frozen process gets it, and not a timeout.
IDLE_LIMIT_S = STATEMENT_LIMIT_S - 1
# A server that is gone without a word is noticed after about so long.
SILENCE_LIMIT_S = 10

# Between its looks for connections of the same part that are frozen in a pipeline; and what ends them.
LOOK_EVERY_S = 1.0
_END_FROZEN = sql.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND usename = current_user AND application_name = current_setting('application_name')"
    " AND state = 'active' AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - :limit"
)

# How long a migration's statement, or a replica's wait for another's migration, may take.
MIGRATION_LIMIT_S = 600

TRIES_MAX = 5
_AGAIN = Backoff(first_s=0.01, max_s=0.1)
_CONFLICTS = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_ENDED = {"57P01", "57P02", "57P05", "25P03"}  # the server shuts down, crashed, or found us idle for too long

# By SQLSTATE, or its first two characters; "" is a connection that there is not, or no longer.
_TROUBLES = {
    "": "the service's database cannot be reached",
    "08": "the service's database cannot be reached",
    "28": "the service's database lets nobody in",
    "3D": "the service's database does not exist",
    "40": "others change the same",
    "53": "the service's database has no room, or too many connections",
    "58": "the disk of the service's database fails",
    "57": "the service's database is stopped or starting",
    "57014": "the service's database is too slow, or others change the same",
    "25006": "the service's database can only be read",
    "25P03": "the service is too slow for its database",
}
# Values that no table can hold: too long, too great, with a character that text may not have.
_UNFIT = {"22001", "22003", "22021"}


class PostgresDatabase:
    """A mesh.database.Database whose works run side by side, up to `connections_max` in this process."""

    def __init__(self, url: str, schema_name: str, *schemas: Schema, connections_max: int = 16) -> None:
        """Connects, and makes what is missing of the schema and its tables; raises DatabaseLost."""
        self._engine = _engine(url, schema_name, connections_max)
        try:
            _make(self._engine, schema_name, schemas)
        except DBAPIError as error:
            self._engine.dispose()
            raise DatabaseLost(_why_lost(self._engine.url, schema_name, error)) from None
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(connections_max, thread_name_prefix=f"database {schema_name}")
        self._closed = False
        self._trouble = ""  # what was said last, and nothing was committed since

    async def run(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        if self._closed:
            raise Unavailable("the database is closing; try again")
        return await to_its_end(self._loop.run_in_executor(self._threads, self._transact, work))

    async def watch(self) -> None:
        """Never ends, as connections come and go and the process need not; frees what frozen replicas hold."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(Unavailable):
                if ended := await self.run(_end_frozen):
                    log.warning("%d transactions of processes that are frozen were ended", ended)

    async def close(self) -> None:
        """See Database."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._threads.shutdown)
            self._engine.dispose()

    def _transact(self, work: Callable[[Connection], T]) -> T:
        tries = 1
        while True:
            try:
                with self._engine.connect() as connection:
                    result = _commit(connection, work)
            except (DBAPIError, psycopg.Error) as error:
                if tries == TRIES_MAX or not _may_run_again(error):
                    raise self._told(_explained(error), error) from None
                log.info("a transaction was rolled back and is run again: %s", _text(error))
            except StopIteration as error:  # which a future refuses to hold
                raise RuntimeError("a work raised StopIteration") from error
            else:
                if self._trouble:
                    self._trouble = ""
                    log.info("transactions are committed again")
                return result
            time.sleep(_AGAIN.delay_s(tries))
            tries += 1

    def _told(self, told: Exception, error: Failure) -> Exception:
        """Logs a trouble once, until it is another or has passed: in an outage hundreds of works meet it."""
        if isinstance(told, Unavailable) and told.message != self._trouble:
            self._trouble = told.message
            log.error("%s (%s)", told.message, _text(error))
        return told


def open_read_only(url: str, schema_name: str) -> sql.Engine:
    """The schema of another process, to look at; raises DatabaseMissing, and DatabaseLost where there is no server.

    A transaction sees it as of one moment, that of its first statement, and may take as long as it likes: nobody waits.
    """
    unlimited = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
    options = f"-c default_transaction_read_only=on {unlimited}"
    engine = _engine(url, schema_name, 1, options, isolation_level="REPEATABLE READ")
    try:
        with engine.connect() as connection:
            found = sql.text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
            if connection.execute(found, {"name": schema_name}).scalar() is None:
                raise DatabaseMissing(f"no schema {schema_name} in {engine.url!r}")
    except DBAPIError as error:
        raise DatabaseLost(_why_lost(engine.url, schema_name, error)) from None
    return engine


def _engine(
    url: str,
    schema_name: str,
    connections_max: int,
    options: str = "",
    *,
    isolation_level: Literal["READ COMMITTED", "REPEATABLE READ"] = "READ COMMITTED",
) -> sql.Engine:
    limits = (
        f'-c search_path="{schema_name}" -c statement_timeout={STATEMENT_LIMIT_S * 1000:.0f} '
        f"-c idle_in_transaction_session_timeout={IDLE_LIMIT_S * 1000:.0f} {options}"
    )
    return sql.create_engine(
        sql.make_url(url).set(drivername="postgresql+psycopg"),
        isolation_level=isolation_level,
        # One for each thread, so that nobody waits for one. Not asked whether they live before each use (pre-ping),
        # which is a round trip: a work whose connection turns out to be dead is run again.
        pool_size=connections_max,
        max_overflow=0,
        pool_use_lifo=True,
        connect_args={
            "application_name": f"ensemble {schema_name}",
            "connect_timeout": CONNECT_LIMIT_S,
            "keepalives_idle": SILENCE_LIMIT_S // 2,
            "keepalives_interval": 1,
            "keepalives_count": SILENCE_LIMIT_S // 2,
            "tcp_user_timeout": SILENCE_LIMIT_S * 1000,
            "options": limits,
        },
    )


def _make(engine: sql.Engine, schema_name: str, schemas: tuple[Schema, ...]) -> None:
    with engine.begin() as connection:
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {limit} = '{MIGRATION_LIMIT_S}s'")
        # Replicas that start at once do this one after the other.
        lock = sql.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
        connection.execute(lock, {"name": f"schema {schema_name}"})
        connection.execute(CreateSchema(schema_name, if_not_exists=True))
        for schema in schemas:
            schema.create_all(connection)


def _end_frozen(tx: Connection) -> int:
    return len(tx.execute(_END_FROZEN, {"limit": timedelta(seconds=IDLE_LIMIT_S)}).all())


def _commit(connection: Connection, work: Callable[[Connection], T]) -> T:
    connection.begin()
    result = work(connection)
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    # A commit would then roll back, and say nothing.
    if driver.info.transaction_status is TransactionStatus.INERROR:
        raise RuntimeError("a statement failed and the work went on without a savepoint; nothing was changed")
    try:
        connection.commit()
    except (DBAPIError, psycopg.Error) as error:
        if _is_broken(error):
            log.error("a commit is in doubt: %s", _text(error))
            raise Unavailable(
                "the service lost its database during a commit, so it is in doubt what was changed; try again",
                reason="DATABASE_UNAVAILABLE",
            ) from None
        raise
    return result


def _may_run_again(error: Failure) -> bool:
    return _sqlstate(error) in _CONFLICTS or _is_broken(error)


def _is_broken(error: Failure) -> bool:
    """Whether a connection that there was broke. Where there was none to be had, trying at once helps nobody."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    state = error.sqlstate or ""  # by the driver itself, in `savepoint` or `serialize`
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (not state or state in _ENDED)


def _explained(error: Failure) -> Exception:
    """What the callers are told: that the machine is in trouble, where it is, and not their request."""
    state, cause = _sqlstate(error), _cause(error)
    if state in _UNFIT or (not state and isinstance(cause, psycopg.DataError)):
        return Invalid([("", "a value cannot be stored: it is too long, too great, or has a NUL character")])
    if not state and not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return error
    trouble = _TROUBLES.get(state) or _TROUBLES.get(state[:2])
    if trouble is None:
        return error
    return Unavailable(f"nothing was changed, as {trouble}; try again later", reason="DATABASE_UNAVAILABLE")


def _sqlstate(error: Failure) -> str:
    return getattr(_cause(error), "sqlstate", None) or ""


def _cause(error: Failure) -> BaseException | None:
    """The driver's own error: SQLAlchemy's adds the statement and its parameters, which are nobody's business."""
    return error.orig if isinstance(error, DBAPIError) else error


def _text(error: Failure) -> str:
    """What the driver says, which may be of several lines, in one."""
    return " ".join(str(_cause(error)).split())


def _why_lost(url: sql.URL, schema_name: str, error: DBAPIError) -> str:
    why = " ".join(str(error.orig).split())
    return f"the database of {schema_name} at {url!r} cannot be opened: {why}. {DatabaseLost.__doc__}"
