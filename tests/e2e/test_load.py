"""Many orders at once."""

from __future__ import annotations

import pytest

from console.client import MeshClient
from shop.orders.v1.orders_pb2 import Coordination
from tests.e2e.business import expected, mixed, run_all, set_stock, settled_books
from tests.harness import RunningMesh

ORDERS = 200
AT_ONCE = 50


@pytest.mark.parametrize("style", ["ORCHESTRATED", "CHOREOGRAPHED"])
async def test_two_hundred_orders_all_end_and_the_books_are_exact(
    mesh: RunningMesh, client: MeshClient, style: str
) -> None:
    customer = f"load-{style}"
    await set_stock(client, "sku-1", 1_000_000)
    coordination = Coordination.Value(f"COORDINATION_{style}")
    counts = await run_all(client, mixed(ORDERS, customer_id=customer), coordination, at_once=AT_ONCE)
    assert counts == expected(ORDERS)
    books = await settled_books(mesh.data)
    assert books.faults == []
    assert books.unpublished == {}
    money = books.money_nanos[f"{customer} EUR"]
    assert (money["captured"], money["open"]) == (10 * 10**9 * ORDERS * 4 // 5, 0)
