"""Writes the journal behind: what changes gathers in memory, and one transaction writes what has gathered.

A saga changes many times in the few milliseconds of its life, so what was noted waits a little (`LAG_S`), unless
somebody waits for it (`flushed`): most of a saga's states never reach the disk, only its last. A crash forgets at most
what was noted and not flushed, and the participants' ledgers know that.

Rows are made from the journals when they are written, not when they are noted. Only the owner's rows are written
(orchestrator.leases); whose sagas have been taken by another orchestrator is told to `lost`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import Connection

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.backoff import Backoff
from mesh.database import Database
from mesh.errors import Unavailable
from orchestrator import leases, store
from orchestrator.journal import Journal, StepEntry
from orchestrator.mailbox import child_mail

log = logging.getLogger(__name__)

LAG_S = 0.05
# The database is away (a restart, a full disk): the sagas run on, and what they come to waits here.
AGAIN = Backoff(first_s=0.05, max_s=2.0)


class WriteBehind:
    """The journal of one orchestrator's sagas, on its way to the disk. For use on one event loop."""

    def __init__(
        self, database: Database, owner: str, lost: Callable[[set[str]], None], mail_came: Callable[[str], None]
    ) -> None:
        self._database = database
        self._owner = owner
        self._lost = lost
        self._mail_came = mail_came
        self._sagas: dict[str, Journal] = {}
        self._steps: dict[str, dict[int, StepEntry]] = {}
        self._forgotten: set[str] = set()
        self._there_is_work = asyncio.Event()
        self._urgent = asyncio.Event()
        self._gathering: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def saga(self, journal: Journal) -> None:
        """Notes that a saga's state is another."""
        self._sagas[journal.saga_id] = journal
        self._there_is_work.set()

    def step(self, saga_id: str, step: StepEntry) -> None:
        """Notes that a step's state is another."""
        self._steps.setdefault(saga_id, {})[id(step)] = step
        self._there_is_work.set()

    def forget_steps(self, saga_id: str) -> None:
        """Takes out all steps of a saga that were noted or written before."""
        self._steps.pop(saga_id, None)
        self._forgotten.add(saga_id)
        self._there_is_work.set()

    async def run(self) -> None:
        """Writes what gathers. A side task of the process."""
        while True:
            await self._there_is_work.wait()
            if not self._urgent.is_set():
                await self._lag()
            self._there_is_work.clear()
            self._urgent.clear()
            work = self._take()
            written, self._gathering = self._gathering, asyncio.get_running_loop().create_future()
            await self._write(work)
            written.set_result(None)

    async def flushed(self) -> None:
        """Returns once all that was noted before is committed."""
        # What was taken for writing is committed before what gathers now, so waiting for the latter is enough.
        self._urgent.set()
        self._there_is_work.set()
        await asyncio.shield(self._gathering)

    async def written(self) -> None:
        """Like `flushed`, but does not hurry it."""
        self._there_is_work.set()
        await asyncio.shield(self._gathering)

    async def _lag(self) -> None:
        try:
            async with asyncio.timeout(LAG_S):
                await self._urgent.wait()
        except TimeoutError:
            pass

    def _take(self) -> _Batch:
        sagas, self._sagas = self._sagas, {}
        steps, self._steps = self._steps, {}
        forgotten, self._forgotten = self._forgotten, set()
        return _Batch(
            self._owner,
            forgotten,
            [_row(journal, self._owner) for journal in sagas.values()],
            [store.step_row(saga_id, step) for saga_id, noted in steps.items() for step in noted.values()],
            [journal for journal in sagas.values() if journal.ended and journal.parent],
        )

    async def _write(self, batch: _Batch) -> None:
        tries = 0
        while True:
            try:
                lost = await self._database.run(batch.write)
                break
            except Unavailable as error:
                tries += 1
                log.warning("the journal cannot be written now: %s", error)
                await asyncio.sleep(AGAIN.delay_s(tries))
        if lost:
            self._lost(lost)
        for parent in batch.parents:
            self._mail_came(parent)


class _Batch:
    """Rows to write in one transaction."""

    def __init__(
        self,
        owner: str,
        forgotten: set[str],
        sagas: list[store.Row],
        steps: list[store.Row],
        children: list[Journal],
    ) -> None:
        self._owner = owner
        self._forgotten = forgotten
        self._sagas = sagas
        self._steps = steps
        self._ends = [(child, _end(child)) for child in children]

    @property
    def parents(self) -> list[str]:
        """The sagas whose children have ended."""
        return [child.parent for child, _ in self._ends]

    def write(self, tx: Connection) -> set[str]:
        """Writes what is still the owner's; returns the ids of the sagas that are not."""
        ids = self._forgotten | {saga_id for saga_id, *_ in self._sagas} | {saga_id for saga_id, *_ in self._steps}
        if not ids:
            return set()
        owned = leases.owned(tx, self._owner, ids)
        store.delete_steps(tx, self._forgotten & owned)
        store.put_steps(tx, [row for row in self._steps if row[0] in owned])
        store.put_sagas(tx, [row for row in self._sagas if row[0] in owned])
        for child, end in self._ends:
            if child.saga_id in owned:
                store.deliver(tx, child.parent, child_mail(child.saga_id), end, child.ended_us)
        return ids - owned


def _row(journal: Journal, owner: str) -> store.Row:
    journal.owner, journal.due_us = (owner if journal.driven else None), None
    return store.saga_row(journal)


def _end(journal: Journal) -> bytes:
    """How a child ended, as its parent gets it."""
    response = api.RunSagaResponse(saga=journal.to_proto(with_steps=False))
    if journal.result:
        response.result.ParseFromString(journal.result)
    if journal.refusal:
        response.refusal.ParseFromString(journal.refusal)
    return response.SerializeToString()
