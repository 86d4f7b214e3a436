"""The journal's tables come from its migrations: new ones, those of the first milestone, and none that are too new."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from mesh.database import Database
from mesh.databases import open_database
from mesh.migrations import TooNew
from mesh.settings import Settings
from orchestrator import leases, store
from orchestrator.journal import Journal, SagaStatus, StepEntry, StepStatus, Style
from orchestrator.migrations import JOURNAL
from orchestrator.tables import METADATA
from tests.unit.journal.journal_bench import INPUT, ME, NOW_US, JournalBench, a_saga

# As the first milestone made them.
_FIRST = """
CREATE TABLE sagas (
    saga_id VARCHAR(64) NOT NULL, process VARCHAR(255) NOT NULL, style INTEGER NOT NULL, input {bytes} NOT NULL,
    status INTEGER NOT NULL, cancelling BOOLEAN NOT NULL, refusal {bytes} NOT NULL, result {bytes} NOT NULL,
    stalled_reason VARCHAR NOT NULL, stalled_help VARCHAR NOT NULL, started_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL, ended_us BIGINT NOT NULL, PRIMARY KEY (saga_id)
);
CREATE INDEX sagas_by_age ON sagas (started_us, saga_id);
CREATE INDEX sagas_by_status ON sagas (status, started_us, saga_id);
CREATE TABLE steps (
    saga_id VARCHAR(64) NOT NULL, method VARCHAR(255) NOT NULL, step_key VARCHAR(1024) NOT NULL,
    digest {bytes} NOT NULL, status INTEGER NOT NULL, outcome {bytes} NOT NULL, attempts INTEGER NOT NULL,
    started_us BIGINT NOT NULL, ended_us BIGINT NOT NULL, last_error VARCHAR NOT NULL,
    PRIMARY KEY (saga_id, method, step_key)
)
"""
_OLD_SAGAS = [
    Journal("running", "fulfil-order", Style.STYLE_ORCHESTRATED, INPUT, NOW_US - 9, updated_us=NOW_US - 8),
    Journal(
        "back",
        "fulfil-order",
        Style.STYLE_ORCHESTRATED,
        INPUT,
        NOW_US - 7,
        status=SagaStatus.SAGA_STATUS_COMPENSATING,
        cancelling=True,
        refusal=b"\x00refusal",
    ),
    Journal(
        "done",
        "fulfil-order",
        Style.STYLE_ORCHESTRATED,
        INPUT,
        NOW_US - 6,
        status=SagaStatus.SAGA_STATUS_COMPLETED,
        result=b"\xffresult",
        ended_us=NOW_US - 5,
    ),
    Journal(
        "stalled",
        "fulfil-order",
        Style.STYLE_ORCHESTRATED,
        INPUT,
        NOW_US - 4,
        status=SagaStatus.SAGA_STATUS_STALLED,
        stalled_reason="Grund “ä”",
        stalled_help="'quoted'",
    ),
    Journal("choreographed", "", Style.STYLE_CHOREOGRAPHED, b"", NOW_US - 3),
]
_OLD_STEPS = [
    StepEntry("A.Do", "", NOW_US, b"\x00digest", b"", StepStatus.STEP_STATUS_DONE, b"outcome", 2, NOW_US + 1, "ä'"),
    StepEntry("A.Do", "key", NOW_US, b"digest"),
]


class FirstMilestone:
    """A database as the first milestone left it."""

    def create_all(self, bind: Connection) -> None:
        for statement in _FIRST.format(bytes="BLOB" if bind.dialect.name == "sqlite" else "BYTEA").split(";"):
            bind.exec_driver_sql(statement)
        for saga in _OLD_SAGAS:
            _insert(bind, "sagas", saga, {})
            for step in _OLD_STEPS:
                _insert(bind, "steps", step, {"saga_id": saga.saga_id})


def _insert(bind: Connection, table: str, what: Any, values: dict[str, Any]) -> None:
    names = [column["name"] for column in sql.inspect(bind).get_columns(table)]
    values = {name: getattr(what, name, None) for name in names} | values
    bind.execute(sql.insert(sql.table(table, *map(sql.column, names))), values)


async def opened(settings: Settings, *schemas: Any) -> Database:
    return open_database(settings, "orchestrator", *schemas)


def indexes(tx: Connection) -> dict[str, str]:
    """The statements that make the indexes, as the database says them."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    if tx.dialect.name == "postgresql":
        query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
    return {name: " ".join(text.split()) for name, text in tx.exec_driver_sql(query)}


