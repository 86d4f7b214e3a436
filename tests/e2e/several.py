"""Several orchestrators on one PostgreSQL: how the tests talk to one of them, hold things up, and read their tables."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
from google.protobuf import any_pb2

from console import control
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from mesh.channel import connect
from mesh.databases import open_read_only
from mesh.settings import Settings
from orchestrator.journal import ENDED
from orchestrator.tables import ORCHESTRATORS, SAGAS, STEPS
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from tests.harness import RunningMesh, eventually, send

if TYPE_CHECKING:
    from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceAsyncStub

PROCESS = "fulfil-order"


def packed(order: Order) -> any_pb2.Any:
    """What starts the saga of an order."""
    wrapped = any_pb2.Any()
    wrapped.Pack(OrderPlaced(order=order))
    return wrapped


@asynccontextmanager
async def at(address: str) -> AsyncIterator[OrchestratorServiceAsyncStub]:
    """One orchestrator, and no other."""
    async with connect(address) as channel:
        yield OrchestratorServiceStub(channel)


async def start_all(orchestrator: OrchestratorServiceAsyncStub, orders: Iterable[Order]) -> None:
    """Starts the sagas of orders, durably."""
    requests = [api.StartSagaRequest(process=PROCESS, input=packed(order)) for order in orders]
    await asyncio.gather(*(orchestrator.StartSaga(request, timeout=5) for request in requests))


async def run(orchestrator: OrchestratorServiceAsyncStub, order: Order) -> api.Saga:
    """Starts the saga of an order where it was not started, and waits for its end."""
    request = api.RunSagaRequest(process=PROCESS, input=packed(order))
    return (await orchestrator.RunSaga(request, timeout=30)).saga


async def end_of(orchestrator: OrchestratorServiceAsyncStub, saga_id: str, within_s: float = 30) -> api.Saga:
    """A saga once it has ended, as an orchestrator tells it that may run it or not."""
    saga = api.Saga()
    async with asyncio.timeout(within_s):
        async for update in orchestrator.WatchSaga(api.WatchSagaRequest(saga_id=saga_id)):
            saga = update.saga
    assert saga.status in ENDED
    return saga


async def ends_of(orchestrator: OrchestratorServiceAsyncStub, orders: Iterable[Order]) -> set[str]:
    """In which states the sagas of orders have ended."""
    sagas = await asyncio.gather(*(end_of(orchestrator, order.order_id) for order in orders))
    return {api.SagaStatus.Name(saga.status).removeprefix("SAGA_STATUS_") for saga in sagas}


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process that neither works nor dies, as on a machine that swaps or was suspended."""
    send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def all_serve(mesh: RunningMesh) -> None:
    """Returns once every part of the mesh is there, and says so."""

    async def serve() -> bool:
        return all(one.state == control.SERVING for one in await control.health(mesh.file))

    await eventually(serve, within_s=60, every_s=0.5, what="every part's SERVING")


class Tables:
    """The orchestrators' own tables, to look at."""

    def __init__(self, settings: Settings) -> None:
        self._engine = open_read_only(settings, "orchestrator")

    def owners(self, orders: Iterable[Order]) -> set[str | None]:
        """Who runs the sagas of orders; None for those that nobody runs."""
        ids = [order.order_id for order in orders]
        return set(self._scalars(sql.select(SAGAS.c.owner).where(SAGAS.c.saga_id.in_(ids))))

    def leases(self) -> dict[str, int]:
        """When the lease of each orchestrator runs out, in microseconds since 1970."""
        return {row.owner: row.expires_us for row in self._rows(sql.select(ORCHESTRATORS))}

    def seen(self, orders: Iterable[Order], method: str) -> bool:
        """Whether it is written of the saga of each order that it has come to a method."""
        ids = [order.order_id for order in orders]
        query = sql.select(STEPS.c.saga_id).where(STEPS.c.saga_id.in_(ids), STEPS.c.method.endswith(f".{method}"))
        return set(ids) <= set(self._scalars(query))

    def journals(self, orders: Iterable[Order]) -> list[tuple[Any, ...]]:
        """All that is written of the sagas of orders, in one order."""
        ids = [order.order_id for order in orders]
        sagas = self._rows(sql.select(SAGAS).where(SAGAS.c.saga_id.in_(ids)).order_by(SAGAS.c.saga_id))
        steps = sql.select(STEPS).where(STEPS.c.saga_id.in_(ids))
        return [tuple(row) for row in sagas + self._rows(steps.order_by(STEPS.c.saga_id, STEPS.c.method))]

    def close(self) -> None:
        """Lets go of the connection."""
        self._engine.dispose()

    def _rows(self, query: sql.Select[Any]) -> list[sql.Row[Any]]:
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def _scalars(self, query: sql.Select[Any]) -> list[Any]:
        return [row[0] for row in self._rows(query)]
