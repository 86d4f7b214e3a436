"""The states of sagas, for those who watch: however many they are, a state is read once.

Who runs here tells of its changes (mesh.changes), and so does the tracker. What other orchestrators change is looked
for with one query for all watched sagas together, `LOOK_EVERY_S`. States that follow each other faster than a watcher
reads are merged; the last one always comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.changes import Changes
from mesh.database import Database
from mesh.errors import Unavailable
from orchestrator.engine import Engine
from orchestrator.journal import Journal
from orchestrator.tables import SAGAS

LOOK_EVERY_S = 0.5
IDS_MAX = 500  # in one query

_UPDATED = sql.select(SAGAS.c.saga_id, SAGAS.c.updated_us).where(
    SAGAS.c.saga_id.in_(sql.bindparam("saga_ids", expanding=True))
)


class Watching:
    """All the watchers of one process."""

    def __init__(self, engine: Engine, database: Database, changes: Changes) -> None:
        self._engine = engine
        self._database = database
        self._changes = changes
        self._watched: dict[str, int] = {}  # how many watch a saga
        self._seen_us: dict[str, int] = {}  # when it had changed last, as far as its watchers know
        self._reading: dict[str, asyncio.Task[Journal]] = {}

    async def states(self, saga_id: str) -> AsyncIterator[Journal]:
        """The saga as it stands, then after every change, until it has ended; raises NotFound."""
        self._watched[saga_id] = self._watched.get(saga_id, 0) + 1
        try:
            with self._changes.watch(saga_id) as changed:
                while True:
                    changed.clear()
                    journal = await self._read(saga_id)
                    yield journal
                    if journal.ended:
                        return
                    await changed.wait()
        finally:
            self._watched[saga_id] -= 1
            if not self._watched[saga_id]:
                del self._watched[saga_id]
                self._seen_us.pop(saga_id, None)

    async def look_for_ever(self) -> None:
        """Finds what others have changed. A side task of a process whose database has other writers."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            elsewhere = [saga_id for saga_id in self._watched if not self._engine.runs(saga_id)]
            try:
                for begin in range(0, len(elsewhere), IDS_MAX):
                    await self._look(elsewhere[begin : begin + IDS_MAX])
            except Unavailable:
                continue  # whoever reads is told

    async def _read(self, saga_id: str) -> Journal:
        if self._engine.runs(saga_id):
            return await self._engine.get(saga_id)
        if (reading := self._reading.get(saga_id)) is None:
            reading = self._reading[saga_id] = asyncio.create_task(self._engine.get(saga_id), name=f"read {saga_id}")
            reading.add_done_callback(lambda _: self._reading.pop(saga_id, None))
        journal = await asyncio.shield(reading)
        self._seen_us[saga_id] = journal.updated_us
        return journal

    async def _look(self, saga_ids: list[str]) -> None:
        def work(tx: Connection) -> list[tuple[str, int]]:
            return [(row.saga_id, row.updated_us) for row in tx.execute(_UPDATED, {"saga_ids": saga_ids})]

        for saga_id, updated_us in await self._database.run(work):
            if updated_us != self._seen_us.get(saga_id):
                self._changes.changed(saga_id)