def collations(tx: Connection) -> list[tuple[Any, ...]]:
    """Which columns have an order of their own. SQLite has only one."""
    if tx.dialect.name == "sqlite":
        return []
    query = (
        "SELECT table_name, column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND table_name <> 'alembic_version' ORDER BY 1, 2"
    )
    return [tuple(row) for row in tx.exec_driver_sql(query)]


@pytest.mark.parametrize("old", [False, True])
async def test_what_the_migrations_make_equals_the_tables(settings: Settings, old: bool, tmp_path: Path) -> None:
    database = await opened(settings, *[FirstMilestone()] * old, JOURNAL)
    made = await database.run(indexes), {} if old else await database.run(collations)
    await database.run(
        lambda tx: (
            None
            if (differences := compare_metadata(MigrationContext.configure(tx), METADATA)) == []
            else pytest.fail(str(differences))
        )
    )
    await database.close()
    fresh = Settings(data=tmp_path / "fresh", database_url=settings.database_url)
    plain = open_database(fresh, "orchestrator_", METADATA)
    wanted = await plain.run(indexes), {} if old else await plain.run(collations)
    await plain.close()
    assert _here(made[0]) == _here(wanted[0])
    assert made[1] == wanted[1]


def _here(made: dict[str, str]) -> dict[str, str]:
    return {name: text.replace("orchestrator_.", "orchestrator.") for name, text in made.items() if name[:4] != "alem"}


def test_the_newest_version_is_the_one_that_the_program_names() -> None:
    assert ScriptDirectory(str(JOURNAL.scripts)).get_current_head() == JOURNAL.newest


async def test_a_journal_of_the_first_milestone_is_taken_over_in_place(settings: Settings) -> None:
    database = await opened(settings, FirstMilestone(), JOURNAL)
    bench = JournalBench(database)
    for old in _OLD_SAGAS:
        going = old.saga_id in ("running", "back")
        loaded = await bench.load(old.saga_id)
        assert await bench.where(old.saga_id) == (None, old.started_us if going else None)
        assert list(loaded.steps.values()) == _OLD_STEPS
        loaded.steps, loaded.due_us = {}, None
        assert loaded == old
    found = await bench.claim()
    assert ([saga.saga_id for saga in found.journals], found.damages) == (["running", "back"], [])
    await bench.run(store.put_saga, a_saga("new", owner=ME))
    await bench.run(leases.beat, ME, NOW_US)
    await database.close()


async def test_a_journal_that_is_up_to_date_is_opened_as_it_is(settings: Settings) -> None:
    for _ in range(2):
        database = await opened(settings, JOURNAL)
        await JournalBench(database).run(store.put_saga, a_saga("one"))
        await database.close()


class OfALaterProgram:
    """A database that a later version has been at."""

    def create_all(self, bind: Connection) -> None:
        bind.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")


async def test_a_journal_of_a_later_program_is_refused_and_what_to_do_is_said(settings: Settings) -> None:
    await (await opened(settings, JOURNAL, OfALaterProgram())).close()
    with pytest.raises(TooNew, match=r"has version 9999, this program knows \d{4}: .*run that one, or restore"):
        await opened(settings, JOURNAL)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *code.split(" ", 1)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_a_process_that_meets_a_later_journal_ends_with_one_line(tmp_path: Path) -> None:
    await (await opened(Settings(data=tmp_path), JOURNAL, OfALaterProgram())).close()
    ended = python("-m orchestrator", ENSEMBLE_DATA=str(tmp_path))
    assert ended.returncode == 1
    assert "ended by TooNew: the database has version 9999" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


async def test_an_ordinary_start_does_not_import_alembic(tmp_path: Path) -> None:
    """That would cost each 0.3 s of CPU."""
    await (await opened(Settings(data=tmp_path), JOURNAL)).close()
    code = (
        "-c import asyncio, sys; from pathlib import Path; import orchestrator.__main__ as main\n"
        "async def run(): await main.REAL.database(main.Settings(), main.NAME, main.JOURNAL).close()\n"
        "asyncio.run(run()); print('alembic' in sys.modules)"
    )
    ended = python(code, ENSEMBLE_DATA=str(tmp_path))
    assert (ended.stdout.strip(), ended.stderr) == ("False", "")
