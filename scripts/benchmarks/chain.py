"""A chain of four calls, one after the other, over the shop's contracts: naked, or the steps of a saga.

It is written once: what differs is the channel that the stubs are made on.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import grpc.aio
from google.protobuf.message import Message
from google.type.money_pb2 import Money

from shop.inventory.v1.inventory_pb2 import ReserveStockRequest, ReserveStockResponse
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.order_pb2 import Address, Order, OrderLine
from shop.orders.v1.orders_pb2 import RecordOrderRequest, RecordOrderResponse
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from shop.payments.v1.payments_pb2 import AuthorizePaymentRequest, AuthorizePaymentResponse
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from shop.shipping.v1.shipping_pb2 import BookShipmentRequest, BookShipmentResponse
from shop.shipping.v1.shipping_pb2_grpc import ShippingServiceStub

PROCESS = "fulfil-order"
CONTRACTS = "shop"

# What the participants answer, by the name of their service in the mesh, then of the method.
ANSWERS: dict[str, dict[str, Message]] = {
    "orders": {"RecordOrder": RecordOrderResponse()},
    "inventory": {"ReserveStock": ReserveStockResponse(reservation_id="reservation-1")},
    "payments": {"AuthorizePayment": AuthorizePaymentResponse(authorization_id="authorization-1")},
    "shipping": {"BookShipment": BookShipmentResponse(booking_id="booking-1")},
}

_EUROS_10 = Money(currency_code="EUR", units=10)


class Chain:
    """The four calls, over a channel for each service."""

    def __init__(self, channel_to: Callable[[str], grpc.aio.Channel]) -> None:
        self._orders = OrdersServiceStub(channel_to("orders"))
        self._inventory = InventoryServiceStub(channel_to("inventory"))
        self._payments = PaymentsServiceStub(channel_to("payments"))
        self._shipping = ShippingServiceStub(channel_to("shipping"))

    async def run(self, order: Order) -> None:
        """Calls them, each after the answer of the one before."""
        await self._orders.RecordOrder(RecordOrderRequest(order=order))
        await self._inventory.ReserveStock(ReserveStockRequest(order=order))
        await self._payments.AuthorizePayment(AuthorizePaymentRequest(order=order))
        await self._shipping.BookShipment(BookShipmentRequest(order=order))


def an_order() -> Order:
    """An order with an id of its own, as large as real ones are."""
    return Order(
        order_id=uuid4().hex,
        customer_id="customer-1",
        lines=[OrderLine(sku="teapot", quantity=1, unit_price=_EUROS_10)],
        total=_EUROS_10,
        payment_token="tok_visa",
        ship_to=Address(country_code="DE"),
    )
