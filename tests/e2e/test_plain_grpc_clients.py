"""A client with nothing but the generated stubs, and one with not even those."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from console.client import MeshClient
from mesh import registry
from shop.inventory.v1.inventory_pb2 import GetStockRequest, ReleaseStockRequest, ReserveStockRequest
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    Coordination,
    GetOrderRequest,
    ListOrdersRequest,
    PlaceOrderRequest,
)
from tests.builders import an_order
from tests.e2e.business import ended, place, set_stock
from tests.harness import RunningMesh


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return str(info.reason)


async def on_hand(client: MeshClient, sku: str) -> tuple[int, int]:
    stock = (await client.inventory.GetStock(GetStockRequest(sku=sku), timeout=5)).stock
    return stock.on_hand, stock.reserved


async def test_reserving_twice_reserves_once_and_answers_the_same_bytes(mesh: RunningMesh, client: MeshClient) -> None:
    await set_stock(client, "plain-twice", 10)
    order = an_order()
    order.lines[0].sku = "plain-twice"
    async with grpc.aio.insecure_channel(mesh.address_of("inventory")) as channel:
        reserve = channel.unary_unary("/shop.inventory.v1.InventoryService/ReserveStock")
        request = ReserveStockRequest(order=order).SerializeToString()
        first, second = await reserve(request), await reserve(request)
    assert first == second != b""
    assert await on_hand(client, "plain-twice") == (9, 1)


async def test_a_refusal_is_repeated_in_the_same_bytes(mesh: RunningMesh) -> None:
    order = an_order()
    order.lines[0].sku = "plain-never-there"
    async with grpc.aio.insecure_channel(mesh.address_of("inventory")) as channel:
        stub = InventoryServiceStub(channel)
        statuses = []
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ReserveStock(ReserveStockRequest(order=order))
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            statuses.append(dict(refused.value.trailing_metadata())["grpc-status-details-bin"])
    assert statuses[0] == statuses[1]
    assert reason_of(refused.value) == "OUT_OF_STOCK"


async def test_the_same_step_with_other_content_is_a_mismatch(client: MeshClient) -> None:
    await set_stock(client, "plain-mismatch", 10)
    order = an_order()
    order.lines[0].sku = "plain-mismatch"
    await client.inventory.ReserveStock(ReserveStockRequest(order=order))
    order.lines[0].quantity = 2
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.inventory.ReserveStock(ReserveStockRequest(order=order))
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason_of(refused.value) == "STEP_MISMATCH"
    assert await on_hand(client, "plain-mismatch") == (9, 1)


async def test_a_step_that_comes_after_its_compensation_reserves_nothing(client: MeshClient) -> None:
    await set_stock(client, "plain-late", 10)
    order = an_order()
    order.lines[0].sku = "plain-late"
    await client.inventory.ReleaseStock(ReleaseStockRequest(order=order))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.inventory.ReserveStock(ReserveStockRequest(order=order))
    assert refused.value.code() is grpc.StatusCode.ABORTED
    assert reason_of(refused.value) == "STEP_COMPENSATED"
    assert await on_hand(client, "plain-late") == (10, 0)


@pytest.mark.parametrize("part", ["orders", "inventory", "payments", "shipping", "notifications", "orchestrator"])
async def test_garbage_is_an_invalid_argument_at_every_method(mesh: RunningMesh, part: str) -> None:
    package = "ensemble.orchestrator" if part == "orchestrator" else f"shop.{part}"
    async with grpc.aio.insecure_channel(mesh.address_of(part)) as channel:
        for service in registry.service_descriptors(package):
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                call = (
                    channel.unary_stream(path)(b"\xff\xff\xff")
                    if method.server_streaming
                    else channel.unary_unary(path)(b"\xff\xff\xff")
                )
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await (call.read() if method.server_streaming else call)  # type: ignore[union-attr]
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, path
                assert reason_of(refused.value) == "INVALID_MESSAGE", path
    assert "Traceback" not in mesh.log_of(part)


async def test_the_broken_rule_is_named_by_its_field(client: MeshClient) -> None:
    order = an_order()
    order.lines[0].quantity = 0
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.orders.PlaceOrder(PlaceOrderRequest(order=order))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(refused.value)
    assert status is not None
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [violation.field for violation in bad.field_violations] == ["order.lines[0].quantity"]


async def test_a_step_without_a_saga_id_is_refused(client: MeshClient) -> None:
    order = an_order()
    order.order_id = ""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.inventory.ReserveStock(ReserveStockRequest(order=order))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_placing_an_order_twice_makes_one_case(client: MeshClient) -> None:
    await set_stock(client, "plain-place", 10)
    order = an_order()
    order.lines[0].sku = "plain-place"
    request = PlaceOrderRequest(order=order, coordination=Coordination.COORDINATION_CHOREOGRAPHED)
    answers = await asyncio.gather(*(client.orders.PlaceOrder(request) for _ in range(5)))
    assert {answer.SerializeToString() for answer in answers} == {answers[0].SerializeToString()}
    assert await ended(client, order.order_id) == OrderStatus.ORDER_STATUS_COMPLETED
    assert await client.orders.PlaceOrder(request) == answers[0]
    assert await on_hand(client, "plain-place") == (9, 1)


async def test_another_order_of_the_same_id_is_refused(client: MeshClient) -> None:
    order = an_order()
    await place(client, order, Coordination.COORDINATION_ORCHESTRATED)
    order.lines[0].quantity = 7
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.orders.PlaceOrder(PlaceOrderRequest(order=order))
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_missing_order_id_is_filled_in(client: MeshClient) -> None:
    order = an_order()
    order.order_id = ""
    placed = await client.orders.PlaceOrder(PlaceOrderRequest(order=order))
    assert len(placed.order_id) == 36
    found = await client.orders.GetOrder(GetOrderRequest(order_id=placed.order_id))
    assert found.state.order.order_id == placed.order_id


async def test_an_unknown_order_is_not_found(client: MeshClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.orders.GetOrder(GetOrderRequest(order_id="nobody-knows"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("style", ["ORCHESTRATED", "CHOREOGRAPHED"])
async def test_a_client_cannot_cancel_what_is_confirmed(client: MeshClient, style: str) -> None:
    await set_stock(client, f"plain-cancel-{style}", 10)
    order = an_order()
    order.lines[0].sku = f"plain-cancel-{style}"
    await place(client, order, Coordination.Value(f"COORDINATION_{style}"))
    assert await ended(client, order.order_id) == OrderStatus.ORDER_STATUS_COMPLETED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.orders.CancelOrder(CancelOrderRequest(order=order))
    assert reason_of(refused.value) == "ALREADY_CONFIRMED"


@pytest.mark.parametrize("style", ["ORCHESTRATED", "CHOREOGRAPHED"])
async def test_an_order_cancelled_by_its_client_leaves_no_effects(client: MeshClient, style: str) -> None:
    sku = f"plain-cancelled-{style}"
    await set_stock(client, sku, 10)
    order = an_order()
    order.lines[0].sku = sku
    # Cancelled before it is placed: the surest way to win against the pivot.
    await client.orders.CancelOrder(CancelOrderRequest(order=order))
    await place(client, order, Coordination.Value(f"COORDINATION_{style}"))
    assert await ended(client, order.order_id) == OrderStatus.ORDER_STATUS_COMPENSATED
    assert await on_hand(client, sku) == (10, 0)


async def test_orders_are_listed_in_pages_without_gaps(client: MeshClient) -> None:
    placed = []
    for _ in range(5):
        order = an_order()
        await place(client, order, Coordination.COORDINATION_ORCHESTRATED)
        placed.append(order.order_id)
    listed: list[str] = []
    token = ""
    while len(listed) < 5:
        page = await client.orders.ListOrders(ListOrdersRequest(page_size=2, page_token=token))
        listed += [state.order.order_id for state in page.orders]
        token = page.next_page_token
    assert listed[:5] == placed[::-1]
