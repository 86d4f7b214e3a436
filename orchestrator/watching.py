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

_UPDATED = sql.select(SAGAS.c.saga_id, SAGAS.c.updated_us, SAGAS.c.status).where(
    SAGAS.c.saga_id.in_(sql.bindparam("saga_ids", expanding=True))
)


class _Watched:
    """One saga that is watched: its state as it was read last, for all who watch it."""

    def __init__(self) -> None:
        self.watchers = 0
        self.reads = 0  # grows with every read
        self.journal: Journal | None = None
        self.error: Exception | None = None
        self.read = asyncio.Event()  # replaced after each read, so that it wakes each waiter once
        self.task: asyncio.Task[None] | None = None


class Watching:
    """All the watchers of one process."""

    def __init__(self, engine: Engine, database: Database, changes: Changes) -> None:
        self._engine = engine
        self._database = database
        self._changes = changes
        self._watched: dict[str, _Watched] = {}

    async def states(self, saga_id: str) -> AsyncIterator[Journal]:
        """The saga as it stands, then after every change, until it has ended; raises NotFound and Unavailable."""
        watched = self._watched.get(saga_id)
        if watched is None:
            watched = self._watched[saga_id] = _Watched()
            watched.task = asyncio.create_task(self._follow(saga_id, watched), name=f"watch {saga_id}")
        watched.watchers += 1
        seen = 0
        try:
            while True:
                if watched.reads == seen:
                    await watched.read.wait()
                    continue
                seen = watched.reads
                if watched.error is not None:
                    raise watched.error
                assert watched.journal is not None
                last = watched.journal.ended  # as it is told: its run goes on changing it
                yield watched.journal
                if last:
                    return
        finally:
            watched.watchers -= 1
            if not watched.watchers and watched.task is not None:
                watched.task.cancel()
                self._forget(saga_id, watched)

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

    async def _follow(self, saga_id: str, watched: _Watched) -> None:
        """Reads a saga now and after each change, until it has ended or cannot be read."""
        with self._changes.watch(saga_id) as changed:
            while True:
                changed.clear()
                try:
                    watched.journal = await self._engine.get(saga_id)
                except Exception as error:
                    watched.error = error
                watched.reads += 1
                watched.read.set()
                watched.read = asyncio.Event()
                if watched.error is not None or (watched.journal is not None and watched.journal.ended):
                    break
                await changed.wait()
        self._forget(saga_id, watched)  # who comes now reads anew

    def _forget(self, saga_id: str, watched: _Watched) -> None:
        if self._watched.get(saga_id) is watched:
            del self._watched[saga_id]

    async def _look(self, saga_ids: list[str]) -> None:
        def work(tx: Connection) -> list[tuple[str, int, int]]:
            found = tx.execute(_UPDATED, {"saga_ids": saga_ids})
            return [(row.saga_id, row.updated_us, row.status) for row in found]

        for saga_id, *state in await self._database.run(work):
            known = watched.journal if (watched := self._watched.get(saga_id)) is not None else None
            # Also by its status: that a saga stalls is no progress, and moves no time.
            if known is not None and state != [known.updated_us, known.status]:
                self._changes.changed(saga_id)
