"""What every backend of the database promises; each test runs on all of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from mesh.database import Database, DatabaseMissing, savepoint, serialize
from mesh.databases import open_database, open_read_only
from mesh.errors import Refused, Unavailable
from mesh.settings import Settings
from mesh.sql import insert
from tests.unit.mesh.notes import METADATA, NOTES, Note, notes_in

LIMIT_S = 10.0


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return Settings(data=tmp_path, database_url=url)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = open_database(settings, "notes", METADATA)
    yield opened
    await opened.close()


def refuse(tx: Connection) -> None:
    Note("inside")(tx)
    raise Refused("OUT_OF_STOCK")


async def test_what_was_committed_is_there_when_the_database_is_opened_again(settings: Settings) -> None:
    for text in ("first", "second"):
        database = open_database(settings, "notes", METADATA)
        assert await database.run(Note(text)) == text
        await database.close()
    database = open_database(settings, "notes", METADATA)
    assert await notes_in(database) == {"first", "second"}
    await database.close()


async def test_each_part_has_tables_of_its_own(settings: Settings) -> None:
    one, other = (open_database(settings, name, METADATA) for name in ("one", "other-part"))
    await one.run(Note("mine"))
    assert await notes_in(other) == set()
    await one.close()
    await other.close()


async def test_anything_that_makes_tables_is_a_schema(settings: Settings) -> None:
    class Migrations:
        def create_all(self, bind: Connection) -> None:
            bind.execute(sql.text("CREATE TABLE made_by_hand (n INTEGER)"))

    database = open_database(settings, "notes", METADATA, Migrations())
    await database.run(lambda tx: tx.execute(sql.text("INSERT INTO made_by_hand VALUES (1)")).rowcount)
    await database.close()


async def test_a_work_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(Refused):
        await database.run(refuse)
    assert await notes_in(database) == set()


async def test_works_that_run_together_do_not_share_their_fate(database: Database) -> None:
    await database.run(Note("once"))
    works: list[Callable[[Connection], Any]] = [Note("a"), refuse, Note("once"), Note("b")]
    answers = await asyncio.gather(*(database.run(work) for work in works), return_exceptions=True)
    assert (answers[0], answers[3]) == ("a", "b")
    assert isinstance(answers[1], Refused)
    assert isinstance(answers[2], IntegrityError)
    assert await notes_in(database) == {"once", "a", "b"}


async def test_no_update_is_lost_among_many(database: Database) -> None:
    await database.run(lambda tx: tx.execute(sql.insert(NOTES).values(text="counter", data=b"")).rowcount)
    more = sql.update(NOTES).values(data=NOTES.c.data.op("||")(b"x"))
    await asyncio.gather(*(database.run(lambda tx: tx.execute(more).rowcount) for _ in range(100)))
    data = await database.run(lambda tx: tx.execute(sql.select(NOTES.c.data)).scalar_one())
    assert len(data) == 100


async def test_a_savepoint_undoes_only_its_block(database: Database) -> None:
    def work(tx: Connection) -> None:
        Note("kept")(tx)
        with contextlib.suppress(Refused), savepoint(tx):
            refuse(tx)
        with contextlib.suppress(IntegrityError), savepoint(tx):
            Note("kept")(tx)
        with savepoint(tx):
            Note("also kept")(tx)

    await database.run(work)
    assert await notes_in(database) == {"kept", "also kept"}


async def test_of_works_that_serialize_on_one_name_one_is_past_that_line(database: Database) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def work(tx: Connection) -> None:
        nonlocal inside, most
        serialize(tx, "saga")
        with lock:
            inside += 1
            most = max(most, inside)
        tx.execute(sql.select(NOTES)).all()
        with lock:
            inside -= 1

    await asyncio.gather(*(database.run(work) for _ in range(30)))
    assert most == 1


async def test_who_comes_past_the_line_sees_what_was_committed_before(database: Database) -> None:
    def add_one(tx: Connection) -> None:
        serialize(tx, "saga")
        count = tx.execute(sql.select(sql.func.count()).select_from(NOTES)).scalar_one()
        Note(str(count))(tx)

    await asyncio.gather(*(database.run(add_one) for _ in range(30)))
    assert await notes_in(database) == {str(number) for number in range(30)}


async def test_one_insert_statement_serves_every_backend(database: Database) -> None:
    if_new = insert(NOTES).values(text="a", data=b"1").on_conflict_do_nothing()
    upsert = insert(NOTES).values(text="a", data=b"2")
    upsert = upsert.on_conflict_do_update(index_elements=["text"], set_={"data": upsert.excluded.data})

    def count(statement: Any) -> Callable[[Connection], int]:
        return lambda tx: tx.execute(statement).rowcount

    assert [await database.run(count(if_new)) for _ in range(2)] == [1, 0]
    assert await database.run(count(upsert)) == 1
    assert await database.run(lambda tx: tx.execute(sql.select(NOTES.c.data)).scalars().all()) == [b"2"]


async def test_a_closed_database_refuses_and_closing_twice_is_no_fault(database: Database) -> None:
    await database.close()
    await database.close()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(LIMIT_S):
            await database.run(Note("late"))


async def test_what_was_begun_before_the_close_is_finished(settings: Settings) -> None:
    database = open_database(settings, "notes", METADATA)
    begun, go_on = threading.Event(), threading.Event()

    def work(tx: Connection) -> str:
        begun.set()
        assert go_on.wait(LIMIT_S)
        return Note("finished")(tx)

    running = asyncio.create_task(database.run(work))
    assert await asyncio.to_thread(begun.wait, LIMIT_S)
    waiting = [asyncio.create_task(database.run(Note(str(number)))) for number in range(20)]
    await asyncio.sleep(0)  # each runs up to where it waits, so all are submitted
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(LIMIT_S):
        assert await running == "finished"
        assert len(await asyncio.gather(*waiting)) == 20
        await closing


async def test_a_caller_that_is_cancelled_does_not_undo_its_work(database: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(tx: Connection) -> None:
        begun.set()
        assert go_on.wait(LIMIT_S)
        Note("done all the same")(tx)

    cancelled = asyncio.create_task(database.run(work))
    assert await asyncio.to_thread(begun.wait, LIMIT_S)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    go_on.set()
    await database.close()  # waits for what was begun
    assert begun.is_set()


async def test_a_work_that_raises_stop_iteration_leaves_nobody_waiting(database: Database) -> None:
    def exhausted(_tx: Connection) -> None:
        next(iter(()))

    with pytest.raises(RuntimeError):
        async with asyncio.timeout(LIMIT_S):
            await database.run(exhausted)


async def test_an_error_of_a_statement_does_not_end_the_watch(database: Database) -> None:
    watching = asyncio.create_task(database.watch())
    await asyncio.gather(*(database.run(Note("once")) for _ in range(2)), return_exceptions=True)
    assert not watching.done()
    watching.cancel()


async def test_another_process_can_look_but_not_write(settings: Settings, database: Database) -> None:
    await database.run(Note("seen"))
    reader = open_read_only(settings, "notes")
    with reader.connect() as connection:
        assert connection.execute(sql.select(NOTES.c.text)).scalars().all() == ["seen"]
        with pytest.raises(sql.exc.DBAPIError, match=r"read-?only"):
            connection.execute(sql.delete(NOTES))
    reader.dispose()


def test_where_no_part_has_been_there_is_nothing_to_look_at(settings: Settings) -> None:
    with pytest.raises(DatabaseMissing, match="notes"):
        open_read_only(settings, "notes")


@pytest.mark.parametrize(("error", "logged"), [(Refused("OUT_OF_STOCK"), []), (KeyError("a bug"), ["mesh.shielding"])])
async def test_a_work_that_fails_after_its_caller_gave_up_is_no_error_that_nobody_handled(
    database: Database, caplog: pytest.LogCaptureFixture, error: Exception, logged: list[str]
) -> None:
    """Ours are told to the caller who asks again; those of a handler's bug stand in the log, once."""
    begun, go_on = threading.Event(), threading.Event()

    def fail(_: Connection) -> None:
        begun.set()
        go_on.wait(LIMIT_S)
        raise error

    caller = asyncio.create_task(database.run(fail))
    assert await asyncio.to_thread(begun.wait, LIMIT_S)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await database.close()  # once the work has ended
    await asyncio.sleep(0)
    gc.collect()  # when asyncio says of a future that nobody has retrieved its error
    assert [record.name for record in caplog.records if record.exc_info] == logged
