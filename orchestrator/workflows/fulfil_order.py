"""How an order is fulfilled. Only the way forward: the way back is in the contracts."""

from __future__ import annotations

import asyncio

from orchestrator.saga import Saga
from orchestrator.workflow import workflow
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.orders_pb2 import CompleteOrderRequest, ConfirmOrderRequest, RecordOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from shop.payments.v1.payments_pb2 import AuthorizePaymentRequest, CapturePaymentRequest
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from shop.shipping.v1.shipping_pb2 import BookShipmentRequest, DispatchShipmentRequest
from shop.shipping.v1.shipping_pb2_grpc import ShippingServiceStub


@workflow("fulfil-order")
async def fulfil_order(saga: Saga, placed: OrderPlaced) -> None:
    """Holds stock, money and a carrier; decides; then takes the money and sends the parcel."""
    order = placed.order
    orders, inventory = OrdersServiceStub(saga), InventoryServiceStub(saga)
    payments, shipping = PaymentsServiceStub(saga), ShippingServiceStub(saga)

    await orders.RecordOrder(RecordOrderRequest(order=order))
    await asyncio.gather(
        inventory.ReserveStock(ReserveStockRequest(order=order)),
        payments.AuthorizePayment(AuthorizePaymentRequest(order=order)),
        shipping.BookShipment(BookShipmentRequest(order=order)),
    )
    await orders.ConfirmOrder(ConfirmOrderRequest(order=order))

    await payments.CapturePayment(CapturePaymentRequest(order=order))
    dispatched = await shipping.DispatchShipment(DispatchShipmentRequest(order=order))
    await orders.CompleteOrder(CompleteOrderRequest(order=order, tracking_number=dispatched.tracking_number))
