"""What a work meets on PostgreSQL: conflicts, a server that goes away, limits; and what its caller is told."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
import sqlalchemy as sql
from sqlalchemy import Connection

from mesh import postgres
from mesh.database import DatabaseLost, savepoint, serialize
from mesh.errors import Invalid, Unavailable
from mesh.postgres import TRIES_MAX, PostgresDatabase
from tests.postgres import PostgresServer
from tests.unit.mesh.notes import METADATA, NOTES, Note, notes_in

LIMIT_S = 10.0
RAISE = "DO $$ BEGIN RAISE EXCEPTION 'told to' USING ERRCODE = '{}'; END $$"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(postgres_url, "notes", METADATA, connections_max=4)
    yield opened
    await opened.close()


class Counted:
    """A work that counts its runs, and is told which one it is."""

    def __init__(self, work: Callable[[Connection, int], Any]) -> None:
        self.runs = 0
        self._work = work

    def __call__(self, tx: Connection) -> Any:
        self.runs += 1
        return self._work(tx, self.runs)


def pid_of(tx: Connection) -> int:
    """The server's process behind a transaction."""
    pid: int = tx.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    return pid


def terminate(url: str, pid: int) -> None:
    """Breaks a connection from the server's side; returns once it is gone."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def until_gone(url: str, pid: int) -> None:
    """Waits until the server has ended a connection."""
    deadline = time.monotonic() + LIMIT_S
    with psycopg.connect(url, autocommit=True) as other:
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
            assert time.monotonic() < deadline, "the connection is still there"
            time.sleep(0.01)


def until_locked(url: str) -> None:
    """Waits until somebody has locked the notes."""
    deadline = time.monotonic() + LIMIT_S
    query = "SELECT 1 FROM pg_locks WHERE relation = 'notes.notes'::regclass AND mode = 'RowExclusiveLock' AND granted"
    with psycopg.connect(url, autocommit=True) as other:
        while not other.execute(query).fetchone():
            assert time.monotonic() < deadline, "nobody has locked them"
            time.sleep(0.01)


@contextmanager
def before_commit(act: Callable[[Connection], None]) -> Any:
    """Inside, every commit is preceded by something."""
    sql.event.listen(sql.Engine, "commit", act)
    try:
        yield
    finally:
        sql.event.remove(sql.Engine, "commit", act)


async def test_works_run_side_by_side(database: PostgresDatabase) -> None:
    meeting = threading.Barrier(3, timeout=LIMIT_S)
    await asyncio.gather(*(database.run(lambda _tx: meeting.wait()) for _ in range(3)))


async def test_two_names_that_differ_do_not_wait_for_each_other(database: PostgresDatabase) -> None:
    meeting = threading.Barrier(2, timeout=LIMIT_S)

    def work(name: str) -> Callable[[Connection], None]:
        def run(tx: Connection) -> None:
            serialize(tx, name)
            meeting.wait()

        return run

    await asyncio.gather(database.run(work("one")), database.run(work("other")))


async def test_the_same_name_in_two_parts_is_two_names(database: PostgresDatabase, postgres_url: str) -> None:
    other = PostgresDatabase(postgres_url, "other", METADATA)
    meeting = threading.Barrier(2, timeout=LIMIT_S)

    def work(tx: Connection) -> None:
        serialize(tx, "saga")
        meeting.wait()

    await asyncio.gather(database.run(work), other.run(work))
    await other.close()


async def test_of_two_works_that_lock_each_other_out_one_runs_again(database: PostgresDatabase) -> None:
    await database.run(Note("a"))
    await database.run(Note("b"))
    meeting = threading.Barrier(2, timeout=LIMIT_S)
    committed = threading.Event()

    def touch(tx: Connection, text: str) -> None:
        tx.execute(sql.update(NOTES).where(NOTES.c.text == text).values(data=b"touched"))

    def in_order(first: str, second: str) -> Counted:
        def work(tx: Connection, run: int) -> None:
            if run > 1:  # else it might be quicker than the one that it let go on, and they meet again
                assert committed.wait(LIMIT_S)
            touch(tx, first)
            if run == 1:
                meeting.wait()
            touch(tx, second)

        return Counted(work)

    async def commit(work: Counted) -> None:
        await database.run(work)
        committed.set()

    one, other = in_order("a", "b"), in_order("b", "a")
    await asyncio.gather(commit(one), commit(other))
    assert one.runs + other.runs == 3


@pytest.mark.parametrize("code", ["40001", "40P01"])
async def test_a_work_in_conflict_is_run_again_a_few_times(database: PostgresDatabase, code: str) -> None:
    def conflict_until(last: int) -> Counted:
        def work(tx: Connection, run: int) -> int:
            Note(f"run {run}")(tx)
            if run < last:
                tx.exec_driver_sql(RAISE.format(code))
            return run

        return Counted(work)

    hopeless = conflict_until(100)
    with pytest.raises(Unavailable, match="others change the same"):
        await database.run(hopeless)
    assert hopeless.runs == TRIES_MAX
    assert await database.run(conflict_until(TRIES_MAX)) == TRIES_MAX
    assert await notes_in(database) == {f"run {TRIES_MAX}"}


def in_a_savepoint(tx: Connection) -> None:
    with savepoint(tx):
        pass


@pytest.mark.parametrize("meets_it", [Note("on a dead connection"), lambda tx: serialize(tx, "saga"), in_a_savepoint])
async def test_a_work_whose_connection_breaks_before_its_commit_is_run_again(
    database: PostgresDatabase, postgres_url: str, meets_it: Callable[[Connection], Any]
) -> None:
    def break_first(tx: Connection, run: int) -> None:
        Note("kept")(tx)
        if run == 1:
            terminate(postgres_url, pid_of(tx))
            meets_it(tx)

    work = Counted(break_first)
    await database.run(work)
    assert work.runs == 2
    assert await notes_in(database) == {"kept"}


async def test_a_commit_in_doubt_is_told_and_not_run_again(database: PostgresDatabase, postgres_url: str) -> None:
    work = Counted(lambda tx, _: Note("perhaps")(tx))
    with before_commit(lambda tx: terminate(postgres_url, pid_of(tx))), pytest.raises(Unavailable, match="in doubt"):
        await database.run(work)
    assert work.runs == 1
    assert await database.run(Note("afterwards")) == "afterwards"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_a_server_that_was_started_again_is_not_noticed(
    database: PostgresDatabase, postgres_server: PostgresServer, number: int
) -> None:
    await asyncio.gather(*(database.run(Note(str(n))) for n in range(10)))  # fills the pool
    postgres_server.end(number)
    postgres_server.start()
    await asyncio.gather(*(database.run(Note(str(n))) for n in range(10, 30)))
    assert len(await notes_in(database)) == 30


async def test_while_the_server_is_away_callers_are_told_so_and_nothing_of_the_driver(
    database: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    await database.run(Note("before"))
    postgres_server.end()
    try:
        with pytest.raises(Unavailable) as told:
            await database.run(Note("meanwhile"))
    finally:
        postgres_server.start()
    assert told.value.reason == "DATABASE_UNAVAILABLE"
    assert str(postgres_server.port) not in str(told.value)
    await database.run(Note("after"))
    assert await notes_in(database) == {"before", "after"}


async def test_an_outage_is_logged_once_in_one_line_and_so_is_its_end(
    database: PostgresDatabase, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="mesh.postgres")
    postgres_server.end()
    try:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await database.run(Note("meanwhile"))
    finally:
        postgres_server.start()
    for _ in range(3):
        await database.run(notes_seen)
    said = [(one.levelname, one.getMessage()) for one in caplog.records if "run again" not in one.getMessage()]
    assert [level for level, _ in said] == ["ERROR", "INFO"]
    assert "\n" not in said[0][1]


def notes_seen(tx: Connection) -> int:
    return len(tx.execute(sql.select(NOTES)).all())


async def test_a_statement_over_its_time_limit_is_ended(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_LIMIT_S", 0.1)
    database = PostgresDatabase(postgres_url, "notes", METADATA)
    slow = Counted(lambda tx, _: tx.exec_driver_sql("SELECT pg_sleep(60)").all())
    with pytest.raises(Unavailable, match="too slow"):
        await database.run(slow)
    assert slow.runs == 1
    await database.close()


async def test_who_waits_too_long_for_a_name_is_told_so(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holding = PostgresDatabase(postgres_url, "notes", METADATA)
    monkeypatch.setattr(postgres, "STATEMENT_LIMIT_S", 0.1)
    waiting = PostgresDatabase(postgres_url, "notes", METADATA)
    locked, go_on = threading.Event(), threading.Event()

    def hold(tx: Connection) -> None:
        serialize(tx, "saga")
        locked.set()
        assert go_on.wait(LIMIT_S)

    held = asyncio.create_task(holding.run(hold))
    assert await asyncio.to_thread(locked.wait, LIMIT_S)
    work = Counted(lambda tx, _: serialize(tx, "saga"))
    with pytest.raises(Unavailable, match="others change the same"):
        await waiting.run(work)
    assert work.runs == 1
    go_on.set()
    await held
    await holding.close()
    await waiting.close()


async def test_a_frozen_process_does_not_keep_its_locks(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "IDLE_LIMIT_S", 0.2)
    freezing, other = (PostgresDatabase(postgres_url, "notes", METADATA) for _ in range(2))
    locked = threading.Event()

    def freeze_first(tx: Connection, run: int) -> None:
        serialize(tx, "saga")
        if run == 1:
            pid = pid_of(tx)
            locked.set()
            until_gone(postgres_url, pid)
        Note("frozen")(tx)

    work = Counted(freeze_first)
    freezing_now = asyncio.create_task(freezing.run(work))
    assert await asyncio.to_thread(locked.wait, LIMIT_S)

    def go_past(tx: Connection) -> None:
        serialize(tx, "saga")
        Note("went past")(tx)

    await other.run(go_past)
    await freezing_now
    assert work.runs == 2, "its first transaction was ended, and the work run again"
    assert await notes_in(other) == {"frozen", "went past"}
    await freezing.close()
    await other.close()


async def test_a_process_that_is_frozen_between_the_rows_of_a_batch_does_not_keep_its_locks(
    database: PostgresDatabase, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes it for active, and waits for its next row without a limit."""
    monkeypatch.setattr(postgres, "IDLE_LIMIT_S", 0.5)
    monkeypatch.setattr(postgres, "LOOK_EVERY_S", 0.1)
    await database.run(Note("old"))
    watching = asyncio.create_task(database.watch())
    rename = sql.update(NOTES).values(text="new")
    with psycopg.connect(postgres_url, application_name="ensemble notes", options="-c search_path=notes") as frozen:
        frozen.pgconn.enter_pipeline_mode()
        frozen.pgconn.send_query_params(b"BEGIN", None)
        frozen.pgconn.send_query_params(str(rename.compile(compile_kwargs={"literal_binds": True})).encode(), None)
        frozen.pgconn.send_flush_request()
        frozen.pgconn.flush()
        until_locked(postgres_url)
        async with asyncio.timeout(LIMIT_S):
            assert await database.run(lambda tx: tx.execute(rename).rowcount) == 1
        assert not watching.done()
        watching.cancel()
        frozen.pgconn.finish()


