"""kill -9 of any one part in the middle of two hundred orders; the supervisor starts it again."""

from __future__ import annotations

import asyncio

import pytest

from console.client import MeshClient
from shop.orders.v1.orders_pb2 import Coordination, ListOrdersRequest
from tests.e2e.business import ENDED, expected, mixed, run_all, set_stock, settled_books
from tests.harness import RunningMesh, eventually

PARTS = ["orders", "inventory", "payments", "shipping", "notifications", "orchestrator", "nats-server"]
ORDERS = 100  # in each style
AT_ONCE = 25


@pytest.mark.parametrize("part", PARTS)
async def test_a_killed_part_costs_no_order(mesh: RunningMesh, client: MeshClient, part: str) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    batches = {"ORCHESTRATED": mixed(ORDERS), "CHOREOGRAPHED": mixed(ORDERS)}
    ids = {order.order_id for orders in batches.values() for order in orders}
    running = [
        asyncio.create_task(
            run_all(client, orders, Coordination.Value(f"COORDINATION_{style}"), at_once=AT_ONCE, within_s=100)
        )
        for style, orders in batches.items()
    ]

    async def some_have_ended() -> bool:
        page = await client.orders.ListOrders(ListOrdersRequest(page_size=2 * ORDERS), timeout=5)
        return sum(state.order.order_id in ids and state.status in ENDED for state in page.orders) >= ORDERS // 10

    await eventually(some_have_ended, what="the first ends")
    assert not any(task.done() for task in running), "the part was to be killed in the middle"
    killed = mesh.kill(part)
    await eventually(lambda: _replaced(mesh, part, killed), what="another process in its place")
    counts = [await task for task in running]
    assert counts == [expected(ORDERS)] * 2
    assert (await settled_books(mesh.data)).faults == []


async def _replaced(mesh: RunningMesh, part: str, killed: int) -> bool:
    return mesh.pid_of(part) not in (0, killed)
