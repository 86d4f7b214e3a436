"""What the end-to-end tests do to the shop, and how they look at its books."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
import sqlalchemy as sql

from console import audit
from console.client import MeshClient
from mesh.databases import open_read_only
from mesh.settings import Settings
from services import SERVICES
from services.participant.participant import LEDGER
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.orders.v1.order_pb2 import Address, Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, GetOrderRequest, PlaceOrderRequest, WatchOrderRequest
from tests.builders import an_order
from tests.harness import eventually

ENDED = (OrderStatus.ORDER_STATUS_COMPLETED, OrderStatus.ORDER_STATUS_COMPENSATED)


def refused_by(service: str, **changes: object) -> Order:
    """An order that a service refuses; that nobody does, where the name is empty."""
    order = an_order(**changes)
    if service == "inventory":
        order.lines[0].sku = "never-in-stock"
    elif service == "payments":
        order.payment_token = "tok_declined"
    elif service == "shipping":
        order.ship_to.CopyFrom(Address(country_code="AQ"))
    return order


def mixed(count: int, **changes: object) -> list[Order]:
    """Orders of which one in five is refused, by each participant in turn."""
    refusing = ("inventory", "payments", "shipping")
    return [refused_by("" if n % 5 else refusing[n // 5 % 3], **changes) for n in range(count)]


async def set_stock(client: MeshClient, sku: str, on_hand: int) -> None:
    await client.inventory.SetStock(SetStockRequest(sku=sku, on_hand=on_hand), timeout=5)


async def place(client: MeshClient, order: Order, style: Coordination.ValueType) -> None:
    """Places an order as a careful client does: in doubt it places it again, with the same id."""

    async def placed() -> bool:
        try:
            await client.orders.PlaceOrder(PlaceOrderRequest(order=order, coordination=style), timeout=10)
        except grpc.aio.AioRpcError as error:
            in_doubt = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
            if error.code() not in (*in_doubt, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise
            return False
        return True

    await eventually(placed, within_s=60, every_s=0.2, what=f"placing {order.order_id}")


async def status_of(client: MeshClient, order_id: str) -> OrderStatus.ValueType:
    found = await client.orders.GetOrder(GetOrderRequest(order_id=order_id), timeout=5)
    return found.state.status


async def ended(client: MeshClient, order_id: str, within_s: float = 60) -> OrderStatus.ValueType:
    """Waits for an order's end, across restarts of the orders service."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                async for update in client.orders.WatchOrder(WatchOrderRequest(order_id=order_id)):
                    if update.state.status in ENDED:
                        return update.state.status
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.2)


async def run_all(
    client: MeshClient, orders: list[Order], style: Coordination.ValueType, *, at_once: int, within_s: float = 90
) -> Counter[str]:
    """Places all orders and waits for their ends; how many ended how."""
    room = asyncio.Semaphore(at_once)

    async def one(order: Order) -> str:
        async with room:
            await place(client, order, style)
            return OrderStatus.Name(await ended(client, order.order_id, within_s)).removeprefix("ORDER_STATUS_")

    return Counter(await asyncio.gather(*(one(order) for order in orders)))


def expected(orders: int) -> Counter[str]:
    """How `mixed` orders end."""
    return Counter(COMPLETED=orders * 4 // 5, COMPENSATED=orders // 5)


async def settled_books(data: Path, within_s: float = 30, database_url: str = "") -> audit.Books:
    """The audit, once nothing is under way; what still is after a while is a fault."""
    return await audit.settled(Settings(data=data, database_url=database_url), within_s)


def ledgers(data: Path, saga_id: str) -> dict[str, set[tuple[str, str, str]]]:
    """(method, step key, state) of a saga, by service."""
    found = {}
    for name in SERVICES:
        engine = open_read_only(Settings(data=data), name)
        with engine.connect() as connection:
            rows = connection.execute(sql.select(LEDGER).where(LEDGER.c.saga_id == saga_id))
            found[name] = {(row.method.rpartition(".")[2], row.step_key, row.state) for row in rows}
        engine.dispose()
    return found
