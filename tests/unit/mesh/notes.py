"""A table of notes, and a way to bring works into one batch of a database for certain."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.database import Database
from mesh.sqlite import SqliteDatabase

METADATA = sql.MetaData()
NOTES = sql.Table(
    "notes", METADATA, sql.Column("text", sql.String, primary_key=True), sql.Column("data", sql.LargeBinary)
)

Work = Callable[[Connection], Any]


@asynccontextmanager
async def a_database(folder: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(folder / "notes.db", METADATA)
    try:
        yield database
    finally:
        await database.close()


class Note:
    """A work that writes one note, and counts how often it ran."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.runs = 0

    def __call__(self, tx: Connection) -> str:
        self.runs += 1
        tx.execute(sql.insert(NOTES).values(text=self.text))
        return self.text


async def notes_in(database: Database) -> set[str]:
    """The notes that are committed: read by a transaction of its own."""
    return set(await database.run(lambda tx: tx.execute(sql.select(NOTES.c.text)).scalars().all()))


@asynccontextmanager
async def writer_held(database: SqliteDatabase) -> AsyncIterator[None]:
    """Inside, the writer is busy: what is submitted waits. What waited at the end shares the next batch."""
    busy, go_on = threading.Event(), threading.Event()

    def hold(_tx: Connection) -> None:
        busy.set()
        assert go_on.wait(10)

    holding = asyncio.create_task(database.run(hold))
    assert await asyncio.to_thread(busy.wait, 10)
    try:
        yield
    finally:
        go_on.set()
        await holding


async def in_one_batch(database: SqliteDatabase, *works: Work) -> list[Any]:
    """What each work returned or raised, all of them in one batch."""
    async with writer_held(database):
        tasks = [asyncio.create_task(database.run(work)) for work in works]
        await asyncio.sleep(0)  # each task runs up to where it waits, so all are submitted
    async with asyncio.timeout(10):
        return await asyncio.gather(*tasks, return_exceptions=True)
