"""The ledger: why a repeated call is safe.

One row for each step, keyed by (saga_id, method, step_key), written in the same transaction as the handler's own
changes. One table is thus the idempotency store (a repeated call gets the recorded answer, byte for byte), the inbox
(a redelivered event does nothing twice) and the outbox (an event that is `due` is published again after a crash).
The key is the same for gRPC and NATS: a step done over one is known over the other.

A row is in one of three states:

    DONE       the handler succeeded; `outcome` is its response
    REFUSED    it refused for a business reason; `outcome` is the google.rpc.Status
    TOMBSTONE  its compensation came first; the step will never happen. No digest: it matches any request

DONE and REFUSED never change again; a compensated step keeps its answer, because its callers have seen it. Only
outcomes are recorded: invalid messages, mismatches and technical errors leave no row.

Rows may be pruned only when nothing can ask for them any more: the saga has ended, longer ago than the stream
keeps events (services.participant.pruning, orchestrator.pruning).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED
from mesh.sql import Prepared


class State(StrEnum):
    """What became of a step."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    TOMBSTONE = "TOMBSTONE"


def ledger_table(metadata: sql.MetaData) -> sql.Table:
    """The ledger of one participant's database."""
    table = sql.Table(
        "ledger",
        metadata,
        sql.Column("saga_id", sql.String(64), primary_key=True),
        sql.Column("method", sql.String(255), primary_key=True),
        sql.Column("step_key", sql.String(1024), primary_key=True),
        sql.Column("state", sql.String(16), nullable=False),
        sql.Column("digest", sql.LargeBinary),
        sql.Column("outcome", sql.LargeBinary),
        sql.Column("event", sql.String(255), nullable=False),  # full name of what it emits; empty: nothing
        sql.Column("body", sql.LargeBinary),
        sql.Column("choreographed", sql.Boolean, nullable=False),  # an event of the choreography triggered it
        sql.Column("replay", sql.String(64), nullable=False),  # of the latest trigger
        sql.Column("due", sql.String(16)),  # the style in which its event waits for publication
    )
    is_due = table.c.due.is_not(None)
    sql.Index("ledger_due", table.c.saga_id, sqlite_where=is_due, postgresql_where=is_due)
    return table


@dataclass(frozen=True)
class StepId:
    """Which step: the key of its row."""

    saga_id: str
    method: str
    step_key: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.method}({self.saga_id}{', ' + self.step_key if self.step_key else ''})"


@dataclass(frozen=True)
class Row:
    """One step's row."""

    id: StepId
    state: State
    digest: bytes | None
    outcome: bytes | None
    event: str
    body: bytes | None
    choreographed: bool
    replay: str
    due: str | None


class _Statements:
    """What a ledger's table is asked."""

    def __init__(self, table: sql.Table, arrivals: sql.Table) -> None:
        c = table.c
        key = (c.saga_id == sql.bindparam("k_saga")) & (c.method == sql.bindparam("k_method"))
        key &= c.step_key == sql.bindparam("k_step")
        self.find = Prepared(sql.select(table).where(key))
        self.add = Prepared(table.insert())
        self.trigger_again = table.update().where(key)
        self.published = Prepared(
            table.update()
            .where(key, c.due == sql.bindparam("k_due"), c.replay == sql.bindparam("k_replay"))
            .values(due=sql.null())
        )
        saga: sql.BindParameter[str] = sql.bindparam("k_saga")
        by_event = sql.select(c.saga_id).where(c.saga_id == saga, c.choreographed)
        arrived = sql.select(arrivals.c.saga_id).where(arrivals.c.saga_id == saga)
        self.choreographed = Prepared(sql.select(sql.exists(by_event) | sql.exists(arrived)))
        due = sql.select(table).where(c.due.is_not(None)).order_by(c.saga_id).limit(sql.bindparam("k_limit"))
        self.due = Prepared(due)


# Of tables that several ledgers have in common, as those of many participants in one process, each is compiled once.
_statements = cache(_Statements)


class Ledger:
    """Reads and writes rows, inside the transactions of its callers."""

    def __init__(self, table: sql.Table, arrivals: sql.Table) -> None:
        self._statements = _statements(table, arrivals)

    def find(self, tx: Connection, step: StepId) -> Row | None:
        """The row of a step."""
        rows = self._statements.find.rows(tx, _key(step))
        return _row(rows[0]) if rows else None

    def add(self, tx: Connection, row: Row) -> None:
        """Writes the row of a step that has none."""
        recorded = (row.state.value, row.digest, row.outcome, row.event, row.body)
        self._statements.add.run(tx, (*_key(row.id), *recorded, row.choreographed, row.replay, row.due))

    def trigger_again(self, tx: Connection, row: Row) -> None:
        """Writes what changes when a recorded step is triggered again: event, body, choreographed, replay and due."""
        changed = {
            "event": row.event,
            "body": row.body,
            "choreographed": row.choreographed,
            "replay": row.replay,
            "due": row.due,
        }
        key = dict(zip(("k_saga", "k_method", "k_step"), _key(row.id), strict=True))
        tx.execute(self._statements.trigger_again, {**key, **changed})

    def published(self, tx: Connection, emissions: list[tuple[StepId, str, str]]) -> None:
        """Clears `due` of (step, style, replay), unless the event became due again in another way since."""
        # In one order everywhere, so that two replicas that mark the same rows do not lock each other out.
        self._statements.published.run_many(
            tx, sorted((*_key(step), style, replay) for step, style, replay in emissions)
        )

    def due(self, tx: Connection, limit: int) -> list[Row]:
        """Rows whose event waits for publication."""
        return [_row(row) for row in self._statements.due.rows(tx, (limit,))]

    def is_choreographed(self, tx: Connection, saga_id: str) -> bool:
        """Whether any event of the choreography triggered this participant in this saga."""
        return bool(self._statements.choreographed.rows(tx, (saga_id, saga_id))[0][0])


def style_of(choreographed: bool, public: bool) -> str | None:
    """In which style a step publishes its event; None: it does not."""
    if choreographed:
        return CHOREOGRAPHED
    return ORCHESTRATED if public else None


def _key(step: StepId) -> tuple[str, str, str]:
    return step.saga_id, step.method, step.step_key


def _row(columns: Sequence[Any]) -> Row:
    saga_id, method, step_key, state, digest, outcome, event, body, choreographed, replay, due = columns
    step = StepId(saga_id, method, step_key)
    return Row(step, State(state), digest, outcome, event, body, bool(choreographed), replay, due)
