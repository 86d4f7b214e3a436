"""The inline database keeps the promises of mesh.database that have nothing to do with time."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
import sqlalchemy as sql
from sqlalchemy import Connection

from mesh import virtual_time
from mesh.database import savepoint
from mesh.errors import Unavailable
from mesh.inline_database import InlineDatabase

METADATA = sql.MetaData()
NOTES = sql.Table("notes", METADATA, sql.Column("text", sql.String, primary_key=True))


def note(text: str) -> sql.Insert:
    return sql.insert(NOTES).values(text=text)


def notes(tx: Connection) -> list[str]:
    return list(tx.execute(sql.select(NOTES.c.text).order_by(NOTES.c.text)).scalars())


async def test_what_a_work_wrote_is_there_for_the_next() -> None:
    database = InlineDatabase(METADATA)
    await database.run(lambda tx: tx.execute(note("one")))
    assert await database.run(notes) == ["one"]
    await database.close()


async def test_a_work_that_raises_is_rolled_back_and_its_caller_gets_the_error() -> None:
    database = InlineDatabase(METADATA)

    def work(tx: Connection) -> None:
        tx.execute(note("half"))
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await database.run(work)
    assert await database.run(notes) == []
    await database.close()


async def test_a_savepoint_undoes_its_block_and_no_more() -> None:
    database = InlineDatabase(METADATA)

    def work(tx: Connection) -> None:
        tx.execute(note("kept"))
        with contextlib.suppress(LookupError), savepoint(tx):
            tx.execute(note("undone"))
            raise LookupError

    await database.run(work)
    assert await database.run(notes) == ["kept"]
    await database.close()


async def test_others_get_a_turn_while_a_work_commits() -> None:
    database = InlineDatabase(METADATA)
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    task = asyncio.create_task(other())
    await database.run(lambda tx: turns.append("work"))
    turns.append("caller")
    await task
    assert turns == ["work", "other", "caller"]
    await database.close()


async def test_a_closed_database_refuses() -> None:
    database = InlineDatabase(METADATA)
    await database.close()
    await database.close()
    with pytest.raises(Unavailable):
        await database.run(notes)


async def test_a_file_is_found_again(tmp_path: Path) -> None:
    for text in ("one", "two"):
        database = InlineDatabase(METADATA, path=tmp_path / "notes.db")
        await database.run(lambda tx, text=text: tx.execute(note(text)))  # type: ignore[misc]
        found = await database.run(notes)
        await database.close()
    assert found == ["one", "two"]


def test_it_outlives_the_loop_that_used_it() -> None:
    database = InlineDatabase(METADATA)

    async def write() -> None:
        await database.run(lambda tx: tx.execute(note("one")))

    async def read() -> list[str]:
        return await database.run(notes)

    virtual_time.run(write)
    assert virtual_time.run(read) == ["one"]
