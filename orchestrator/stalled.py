"""Finds sagas that do not get on: no progress for so long, or past the deadline of the starting event.

A choreographed one is marked as STALLED in its row, with what it waits for. Nobody drives it, so nothing is stopped by
that: the tracker takes the mark away with the next event that says something new. The mark is a function of the row
and the time, so it does not matter which replica writes it: the first one does, the others pass by what it has locked.

An orchestrated one goes on: the engine calls until it is answered. That it is late is worked out when somebody looks
(orchestrator.picture); who watches it is told, and the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.changes import Changes
from mesh.clock import Clock, WallClock
from mesh.contract import Contract
from mesh.database import Database
from mesh.errors import Unavailable
from mesh.sql import Prepared
from orchestrator import store
from orchestrator.choreography import stall
from orchestrator.journal import CHOREOGRAPHED, GOING, Journal
from orchestrator.lateness import late
from orchestrator.picture import waits_for
from orchestrator.tables import FOLLOWED, SAGAS

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
BATCH_MAX = 100

_C = SAGAS.c
QUIET = Prepared(
    sql.select(_C.saga_id)
    .where(FOLLOWED, _C.updated_us < sql.bindparam("before_us"))
    .order_by(_C.updated_us, _C.saga_id)
    .limit(BATCH_MAX)
    .with_for_update(skip_locked=True)
)
OVERDUE = Prepared(
    sql.select(_C.saga_id)
    .where(
        _C.process == sql.bindparam("process"),
        _C.status == sql.bindparam("status"),
        _C.style == CHOREOGRAPHED,
        _C.started_us < sql.bindparam("before_us"),
    )
    .order_by(_C.started_us.desc(), _C.saga_id.desc())
    .limit(BATCH_MAX)
    .with_for_update(skip_locked=True)
)


class Stalled:
    """The side task of one orchestrator."""

    def __init__(
        self,
        contract: Contract,
        database: Database,
        changes: Changes,
        driven: Callable[[], Iterable[Journal]],
        is_behind: Callable[[float], bool],
        stalled_after_s: float,
        clock: Clock | None = None,
    ) -> None:
        """`driven` tells which sagas this orchestrator drives now, `is_behind` whether its tracker has to catch up."""
        self._contract = contract
        self._database = database
        self._changes = changes
        self._driven = driven
        self._is_behind = is_behind
        self._stalled_after_s = stalled_after_s
        self._clock = clock or WallClock()
        self._late: set[str] = set()

    async def find_for_ever(self) -> None:
        """Looks now and then. A side task.

        At first not for as long as a saga may make no progress: the tracker was down, and has to read what happened.
        """
        await asyncio.sleep(self._stalled_after_s)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.tell_of_late_ones()
            try:
                await self.mark()
            except Unavailable as error:
                log.warning("no look for stalled sagas: %s", error)

    async def mark(self) -> int:
        """Marks all choreographed sagas that do not get on; returns how many. None while the tracker is behind."""
        count = 0
        if self._is_behind(self._stalled_after_s):
            return count
        for find, values in self._searches():
            while marked := await self._database.run(lambda tx, f=find, v=values: self._mark(tx, f, v)):  # type: ignore[misc]
                count += len(marked)
                for journal in marked:
                    self._changes.changed(journal.saga_id)
                log.warning("%d sagas stall, %s: %s", len(marked), marked[0].saga_id, marked[0].stalled_reason)
        return count

    def tell_of_late_ones(self) -> None:
        """Wakes those who watch orchestrated sagas that are late now, or are not any more."""
        now_us = self._clock.now_us()
        found = {
            journal.saga_id: (why, journal)
            for journal in self._driven()
            if (why := late(self._contract, journal, now_us, self._stalled_after_s))
        }
        for saga_id in self._late ^ found.keys():
            self._changes.changed(saga_id)
        if new := sorted(found.keys() - self._late):
            why, journal = found[new[0]]
            waits = "; ".join(waits_for(self._contract, journal))
            log.warning("%d sagas are late, %s: %s: %s", len(new), new[0], why, waits)
        self._late = set(found)

    def _searches(self) -> Iterator[tuple[Prepared, tuple[Any, ...]]]:
        now_us = self._clock.now_us()
        yield QUIET, (now_us - int(self._stalled_after_s * 1e6),)
        for process in self._contract.processes.values():
            if process.start.deadline_s is not None:
                before_us = now_us - int(process.start.deadline_s * 1e6)
                for status in GOING:
                    yield OVERDUE, (process.name, status, before_us)

    def _mark(self, tx: Connection, find: Prepared, values: tuple[Any, ...]) -> list[Journal]:
        saga_ids = [saga_id for (saga_id,) in find.rows(tx, values)]
        journals, damages = store.load_many(tx, saga_ids) if saga_ids else ([], [])
        for damage in damages:
            store.quarantine(tx, damage)
        now_us = self._clock.now_us()
        for journal in journals:
            stall(self._contract, journal, late(self._contract, journal, now_us, self._stalled_after_s))
        store.put_sagas(tx, [store.saga_row(journal) for journal in journals])
        return journals
