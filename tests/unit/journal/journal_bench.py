"""Sagas and steps with every field filled, and transactions that meet where a test wants them to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.database import Database
from orchestrator import leases, store
from orchestrator.journal import Journal, SagaStatus, StepEntry, StepStatus, Style, pack
from orchestrator.leases import Claim
from orchestrator.tables import SAGAS
from shop.orders.v1.events_pb2 import OrderPlaced

T = TypeVar("T")

LIMIT_S = 10.0
ME, OTHER = "me", "other"
NOW_US = 1_795_000_000_000_000
LATER_US = NOW_US + 1_000_000
WORKFLOWS = [("fulfil-order", 1)]

INPUT = pack(OrderPlaced())

FULL = Journal(
    saga_id="order-1",
    process="fulfil-order",
    style=Style.STYLE_ORCHESTRATED,
    input=b"\x00\x01input\xff",
    started_us=NOW_US,
    version=1,
    parent="order-0",
    status=SagaStatus.SAGA_STATUS_RUNNING,
    cancelling=True,
    refusal=b"\x00refusal",
    result=b"\xffresult",
    stalled_reason="weil nichts mehr geht: «nie»",
    stalled_help="look at it",
    updated_us=NOW_US + 1,
    ended_us=NOW_US + 2,
)
STEP = StepEntry(
    method="shop.orders.v1.OrdersService.ConfirmOrder",
    step_key="key",
    started_us=NOW_US,
    digest=b"\x00digest",
    request=b"\xffrequest",
    status=StepStatus.STEP_STATUS_DONE,
    outcome=b"\x00outcome",
    attempts=3,
    ended_us=NOW_US + 1,
    last_error="UNAVAILABLE: weg",
)


def a_saga(saga_id: str, *, owner: str | None = None, due_us: int | None = None, **fields: Any) -> Journal:
    """A saga that is going, with a step."""
    saga = Journal(saga_id, "fulfil-order", Style.STYLE_ORCHESTRATED, INPUT, NOW_US, owner=owner, due_us=due_us)
    saga = replace(saga, **fields)
    saga.steps = {STEP.key: STEP}
    return saga


class JournalBench:
    """The journal's tables, each look and change in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def run(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Calls one of the store's functions in a transaction."""
        return await self.database.run(lambda tx: work(tx, *args, **kwargs))

    async def add(self, *sagas: Journal) -> None:
        """Writes sagas with their steps."""

        def work(tx: Connection) -> None:
            store.put_sagas(tx, [store.saga_row(saga) for saga in sagas])
            store.put_steps(tx, [store.step_row(saga.saga_id, s) for saga in sagas for s in saga.steps.values()])

        await self.database.run(work)

    async def load(self, saga_id: str) -> Journal:
        """A saga that is there."""
        saga = await self.run(store.load, saga_id)
        assert saga is not None
        return saga

    async def claim(self, *, owner: str = ME, now_us: int = NOW_US, limit: int = 100) -> Claim:
        """Claims what is due."""
        return await self.run(leases.claim, owner, now_us, limit, WORKFLOWS)

    async def where(self, saga_id: str) -> tuple[str | None, int | None]:
        """Who owns a saga, and when it is due."""
        query = sql.select(SAGAS.c.owner, SAGAS.c.due_us).where(SAGAS.c.saga_id == saga_id)
        owner, due_us = await self.database.run(lambda tx: tuple(tx.execute(query).one()))
        return owner, due_us

    @asynccontextmanager
    async def before_its_commit(self, work: Callable[[Connection], Any]) -> AsyncIterator[None]:
        """Inside, a transaction has done its work and is not committed yet; at the end it is."""
        done, go_on = threading.Event(), threading.Event()

        def held(tx: Connection) -> None:
            work(tx)
            done.set()
            assert go_on.wait(LIMIT_S)

        holding = asyncio.create_task(self.database.run(held))
        assert await asyncio.to_thread(done.wait, LIMIT_S)
        try:
            yield
        finally:
            go_on.set()
            await holding


async def waits_for_a_lock(url: str) -> None:
    """Returns once some transaction of the database waits for a lock of another."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    engine = sql.create_engine(sql.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        async with asyncio.timeout(LIMIT_S):
            while not connection.exec_driver_sql(waiting).all():  # noqa: ASYNC110  # another process has it
                await asyncio.sleep(0.01)
    engine.dispose()
