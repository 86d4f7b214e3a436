"""Forgets sagas that ended long ago: first what the ledgers know of them, then their own rows.

    chosen ── all ledgers say that no event waits ── all ledgers forget ── the saga's rows are deleted

What may happen at any point, and what follows:
- the process dies, a participant is away, the caller gives up: the saga's row is still there, so it is chosen again,
  and a ledger that has forgotten it already forgets nothing more;
- several orchestrators do it at once: one of them finds less to do;
- an event of the saga still waits for publication with some participant (the broker was away, the mesh was down): it
  triggers steps of others when it is published at last, so all ledgers keep the saga, and so do we;
- something asks for a step again: the ledgers would not know it and do it anew. So a saga must have ended longer ago
  than the stream keeps its events. What comes later still (a dead letter that is put back after weeks, a client that
  starts the saga again) is taken for new: hence the longer default of the setting.

Never touched: what has not ended, a stalled saga above all; a damaged row, as nothing in it can be trusted; and a child
as long as its parent is there, since a parent that runs again starts its children again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from ensemble.participant.v1.participant_pb2 import PruneLedgerRequest
from mesh.clock import Clock, WallClock
from mesh.contract import Contract, service_name
from mesh.database import Database
from mesh.errors import Invalid, Unavailable
from mesh.settings import DAY_S, EVENTS_KEPT_S
from orchestrator import store
from orchestrator.journal import ENDED
from orchestrator.ledgers import Ledgers
from orchestrator.tables import MAIL, SAGAS, STEPS

log = logging.getLogger(__name__)

# In one transaction of each database, for which others wait (tens of milliseconds on SQLite). A request takes 1,000.
BATCH_SAGAS = 250
# How often a process looks by itself, give or take a half, so that replicas do not look together.
EVERY_S = 3600.0

Place = tuple[int, str]  # in the order of the ends: microseconds, saga id
_BEGINNING: Place = (1, "")  # 0 have those that have not ended

_C = SAGAS.c
_PARENTS = SAGAS.alias("parents")


@dataclass(frozen=True)
class Pruned:
    """What was forgotten."""

    sagas: int = 0
    ledger_rows: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.sagas + other.sagas, self.ledger_rows + other.ledger_rows)


class Pruning:
    """Prunes one mesh. Any number of tasks and processes may do so at once."""

    def __init__(self, contract: Contract, ledgers: Ledgers, database: Database, clock: Clock | None = None) -> None:
        self.participants = sorted({service_name(m.service) for m in contract.methods.values() if m.participates})
        self._ledgers = ledgers
        self._database = database
        self._clock = clock or WallClock()

    async def prune_for_ever(self, older_than_s: float) -> None:
        """Prunes now and then. A side task."""
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * EVERY_S)
            try:
                pruned = await self.prune(older_than_s)
            except Unavailable as error:
                log.warning("old sagas stay for now: %s", error)
            else:
                log.info("%d old sagas and %d rows of ledgers were pruned", pruned.sagas, pruned.ledger_rows)

    async def prune(self, older_than_s: float, within_s: float = math.inf) -> Pruned:
        """Forgets the sagas that ended longer ago, oldest first; begins no further batch after `within_s` seconds.

        Raises Invalid for an age that is not safe, and Unavailable where a participant or the database is away: what
        was forgotten before that stays forgotten, and the rest is still there.
        """
        if older_than_s < EVENTS_KEPT_S:
            days = EVENTS_KEPT_S // DAY_S
            raise Invalid([("older_than", f"must be {days} days or more: so long the stream keeps the sagas' events")])
        ended_before_us = max(0, self._clock.now_us() - int(older_than_s * 1e6))
        loop = asyncio.get_running_loop()
        stop_s = loop.time() + within_s
        total = Pruned()
        try:
            async for pruned in self._batches(ended_before_us):
                total += pruned
                if loop.time() >= stop_s:
                    break
        except Unavailable as error:
            raise Unavailable(f"{error}; {total.sagas} sagas were pruned before", reason=error.reason) from None
        return total

    async def _batches(self, ended_before_us: int) -> AsyncIterator[Pruned]:
        """Batch by batch, until there is nothing that may go."""
        after, went = _BEGINNING, 0
        while True:
            found = await self._oldest(ended_before_us, after)
            if found:
                # On from there, not from the beginning: some of these may have been kept.
                after = (found[-1].ended_us, found[-1].saga_id)
                pruned = await self._forget(await self._ended([row.saga_id for row in found]), ended_before_us)
                went += pruned.sagas
                yield pruned
            elif went:
                after, went = _BEGINNING, 0  # for children whose parents are gone now
            else:
                return

    async def _oldest(self, ended_before_us: int, after: Place) -> list[sql.Row[Any]]:
        return await self._database.run(lambda tx: list(tx.execute(_oldest(ended_before_us, after))))

    async def _ended(self, saga_ids: list[str]) -> list[str]:
        """Those of them that have ended, and are not damaged."""
        journals = await self._database.run(lambda tx: store.read_many(tx, saga_ids))
        return [journal.saga_id for journal in journals if journal.ended]

    async def _forget(self, saga_ids: list[str], ended_before_us: int) -> Pruned:
        asked = await self._ask_all(saga_ids, dry_run=True)
        settled = [saga_id for saga_id in saga_ids if saga_id not in asked.kept]
        told = await self._ask_all(settled)
        gone = [saga_id for saga_id in settled if saga_id not in told.kept]
        sagas = await self._database.run(lambda tx: _delete(tx, gone, ended_before_us))
        return Pruned(sagas, told.rows)

    async def _ask_all(self, saga_ids: list[str], *, dry_run: bool = False) -> _Answers:
        answers = _Answers()
        if saga_ids:
            request = PruneLedgerRequest(saga_ids=saga_ids, dry_run=dry_run)
            for participant in self.participants:
                answer = await self._ledgers.prune(participant, request)
                answers = _Answers(answers.rows + answer.rows, answers.kept.union(answer.kept_saga_ids))
        return answers


@dataclass(frozen=True)
class _Answers:
    """What all participants say together: how many rows went, and which sagas at least one of them keeps."""

    rows: int = 0
    kept: frozenset[str] = frozenset()


def _old(ended_before_us: int) -> sql.ColumnElement[bool]:
    return (_C.ended_us < ended_before_us) & _C.status.in_(ENDED)


def _oldest(ended_before_us: int, after: Place) -> sql.Select[Any]:
    """The next batch of sagas that ended before, without children whose parents are there."""
    has_parent = sql.exists().where(_PARENTS.c.saga_id == _C.parent)
    further = sql.tuple_(_C.ended_us, _C.saga_id) > after
    query = sql.select(SAGAS).where(_old(ended_before_us), further, (_C.parent == "") | ~has_parent)
    return query.order_by(_C.ended_us, _C.saga_id).limit(BATCH_SAGAS)


def _delete(tx: Connection, saga_ids: list[str], ended_before_us: int) -> int:
    """Deletes those that are still there and still old; returns how many."""
    old = sql.select(_C.saga_id).where(_C.saga_id.in_(saga_ids), _old(ended_before_us))
    # Locked in one order, so that two who delete the same do not lock each other out.
    gone = list(tx.execute(old.order_by(_C.saga_id).with_for_update()).scalars())
    for table in (STEPS, MAIL, SAGAS):
        tx.execute(sql.delete(table).where(table.c.saga_id.in_(gone)))
    return len(gone)
