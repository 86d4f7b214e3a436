"""ensemble.participant.v1: forgets what the ledger knows of sagas that ended long ago.

Whoever asks (orchestrator.pruning) knows that they have ended; a ledger cannot. A saga of which an event still waits
for publication keeps all its rows: the event triggers steps elsewhere, and what they emit comes back here.

Only the ledger and the arrivals are pruned, never the tables of the service itself. Rows of what was never a saga (a
step that somebody called with an id of his own) are asked for by nobody, and stay.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from ensemble.participant.v1.participant_pb2 import DESCRIPTOR, PruneLedgerRequest, PruneLedgerResponse
from ensemble.participant.v1.participant_pb2_grpc import LedgerServiceServicer
from mesh.database import Database
from services.participant.participant import ARRIVALS, LEDGER

SERVICE = DESCRIPTOR.services_by_name["LedgerService"]


class LedgerService(LedgerServiceServicer):
    """See ensemble/participant/v1/participant.proto."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def PruneLedger(self, request: PruneLedgerRequest, context: Any) -> PruneLedgerResponse:
        """Forgets, in one transaction."""
        saga_ids = set(request.saga_ids)
        return await self._database.run(lambda tx: _answer(tx, saga_ids, dry_run=request.dry_run))


def _answer(tx: Connection, saga_ids: set[str], *, dry_run: bool) -> PruneLedgerResponse:
    kept = waiting(tx, saga_ids)
    rows = 0 if dry_run else prune(tx, saga_ids - kept)
    return PruneLedgerResponse(rows=rows, kept_saga_ids=sorted(kept))


def waiting(tx: Connection, saga_ids: Collection[str]) -> set[str]:
    """Those of the sagas of which an event waits for publication."""
    due = sql.select(LEDGER.c.saga_id).where(LEDGER.c.due.is_not(None), LEDGER.c.saga_id.in_(saga_ids))
    return set(tx.execute(due).scalars())


def prune(tx: Connection, saga_ids: Collection[str]) -> int:
    """Forgets these sagas; returns how many rows that were."""
    # `due` once more: on PostgreSQL a replica may have made a row due since we looked.
    settled = LEDGER.c.saga_id.in_(saga_ids) & LEDGER.c.due.is_(None)
    rows = tx.execute(sql.delete(LEDGER).where(settled)).rowcount
    return rows + tx.execute(sql.delete(ARRIVALS).where(ARRIVALS.c.saga_id.in_(saga_ids))).rowcount
