"""HYBRID: the orchestrator first, choreography when it does not answer."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import grpc
import grpc.aio
import pytest

from console.client import MeshClient
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, GetOrderRequest, PlaceOrderRequest
from tests.builders import an_order
from tests.e2e.business import ended, set_stock, settled_books
from tests.harness import RunningMesh, eventually

COMPLETED = OrderStatus.ORDER_STATUS_COMPLETED


@pytest.fixture
def paused_orchestrator(mesh: RunningMesh) -> Iterator[None]:
    """Stopped by SIGSTOP: it neither answers nor refuses."""
    mesh.kill("orchestrator", signal.SIGSTOP)
    yield
    mesh.kill("orchestrator", signal.SIGCONT)


async def test_a_hybrid_order_is_orchestrated_while_the_orchestrator_answers(client: MeshClient) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    order = an_order()
    placed = await client.orders.PlaceOrder(PlaceOrderRequest(order=order))
    assert placed.coordination == Coordination.COORDINATION_ORCHESTRATED
    assert await ended(client, order.order_id) == COMPLETED


@pytest.mark.usefixtures("paused_orchestrator")
async def test_a_hybrid_order_is_choreographed_within_a_second_when_the_orchestrator_does_not_answer(
    client: MeshClient,
) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    order = an_order()
    began = time.monotonic()
    placed = await client.orders.PlaceOrder(PlaceOrderRequest(order=order))
    took_s = time.monotonic() - began
    assert placed.coordination == Coordination.COORDINATION_CHOREOGRAPHED
    # The promise is one second; the limit leaves room for a machine that is busy with other things.
    assert took_s < 3
    assert await ended(client, order.order_id) == COMPLETED


async def test_both_sides_may_drive_the_same_order(mesh: RunningMesh, client: MeshClient) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    order = an_order()
    mesh.kill("orchestrator", signal.SIGSTOP)
    try:
        # The orchestrator has the start in its socket: it takes the saga as well, once it runs on.
        await client.orders.PlaceOrder(PlaceOrderRequest(order=order))
    finally:
        mesh.kill("orchestrator", signal.SIGCONT)
    assert await ended(client, order.order_id) == COMPLETED
    assert (await settled_books(mesh.data)).faults == []


async def test_an_order_for_an_absent_orchestrator_is_recorded_and_started_later(
    mesh: RunningMesh, client: MeshClient
) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    order = an_order()
    request = PlaceOrderRequest(order=order, coordination=Coordination.COORDINATION_ORCHESTRATED)
    mesh.kill("orchestrator", signal.SIGSTOP)
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.orders.PlaceOrder(request, timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "started by itself" in (refused.value.details() or "")
    finally:
        mesh.kill("orchestrator", signal.SIGCONT)

    async def completed() -> bool:
        found = await client.orders.GetOrder(GetOrderRequest(order_id=order.order_id))
        return bool(found.state.status == COMPLETED)

    await eventually(completed, within_s=30, what="the order's end")
