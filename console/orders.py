"""Places orders, and follows each until it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import uuid_utils
from google.type.money_pb2 import Money

from console.client import MeshClient
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.backoff import Backoff
from mesh.errors import IN_DOUBT
from shop.inventory.v1.inventory_pb2 import GetStockRequest, SetStockRequest
from shop.orders.v1.order_pb2 import Address, Order, OrderLine, OrderStatus
from shop.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    Coordination,
    GetOrderRequest,
    PlaceOrderRequest,
    PlaceOrderResponse,
    WatchOrderRequest,
)

DEFAULT_SKU = "teapot"
DEFAULT_STOCK = 10_000
ENDED = (OrderStatus.ORDER_STATUS_COMPLETED, OrderStatus.ORDER_STATUS_COMPENSATED)
SAGA_ENDED = (api.SagaStatus.SAGA_STATUS_COMPLETED, api.SagaStatus.SAGA_STATUS_COMPENSATED)

# Shown until the order's own status is known.
PLACING = "PLACING"

PLACE_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 5.0
# How long the saga's own picture may lag behind the order's end before it is shown as it is.
LAG_S = 5.0


@dataclass
class Followed:
    """One order, and what is known of it so far."""

    order: Order
    asked: str
    taken: str = ""
    status: str = PLACING
    saga: api.Saga = field(default_factory=api.Saga)
    seconds: float = 0.0

    @property
    def refusal(self) -> str:
        """Why it was refused, where it was."""
        return str(self.saga.refusal.reason)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "order_id": self.order.order_id,
            "style": self.taken,
            "status": self.status,
            "refusal": self.refusal,
            "seconds": round(self.seconds, 3),
            "steps": [
                {
                    "method": step.method,
                    "step_key": step.step_key,
                    "status": step_status(step),
                    "attempts": step.attempts,
                    "last_error": step.last_error,
                }
                for step in self.saga.steps
            ],
        }


Changed = Callable[[Followed], None]


def an_order(*, sku: str, token: str, country: str, quantity: int = 1, customer: str = "customer-1") -> Order:
    """An order of one line, at 10 EUR a piece."""
    price = Money(currency_code="EUR", units=10)
    return Order(
        order_id=str(uuid_utils.uuid7()),
        customer_id=customer,
        lines=[OrderLine(sku=sku, quantity=quantity, unit_price=price)],
        total=Money(currency_code="EUR", units=10 * quantity),
        payment_token=token,
        ship_to=Address(recipient="A. Customer", country_code=country),
    )


async def stock_default(mesh: MeshClient) -> bool:
    """Puts teapots in stock where there never were any, so that a first order finds one. True: it did."""
    found = await mesh.inventory.GetStock(GetStockRequest(sku=DEFAULT_SKU), timeout=READ_TIMEOUT_S)
    if found.stock.on_hand or found.stock.reserved:
        return False
    await mesh.inventory.SetStock(SetStockRequest(sku=DEFAULT_SKU, on_hand=DEFAULT_STOCK), timeout=READ_TIMEOUT_S)
    return True


async def place_and_follow(mesh: MeshClient, order: Order, style: str, changed: Changed) -> Followed:
    """Places an order and follows it to its end; tells every change. Raises AioRpcError where it is not taken."""
    followed = Followed(order, style)
    began = time.monotonic()

    def tell() -> None:
        followed.seconds = time.monotonic() - began
        changed(followed)

    request = PlaceOrderRequest(order=order, coordination=Coordination.Value(f"COORDINATION_{style}"))
    placed = await _place(mesh, request)
    followed.taken = Coordination.Name(placed.coordination).removeprefix("COORDINATION_")
    saga = asyncio.create_task(_follow_saga(mesh, followed, tell), name="saga")
    try:
        await _follow_order(mesh, followed, tell)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAG_S):
                await saga
    finally:
        saga.cancel()
        await asyncio.gather(saga, return_exceptions=True)
    return followed


async def _place(mesh: MeshClient, request: PlaceOrderRequest) -> PlaceOrderResponse:
    """Places an order, again with the same id where the answer leaves it in doubt."""
    deadline = time.monotonic() + PLACE_TIMEOUT_S
    for delay_s in Backoff(max_s=1.0).delays():
        try:
            return await mesh.orders.PlaceOrder(request, timeout=PLACE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            passing = error.code() in IN_DOUBT or error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            if not passing or time.monotonic() + delay_s > deadline:
                raise
        await asyncio.sleep(delay_s)
    raise AssertionError("delays never end")


async def cancel(mesh: MeshClient, order_id: str) -> None:
    """Cancels an order, as a client may: raises AioRpcError where it is confirmed already."""
    found = await mesh.orders.GetOrder(GetOrderRequest(order_id=order_id), timeout=READ_TIMEOUT_S)
    await mesh.orders.CancelOrder(CancelOrderRequest(order=found.state.order), timeout=PLACE_TIMEOUT_S)


async def _follow_order(mesh: MeshClient, followed: Followed, tell: Callable[[], None]) -> None:
    """Watches the order to its end, across restarts of its service."""
    request = WatchOrderRequest(order_id=followed.order.order_id)
    for delay_s in Backoff(max_s=1.0).delays():
        try:
            async for update in mesh.orders.WatchOrder(request):
                followed.status = OrderStatus.Name(update.state.status).removeprefix("ORDER_STATUS_")
                tell()
                if update.state.status in ENDED:
                    return
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise
        await asyncio.sleep(delay_s)


async def _follow_saga(mesh: MeshClient, followed: Followed, tell: Callable[[], None]) -> None:
    """Watches the saga's steps. The tracker may not know it yet, the orchestrator may be away: it is asked again."""
    request = api.WatchSagaRequest(saga_id=followed.order.order_id)
    for delay_s in Backoff(max_s=0.5).delays():
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for update in mesh.orchestrator.WatchSaga(request):
                followed.saga = update.saga
                tell()
                if update.saga.status in SAGA_ENDED:
                    return
        await asyncio.sleep(delay_s)


def step_status(step: api.Step) -> str:
    """RUNNING, DONE, REFUSED, FAILED, PLANNED or TRIGGERED."""
    return api.StepStatus.Name(step.status).removeprefix("STEP_STATUS_")
