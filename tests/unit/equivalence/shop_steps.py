"""The shop's steps one by one, for workflows that do them in their own way."""

from __future__ import annotations

from typing import Any

from orchestrator.saga import Saga
from orchestrator.workflow import Function
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.orders_pb2 import CloseOrderRequest, CompleteOrderRequest, ConfirmOrderRequest, RecordOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from shop.payments.v1.payments_pb2 import AuthorizePaymentRequest, CapturePaymentRequest
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from shop.shipping.v1.shipping_pb2 import BookShipmentRequest, DispatchShipmentRequest
from shop.shipping.v1.shipping_pb2_grpc import ShippingServiceStub

FORWARD = ["record", "reserve", "authorize", "book", "confirm", "capture", "dispatch", "complete"]


class Steps:
    """The shop's steps, one by one, for workflows that do them in their own way."""

    def __init__(self, saga: Saga, placed: OrderPlaced) -> None:
        orders, inventory = OrdersServiceStub(saga), InventoryServiceStub(saga)
        payments, shipping = PaymentsServiceStub(saga), ShippingServiceStub(saga)
        order = placed.order
        self.tracking_number = ""
        self._calls: dict[str, Any] = {
            "record": lambda: orders.RecordOrder(RecordOrderRequest(order=order)),
            "reserve": lambda: inventory.ReserveStock(ReserveStockRequest(order=order)),
            "authorize": lambda: payments.AuthorizePayment(AuthorizePaymentRequest(order=order)),
            "book": lambda: shipping.BookShipment(BookShipmentRequest(order=order)),
            "confirm": lambda: orders.ConfirmOrder(ConfirmOrderRequest(order=order)),
            "capture": lambda: payments.CapturePayment(CapturePaymentRequest(order=order)),
            "dispatch": lambda: shipping.DispatchShipment(DispatchShipmentRequest(order=order)),
            "complete": lambda: orders.CompleteOrder(
                CompleteOrderRequest(order=order, tracking_number=self.tracking_number)
            ),
            "close": lambda: orders.CloseOrder(CloseOrderRequest(order=order)),
        }

    async def do(self, *names: str) -> None:
        for name in names:
            answer = await self._calls[name]()
            self.tracking_number = getattr(answer, "tracking_number", self.tracking_number)


def doing(*names: str) -> Function:
    async def workflow(saga: Saga, placed: OrderPlaced) -> None:
        await Steps(saga, placed).do(*names)

    return workflow


def without(*left_out: str) -> Function:
    return doing(*(name for name in FORWARD if name not in left_out))
