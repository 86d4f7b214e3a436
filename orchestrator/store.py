"""The journal's tables, and who writes them when.

A start and a cancellation are committed before they are acknowledged. All else is written behind: changes gather
in memory, and one transaction writes what has gathered while the one before was under way. What a crash forgets of
that the ledgers know (orchestrator.journal).
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.database import Database
from mesh.paging import Cursor
from mesh.sql import insert
from orchestrator.journal import GOING, Journal, StepEntry, Style

log = logging.getLogger(__name__)

METADATA = sql.MetaData()

SAGAS = sql.Table(
    "sagas",
    METADATA,
    sql.Column("saga_id", sql.String(64), primary_key=True),
    sql.Column("process", sql.String(255), nullable=False),
    sql.Column("style", sql.Integer, nullable=False),
    sql.Column("input", sql.LargeBinary, nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("cancelling", sql.Boolean, nullable=False),
    sql.Column("refusal", sql.LargeBinary, nullable=False),
    sql.Column("result", sql.LargeBinary, nullable=False),
    sql.Column("stalled_reason", sql.String, nullable=False),
    sql.Column("stalled_help", sql.String, nullable=False),
    sql.Column("started_us", sql.BigInteger, nullable=False),
    sql.Column("updated_us", sql.BigInteger, nullable=False),
    sql.Column("ended_us", sql.BigInteger, nullable=False),
)
sql.Index("sagas_by_age", SAGAS.c.started_us, SAGAS.c.saga_id)
sql.Index("sagas_by_status", SAGAS.c.status, SAGAS.c.started_us, SAGAS.c.saga_id)

STEPS = sql.Table(
    "steps",
    METADATA,
    sql.Column("saga_id", sql.String(64), primary_key=True),
    sql.Column("method", sql.String(255), primary_key=True),
    sql.Column("step_key", sql.String(1024), primary_key=True),
    sql.Column("digest", sql.LargeBinary, nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("outcome", sql.LargeBinary, nullable=False),
    sql.Column("attempts", sql.Integer, nullable=False),
    sql.Column("started_us", sql.BigInteger, nullable=False),
    sql.Column("ended_us", sql.BigInteger, nullable=False),
    sql.Column("last_error", sql.String, nullable=False),
)

_SAGA_COLUMNS = tuple(column.name for column in SAGAS.columns)
_STEP_COLUMNS = tuple(column.name for column in STEPS.columns)


def _upsert(table: sql.Table) -> Any:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


_ADD_SAGA = insert(SAGAS).on_conflict_do_nothing()
_PUT_SAGA = _upsert(SAGAS)
_PUT_STEP = _upsert(STEPS)


def add_saga(tx: Connection, journal: Journal) -> bool:
    """Writes a new saga; False where there is one of this id."""
    return bool(tx.execute(_ADD_SAGA, _saga_row(journal)).rowcount)


def put_saga(tx: Connection, journal: Journal) -> None:
    """Writes a saga's state over what is there."""
    tx.execute(_PUT_SAGA, _saga_row(journal))


def put_step(tx: Connection, saga_id: str, step: StepEntry) -> None:
    """Writes a step over what is there."""
    tx.execute(_PUT_STEP, _step_row(saga_id, step))


def load(tx: Connection, saga_id: str) -> Journal | None:
    """A saga with its steps."""
    row = tx.execute(sql.select(SAGAS).where(SAGAS.c.saga_id == saga_id)).one_or_none()
    if row is None:
        return None
    journal = _journal(row)
    for step in tx.execute(sql.select(STEPS).where(STEPS.c.saga_id == saga_id)):
        entry = _entry(step)
        journal.steps[entry.key] = entry
    return journal


def going(tx: Connection) -> list[str]:
    """The ids of the sagas that the engine has to run on, oldest first."""
    query = sql.select(SAGAS.c.saga_id).where(SAGAS.c.status.in_(GOING), SAGAS.c.style == Style.STYLE_ORCHESTRATED)
    return list(tx.execute(query.order_by(SAGAS.c.started_us)).scalars())


def page(tx: Connection, *, status: int, process: str, style: int, after: Cursor | None, limit: int) -> list[Journal]:
    """Sagas without their steps, newest first, from behind the cursor."""
    query = sql.select(SAGAS).order_by(SAGAS.c.started_us.desc(), SAGAS.c.saga_id.desc()).limit(limit)
    if status:
        query = query.where(SAGAS.c.status == status)
    if process:
        query = query.where(SAGAS.c.process == process)
    if style:
        query = query.where(SAGAS.c.style == style)
    if after:
        query = query.where(sql.tuple_(SAGAS.c.started_us, SAGAS.c.saga_id) < (after.time_us, after.id))
    return [_journal(row) for row in tx.execute(query)]


class WriteBehind:
    """Gathers changes and writes them in batches. Later states of one saga or step replace earlier ones."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sagas: dict[str, dict[str, Any]] = {}
        self._steps: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._forgotten: set[str] = set()
        self._there_is_work = asyncio.Event()
        self._gathering: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def saga(self, journal: Journal) -> None:
        """Notes a saga's state as it is now."""
        self._sagas[journal.saga_id] = _saga_row(journal)
        self._there_is_work.set()

    def step(self, saga_id: str, step: StepEntry) -> None:
        """Notes a step as it is now."""
        self._steps[saga_id, step.method, step.step_key] = _step_row(saga_id, step)
        self._there_is_work.set()

    def forget_steps(self, saga_id: str) -> None:
        """Takes out all steps of a saga that were noted or written before."""
        self._steps = {key: row for key, row in self._steps.items() if key[0] != saga_id}
        self._forgotten.add(saga_id)
        self._there_is_work.set()

    async def run(self) -> None:
        """Writes what gathers. A side task; where a write fails, the process ends and the ledgers know the rest."""
        while True:
            await self._there_is_work.wait()
            self._there_is_work.clear()
            sagas, self._sagas = list(self._sagas.values()), {}
            steps, self._steps = list(self._steps.values()), {}
            forgotten, self._forgotten = sorted(self._forgotten), set()
            written, self._gathering = self._gathering, asyncio.get_running_loop().create_future()
            await self._database.run(partial(_write, forgotten=forgotten, sagas=sagas, steps=steps))
            written.set_result(None)

    async def flushed(self) -> None:
        """Returns once all that was noted before is committed."""
        # What was taken for writing is committed before what gathers now, so waiting for the latter is enough.
        self._there_is_work.set()
        await asyncio.shield(self._gathering)


def _write(tx: Connection, forgotten: list[str], sagas: list[dict[str, Any]], steps: list[dict[str, Any]]) -> None:
    for saga_id in forgotten:
        tx.execute(sql.delete(STEPS).where(STEPS.c.saga_id == saga_id))
    if sagas:
        tx.execute(_PUT_SAGA, sagas)
    if steps:
        tx.execute(_PUT_STEP, steps)


def _saga_row(journal: Journal) -> dict[str, Any]:
    return {name: getattr(journal, name) for name in _SAGA_COLUMNS}


def _step_row(saga_id: str, step: StepEntry) -> dict[str, Any]:
    return {"saga_id": saga_id, **{name: getattr(step, name) for name in _STEP_COLUMNS[1:]}}


def _journal(row: sql.Row[Any]) -> Journal:
    return Journal(**row._mapping)


def _entry(row: sql.Row[Any]) -> StepEntry:
    values = dict(row._mapping)
    del values["saga_id"]
    return StepEntry(**values)
