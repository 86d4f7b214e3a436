"""Works that share a commit do not share their fate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from mesh import sqlite
from mesh.database import Database, savepoint
from mesh.errors import Refused, Unavailable
from mesh.sqlite import BATCH_MAX
from tests.unit.mesh.notes import NOTES, Note, a_database, in_one_batch, notes_in

# Counts for ever; nothing is written before it ends.
ENDLESS = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n)"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with a_database(tmp_path) as database:
        yield database


@pytest.fixture
def commits() -> Iterator[list[Connection]]:
    """Every commit of every engine, as it happens."""
    seen: list[Connection] = []

    def see(connection: Connection) -> None:
        seen.append(connection)

    sql.event.listen(sql.Engine, "commit", see)
    yield seen
    sql.event.remove(sql.Engine, "commit", see)


def refuse_after(work: Note) -> object:
    def run(tx: Connection) -> None:
        work(tx)
        raise Refused("OUT_OF_STOCK")

    return run


async def test_works_that_wait_share_one_commit(database: Database, commits: list[Connection]) -> None:
    works = [Note(str(number)) for number in range(20)]
    assert await in_one_batch(database, *works) == [work.text for work in works]
    assert len(commits) == 2  # of the work that held the writer, and of the batch
    assert len(await notes_in(database)) == 20


async def test_a_batch_has_a_greatest_size(database: Database, commits: list[Connection]) -> None:
    works = [Note(str(number)) for number in range(BATCH_MAX + 1)]
    await in_one_batch(database, *works)
    assert len(commits) == 3
    assert [work.runs for work in works] == [1] * len(works)


async def test_a_work_that_raises_undoes_only_itself(database: Database, commits: list[Connection]) -> None:
    before, inside, after = Note("before"), Note("inside"), Note("after")
    answers = await in_one_batch(database, before, refuse_after(inside), after)
    assert isinstance(answers[1], Refused)
    assert (answers[0], answers[2]) == ("before", "after")
    assert await notes_in(database) == {"before", "after"}
    assert [work.runs for work in (before, inside, after)] == [1, 1, 1]


async def test_a_statement_that_fails_undoes_only_its_work(database: Database) -> None:
    answers = await in_one_batch(database, Note("once"), Note("once"), Note("other"))
    assert isinstance(answers[1], IntegrityError)
    assert await notes_in(database) == {"once", "other"}


async def test_a_work_alone_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(Refused):
        await database.run(refuse_after(Note("inside")))
    assert await notes_in(database) == set()


async def test_a_savepoint_inside_a_work_undoes_only_its_block(database: Database) -> None:
    def work(tx: Connection) -> None:
        Note("kept")(tx)
        with contextlib.suppress(Refused), savepoint(tx):
            Note("undone")(tx)
            raise Refused("OUT_OF_STOCK")

    await in_one_batch(database, work, Note("other"))
    await database.run(lambda tx: Note("alone")(tx))
    assert await notes_in(database) == {"kept", "other", "alone"}


async def test_a_batch_that_was_rolled_back_behind_its_back_is_run_again_one_by_one(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    before, after, taken_back = Note("before"), Note("after"), Note("taken back")

    def take_back_once(tx: Connection) -> str:
        text = taken_back(tx)
        if taken_back.runs == 1:
            tx.connection.driver_connection.execute("ROLLBACK")
        return text

    with caplog.at_level(logging.WARNING):
        assert await in_one_batch(database, before, take_back_once, after) == ["before", "taken back", "after"]
    assert await notes_in(database) == {"before", "taken back", "after"}
    assert (before.runs, taken_back.runs, after.runs) == (2, 2, 1)
    assert "one by one" in caplog.text


async def test_a_full_disk_costs_only_the_work_that_did_not_fit(database: Database) -> None:
    pages = await database.run(lambda tx: tx.exec_driver_sql("PRAGMA page_count").scalar_one())
    await database.run(lambda tx: tx.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}"))
    before, after = Note("before"), Note("after")

    def too_big(tx: Connection) -> None:
        tx.execute(sql.insert(NOTES).values(text="big", data=b"x" * 4_000_000))

    answers = await in_one_batch(database, before, too_big, after)
    assert (answers[0], answers[2]) == ("before", "after")
    assert isinstance(answers[1], Unavailable)
    assert "disk is full" in str(answers[1])
    assert before.runs == 2  # SQLite took the whole batch back
    assert await notes_in(database) == {"before", "after"}


@pytest.mark.parametrize("statement", [f"SELECT {ENDLESS}", f"INSERT INTO notes (text) SELECT {ENDLESS}"])
async def test_a_statement_over_its_time_limit_is_interrupted(
    database: Database, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setattr(sqlite, "STATEMENT_LIMIT_S", 0.05)

    def endless(tx: Connection) -> None:
        tx.exec_driver_sql(statement)

    with pytest.raises(OperationalError, match="interrupted"):
        await database.run(endless)
    answers = await in_one_batch(database, Note("before"), endless, Note("after"))
    assert isinstance(answers[1], OperationalError)
    assert await notes_in(database) == {"before", "after"}


async def test_a_work_that_raises_stop_iteration_leaves_nobody_waiting(database: Database) -> None:
    def exhausted(_tx: Connection) -> None:
        next(iter(()))

    async with asyncio.timeout(1):
        answers = await in_one_batch(database, Note("before"), exhausted, Note("after"))
    assert isinstance(answers[1], BaseException)
    assert await notes_in(database) == {"before", "after"}
