"""Decides go or no-go for each order, and knows how far each has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Connection

from mesh import identity
from mesh.changes import Changes
from mesh.errors import StepMismatch
from mesh.paging import Cursor, page_size, parse_token
from services.orders import tables
from services.orders.given import Given
from services.orders.healing import Healing
from services.orders.orchestrator import Orchestrator
from services.orders.placement import Placement
from services.orders.tables import OrderRow
from services.orders.takeover import Takeover
from services.orders.telling import Telling
from services.participant import Call, NotFound, OutOfOrder, Refused, Step, Surroundings
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    CancelOrderResponse,
    CloseOrderRequest,
    CloseOrderResponse,
    CompleteOrderRequest,
    CompleteOrderResponse,
    ConfirmOrderRequest,
    ConfirmOrderResponse,
    Coordination,
    GetOrderRequest,
    GetOrderResponse,
    ListOrdersRequest,
    ListOrdersResponse,
    OrderState,
    PlaceOrderRequest,
    PlaceOrderResponse,
    RecordOrderRequest,
    RecordOrderResponse,
    WatchOrderRequest,
    WatchOrderResponse,
)
from shop.orders.v1.orders_pb2_grpc import OrdersServiceServicer

PENDING = OrderStatus.ORDER_STATUS_PENDING
CONFIRMED = OrderStatus.ORDER_STATUS_CONFIRMED
COMPLETED = OrderStatus.ORDER_STATUS_COMPLETED
CANCELLED = OrderStatus.ORDER_STATUS_CANCELLED
COMPENSATED = OrderStatus.ORDER_STATUS_COMPENSATED

# Replicas do not hear of each other's changes: a watcher looks again by itself after so long.
WATCH_AGAIN_S = 1.0


class OrdersService(OrdersServiceServicer):
    """See shop/orders/v1/orders.proto."""

    tables = tables.METADATA

    def __init__(self) -> None:
        self._changes = Changes()

    def join(self, surroundings: Surroundings) -> None:
        """Begins to look after orders whose saga did not start, or does not go on."""
        self._database = surroundings.database
        self._placement = Placement(surroundings)
        surroundings.life.spawn("resume", self._placement.resume_for_ever())
        surroundings.life.spawn("heal", Healing(surroundings).heal_for_ever())
        surroundings.life.spawn("tell", Telling(surroundings).tell_for_ever())
        orchestrator = Orchestrator(surroundings)
        surroundings.life.spawn("takeover", Takeover(surroundings, orchestrator).look_for_ever())
        surroundings.life.spawn("given", Given(surroundings, orchestrator).look_for_ever())

    def admit_PlaceOrder(self) -> None:
        """Turns an order away that there is no place for; see services.orders.admission."""
        self._placement.admit()

    async def PlaceOrder(self, request: PlaceOrderRequest, context: Any) -> PlaceOrderResponse:
        """Takes an order; see services.orders.placement."""
        return await self._placement.place(request)

    def RecordOrder(self, request: RecordOrderRequest, step: Step) -> RecordOrderResponse:
        """Makes the order's row, where PlaceOrder has not."""
        self._ensure(request.order, step)
        return RecordOrderResponse()

    def ConfirmOrder(self, request: ConfirmOrderRequest, step: Step) -> ConfirmOrderResponse:
        """Go."""
        self._ensure(request.order, step)
        if not self._moved(step, PENDING, CONFIRMED):
            raise Refused("ALREADY_CANCELLED", "the order was cancelled before it could be confirmed")
        return ConfirmOrderResponse(status=CONFIRMED)

    def CancelOrder(self, request: CancelOrderRequest, step: Step) -> CancelOrderResponse:
        """No-go."""
        self._ensure(request.order, step)
        if not self._moved(step, PENDING, CANCELLED):
            raise Refused("ALREADY_CONFIRMED", "the order was confirmed before it could be cancelled")
        return CancelOrderResponse(status=CANCELLED)

    def CompleteOrder(self, request: CompleteOrderRequest, step: Step) -> CompleteOrderResponse:
        """The end of the way forward."""
        self._ensure(request.order, step)
        if not self._moved(step, CONFIRMED, COMPLETED, tracking_number=request.tracking_number):
            raise OutOfOrder("the order is not confirmed: ConfirmOrder comes before CompleteOrder")
        return CompleteOrderResponse(status=COMPLETED)

    def CloseOrder(self, request: CloseOrderRequest, step: Step) -> CloseOrderResponse:
        """The end of the way back."""
        self._ensure(request.order, step)
        if not self._moved(step, CANCELLED, COMPENSATED):
            raise OutOfOrder("the order is not cancelled: CancelOrder comes before CloseOrder")
        return CloseOrderResponse(status=COMPENSATED)

    def GetOrder(self, request: GetOrderRequest, call: Call) -> GetOrderResponse:
        """Reads one order."""
        return GetOrderResponse(state=_read(call.tx, request.order_id))

    def ListOrders(self, request: ListOrdersRequest, call: Call) -> ListOrdersResponse:
        """Reads a page of orders."""
        size = page_size(request.page_size)
        query = tables.select_page(request.status, parse_token(request.page_token), size + 1)
        rows = [OrderRow(*row) for row in call.tx.execute(query)]
        response = ListOrdersResponse(orders=[tables.state_of(row) for row in rows[:size]])
        if len(rows) > size:
            last = response.orders[-1]
            response.next_page_token = Cursor(last.placed.ToMicroseconds(), last.order.order_id).token()
        return response

    async def WatchOrder(self, request: WatchOrderRequest, context: Any) -> AsyncIterator[WatchOrderResponse]:
        """Reads one order whenever it changes."""
        seen: OrderState | None = None
        with self._changes.watch(request.order_id) as changed:
            while True:
                changed.clear()
                state = await self._database.run(lambda tx: _read(tx, request.order_id))
                if state != seen:
                    yield WatchOrderResponse(state=state)
                    seen = state
                if state.status in (COMPLETED, COMPENSATED):
                    return
                await _either(changed, WATCH_AGAIN_S)

    def _ensure(self, order: Order, step: Step) -> None:
        """Makes the order's row where there is none; raises StepMismatch where there is one of another order."""
        taken = Coordination.COORDINATION_CHOREOGRAPHED if step.event else Coordination.COORDINATION_ORCHESTRATED
        added = tables.add(step.tx, order, Coordination.COORDINATION_UNSPECIFIED, taken)
        step.after_commit(lambda: self._changes.changed(order.order_id))
        if not added:
            (row,) = tables.find(step.tx, order.order_id)
            if row.digest != identity.digest(order):
                raise StepMismatch(f"order {order.order_id}", "another order has this id; an order never changes")

    def _moved(
        self, step: Step, before: OrderStatus.ValueType, after: OrderStatus.ValueType, tracking_number: str = ""
    ) -> bool:
        return tables.move(step.tx, step.saga_id, before, after, tracking_number)


def _read(tx: Connection, order_id: str) -> OrderState:
    found = tables.find(tx, order_id)
    if not found:
        raise NotFound(f"no order {order_id}; ListOrders shows those there are")
    return tables.state_of(found[0])


async def _either(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        pass
