"""How a promise about an order is kept that goes by choreography: an order that is not confirmed in time is cancelled.

Hybrid the other way round: this workflow drives nothing of the order, but awaits an event of its choreography. It has
the order's id, under which that event comes, so it is started before the order is placed; what the orchestrator shows
under the id is then this saga, and the orders service shows the order.
"""

from __future__ import annotations

import contextlib

from orchestrator.saga import Saga, StepRefused
from orchestrator.workflow import workflow
from shop.orders.v1.events_pb2 import DeliveryPromised, OrderConfirmed
from shop.orders.v1.orders_pb2 import CancelOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub


@workflow("promise-delivery")
async def promise_delivery(saga: Saga, promised: DeliveryPromised) -> None:
    """Waits for the decision as long as was promised, and then asks for the other one: the pivot says who was first."""
    try:
        await saga.event(OrderConfirmed, timeout=promised.within.ToTimedelta())
    except TimeoutError:
        with contextlib.suppress(StepRefused):  # confirmed at the last moment: then it goes forward
            await OrdersServiceStub(saga).CancelOrder(CancelOrderRequest(order=promised.order))
