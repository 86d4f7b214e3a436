"""Writes new sagas: durably, and where many are started at once, many in one transaction.

A commit costs about as much CPU as the rest of a short saga. Where few sagas run, a start is committed at once; where
many do, it waits for the others that come within a few milliseconds, which no one notices among them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import Connection

from mesh.database import Database
from mesh.shielding import to_its_end
from orchestrator import store
from orchestrator.journal import Journal
from orchestrator.store import Damaged

log = logging.getLogger(__name__)

MANY = 8
GATHER_S = 0.005
BATCH_MAX = 256


class Starts:
    """The starts of one engine. For use on one event loop."""

    def __init__(self, database: Database, running: Callable[[], int]) -> None:
        self._database = database
        self._running = running
        self._waiting: list[tuple[Journal, asyncio.Future[Journal | None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, journal: Journal) -> Journal | None:
        """Returns once a new saga is durable; the one that is there under its id, but for one never started.

        Raises Unavailable, after which nobody knows whether it was written.
        """
        added: asyncio.Future[Journal | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((journal, added))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="write starts")
        return await to_its_end(added)

    async def _write(self) -> None:
        try:
            while self._waiting:
                if self._running() > MANY:
                    await asyncio.sleep(GATHER_S)
                batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
                await self._write_batch(batch)
        finally:
            self._writing = None

    async def _write_batch(self, batch: list[tuple[Journal, asyncio.Future[Journal | None]]]) -> None:
        journals = [journal for journal, _ in batch]
        try:
            found = await self._database.run(lambda tx: [_add(tx, journal) for journal in journals])
        except Exception as error:
            for _, added in batch:
                added.set_exception(error)
            return
        for (_, added), known in zip(batch, found, strict=True):
            added.set_result(known)


def _add(tx: Connection, journal: Journal) -> Journal | None:
    if store.add_saga(tx, journal):
        return None
    try:
        known = store.load(tx, journal.saga_id, lock=True)
    except Damaged as damage:
        log.warning("%s; started again, the ledgers know what was done", damage)
        known = None
    if known is None or not known.input:  # only strange events of it were seen
        store.delete_steps(tx, [journal.saga_id])  # what was seen are no answers
        store.put_saga(tx, journal)
        return None
    return known