async def test_a_work_that_goes_on_after_a_failed_statement_is_not_taken_for_done(database: PostgresDatabase) -> None:
    await database.run(Note("once"))

    def careless(tx: Connection) -> None:
        with suppress(sql.exc.IntegrityError):
            Note("once")(tx)

    with pytest.raises(RuntimeError, match="without a savepoint"):
        await database.run(careless)


@pytest.mark.parametrize("text", ["a\0b", "x" * 65])
async def test_a_value_that_no_table_holds_is_the_callers_fault(database: PostgresDatabase, text: str) -> None:
    await database.run(lambda tx: tx.exec_driver_sql("CREATE TABLE short (text VARCHAR(64))").rowcount)
    with pytest.raises(Invalid):
        await database.run(lambda tx: tx.exec_driver_sql("INSERT INTO short VALUES (%s)", (text,)).rowcount)


async def test_replicas_that_start_at_once_make_the_tables_one_after_the_other(postgres_url: str) -> None:
    inside, most = 0, 0

    class Watched:
        def create_all(self, bind: Connection) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            METADATA.create_all(bind)
            inside -= 1

    async def open_and_close() -> None:
        await PostgresDatabase(postgres_url, "notes", Watched()).close()

    await asyncio.gather(*(asyncio.to_thread(lambda: asyncio.run(open_and_close())) for _ in range(6)))
    assert most == 1


async def test_the_isolation_is_read_committed_whatever_the_server_says(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'".encode())
    database = PostgresDatabase(postgres_url, "notes", METADATA)
    shown = await database.run(lambda tx: tx.exec_driver_sql("SHOW transaction_isolation").scalar_one())
    assert shown == "read committed"
    await database.close()


async def test_a_server_that_is_not_there_is_one_line_without_the_password() -> None:
    with pytest.raises(DatabaseLost) as lost:
        PostgresDatabase("postgresql://somebody:secret@127.0.0.1:1/shop", "notes", METADATA)
    assert "secret" not in str(lost.value)
    assert "127.0.0.1:1/shop" in str(lost.value)
    assert "\n" not in str(lost.value)
