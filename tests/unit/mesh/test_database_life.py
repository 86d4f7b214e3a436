"""A database from its opening to its close, and to the failure of its disk."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.database import DatabaseLost
from mesh.errors import Unavailable
from mesh.sqlite import SqliteDatabase, open_read_only
from tests.unit.mesh.notes import METADATA, NOTES, Note, Work, a_database, in_one_batch, notes_in, writer_held


async def test_what_was_committed_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        await database.run(Note("kept"))
    async with a_database(tmp_path) as database:
        assert await notes_in(database) == {"kept"}


async def test_the_folder_of_a_database_is_made(tmp_path: Path) -> None:
    async with a_database(tmp_path / "not" / "yet" / "there") as database:
        assert database.path.exists()


async def test_commits_reach_the_disk_and_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:

        def pragma(name: str) -> object:
            return lambda tx: tx.exec_driver_sql(f"PRAGMA {name}").scalar_one()

        assert await database.run(pragma("synchronous")) == 2  # FULL
        assert await database.run(pragma("journal_mode")) == "wal"
        assert await database.run(pragma("foreign_keys")) == 1


async def test_a_closed_database_refuses(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        pass
    with pytest.raises(Unavailable):
        async with asyncio.timeout(1):
            await database.run(Note("late"))


async def test_closing_twice_is_no_fault(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        await database.close()


async def test_what_was_submitted_before_the_close_is_finished(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        async with writer_held(database):
            tasks = [asyncio.create_task(database.run(Note(str(number)))) for number in range(3)]
            await asyncio.sleep(0)
            closing = asyncio.create_task(database.close())
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert await asyncio.gather(*tasks) == ["0", "1", "2"]
            await closing
    async with a_database(tmp_path) as database:
        assert await notes_in(database) == {"0", "1", "2"}


async def test_a_caller_that_is_cancelled_does_not_undo_its_work(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        async with writer_held(database):
            cancelled = asyncio.create_task(database.run(Note("done all the same")))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        assert await notes_in(database) == {"done all the same"}


async def test_another_process_can_look_but_not_write(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        await database.run(Note("seen"))
        reader = open_read_only(database.path)
        with reader.connect() as connection:
            assert connection.execute(sql.select(NOTES.c.text)).scalars().all() == ["seen"]
            with pytest.raises(sql.exc.OperationalError, match="readonly"):
                connection.execute(sql.delete(NOTES))
        reader.dispose()


def disk_error(tx: Connection) -> None:
    """A work that meets EIO, as SQLite tells it: the transaction is gone, too."""
    tx.connection.driver_connection.execute("ROLLBACK")
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise error


def malform(path: Path) -> None:
    """Overwrites the page on which the table of notes begins."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        page = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'notes'").fetchone()[0]
        size = file.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as image:
        image.seek((page - 1) * size)
        image.write(b"\xff" * size)


NEIGHBOURS = pytest.mark.parametrize("neighbours", [0, 2], ids=["alone", "in a batch"])


@NEIGHBOURS
async def test_a_disk_that_fails_ends_the_watch(tmp_path: Path, neighbours: int) -> None:
    async with a_database(tmp_path) as database:
        watching = asyncio.create_task(database.watch())
        answers = await in_one_batch(database, disk_error, *[lambda _tx: None] * neighbours)
        assert isinstance(answers[0], Unavailable)
        with pytest.raises(DatabaseLost, match=r"notes\.db"):
            async with asyncio.timeout(0.5):
                await watching


def read(tx: Connection) -> object:
    return tx.execute(sql.select(NOTES)).all()


@NEIGHBOURS
@pytest.mark.parametrize("work", [Note("new"), read], ids=["write", "read"])
async def test_a_malformed_file_ends_the_watch(tmp_path: Path, neighbours: int, work: Work) -> None:
    async with a_database(tmp_path) as database:
        await database.run(Note("kept"))
    malform(database.path)
    async with a_database(tmp_path) as database:
        watching = asyncio.create_task(database.watch())
        answers = await in_one_batch(database, work, *[lambda _tx: None] * neighbours)
        assert isinstance(answers[0], Unavailable)
        assert "damaged" in str(answers[0])
        with pytest.raises(DatabaseLost, match=r"notes\.db"):
            async with asyncio.timeout(0.5):
                await watching


async def test_an_error_of_a_statement_does_not_end_the_watch(tmp_path: Path) -> None:
    async with a_database(tmp_path) as database:
        watching = asyncio.create_task(database.watch())
        await in_one_batch(database, Note("once"), Note("once"))
        await notes_in(database)
        assert not watching.done()
        watching.cancel()


async def test_a_file_that_is_no_database_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(DatabaseLost, match=r"notes\.db"):
        SqliteDatabase(tmp_path / "notes.db", METADATA)
