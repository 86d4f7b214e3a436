"""The journal's tables on every backend of the database; a test with `bench` runs on all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mesh.database import Database
from mesh.databases import open_database
from mesh.settings import Settings
from orchestrator.tables import METADATA
from tests.unit.journal.journal_bench import JournalBench
from tests.unit.participant.participant_bench import BOTH, memory_folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


@pytest.fixture(params=BOTH)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return Settings(data=tmp_path, database_url=url)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = open_database(settings, "orchestrator", METADATA)
    yield opened
    await opened.close()


@pytest.fixture
async def bench(database: Database) -> JournalBench:
    return JournalBench(database)


@pytest.fixture
async def concurrent(postgres_url: str, tmp_path: Path) -> AsyncIterator[JournalBench]:
    """Where transactions run side by side: only PostgreSQL does that."""
    opened = open_database(Settings(data=tmp_path, database_url=postgres_url), "orchestrator", METADATA)
    yield JournalBench(opened)
    await opened.close()
