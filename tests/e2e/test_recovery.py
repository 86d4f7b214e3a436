"""Two hundred sagas are in flight when the orchestrator is killed: all of them end, and the time is told."""

from __future__ import annotations

import asyncio
import signal
import time

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from console.client import MeshClient
from ensemble.orchestrator.v1.orchestrator_pb2 import ListSagasRequest, Saga, SagaStatus
from mesh.channel import connect
from shop.orders.v1.orders_pb2 import Coordination
from tests.builders import an_order
from tests.e2e.business import place, set_stock, settled_books
from tests.harness import RunningMesh, eventually

SAGAS = 200
ORCHESTRATED = Coordination.COORDINATION_ORCHESTRATED


async def test_two_hundred_sagas_in_flight_survive_kill_9(
    mesh: RunningMesh, client: MeshClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    orders = [an_order(customer_id="customer-of-a-crash") for _ in range(SAGAS)]
    ids = {order.order_id for order in orders}
    mesh.kill("payments", signal.SIGSTOP)  # holds them all before the pivot
    try:
        await asyncio.gather(*(place(client, order, ORCHESTRATED) for order in orders))
        assert {one.status for one in await _sagas(client, ids)} == {SagaStatus.SAGA_STATUS_RUNNING}
        killed, killed_s = mesh.kill("orchestrator"), time.time()
    finally:
        mesh.kill("payments", signal.SIGCONT)
    await eventually(lambda: _replaced(mesh, killed), every_s=0.01, what="another process in its place")
    await _serves(mesh)
    serving_s = time.time()

    async def all_ended() -> list[Saga]:
        found = await _sagas(client, ids)
        return found if len(found) == SAGAS and all(one.HasField("ended") for one in found) else []

    sagas = await eventually(all_ended, within_s=60, every_s=0.1, what="every end")
    assert {saga.status for saga in sagas} == {SagaStatus.SAGA_STATUS_COMPLETED}
    assert (await settled_books(mesh.data)).faults == []
    ends_s = sorted(saga.ended.ToMicroseconds() / 1e6 - serving_s for saga in sagas)
    with capsys.disabled():
        print(
            f"\n{SAGAS} sagas in flight, kill -9: a process serves again after {serving_s - killed_s:.2f} s; "
            f"from then on the first ends after {ends_s[0]:.2f} s, the last after {ends_s[-1]:.2f} s"
        )


async def _sagas(client: MeshClient, ids: set[str]) -> list[Saga]:
    page = await client.orchestrator.ListSagas(ListSagasRequest(page_size=1000), timeout=5)
    return [saga for saga in page.sagas if saga.saga_id in ids]


async def _replaced(mesh: RunningMesh, killed: int) -> bool:
    return mesh.pid_of("orchestrator") not in (0, killed)


async def _serves(mesh: RunningMesh) -> None:
    """Returns once the orchestrator's health check says SERVING."""
    async with connect(mesh.address_of("orchestrator")) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in its types

        async def serving() -> bool:
            try:
                answer = await check(health_pb2.HealthCheckRequest(), timeout=1)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        await eventually(serving, every_s=0.01, what="serving again")
