"""A participant with the real machinery, ledger and all, whose handlers do nothing.

python -m scripts.benchmarks.ledger NAME
"""

from __future__ import annotations

import sys

from mesh import lifecycle
from scripts.benchmarks.chain import ANSWERS
from services.participant import Step
from services.participant.host import host
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest, ReserveStockResponse
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceServicer
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import (
    CompleteOrderRequest,
    CompleteOrderResponse,
    ConfirmOrderRequest,
    ConfirmOrderResponse,
    RecordOrderRequest,
    RecordOrderResponse,
)
from shop.orders.v1.orders_pb2_grpc import OrdersServiceServicer
from shop.payments.v1.payments_pb2 import (
    AuthorizePaymentRequest,
    AuthorizePaymentResponse,
    CapturePaymentRequest,
    CapturePaymentResponse,
)
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceServicer
from shop.shipping.v1.shipping_pb2 import (
    BookShipmentRequest,
    BookShipmentResponse,
    DispatchShipmentRequest,
    DispatchShipmentResponse,
)
from shop.shipping.v1.shipping_pb2_grpc import ShippingServiceServicer


class Orders(OrdersServiceServicer):
    """Decides nothing, records nothing but the steps."""

    def RecordOrder(self, request: RecordOrderRequest, step: Step) -> RecordOrderResponse:
        """Does nothing."""
        return RecordOrderResponse()

    def ConfirmOrder(self, request: ConfirmOrderRequest, step: Step) -> ConfirmOrderResponse:
        """Does nothing."""
        return ConfirmOrderResponse(status=OrderStatus.ORDER_STATUS_CONFIRMED)

    def CompleteOrder(self, request: CompleteOrderRequest, step: Step) -> CompleteOrderResponse:
        """Does nothing."""
        return CompleteOrderResponse(status=OrderStatus.ORDER_STATUS_COMPLETED)


class Inventory(InventoryServiceServicer):
    """Holds nothing."""

    def ReserveStock(self, request: ReserveStockRequest, step: Step) -> ReserveStockResponse:
        """Does nothing."""
        return ReserveStockResponse(reservation_id="reservation-1")


class Payments(PaymentsServiceServicer):
    """Authorises nothing."""

    def AuthorizePayment(self, request: AuthorizePaymentRequest, step: Step) -> AuthorizePaymentResponse:
        """Does nothing."""
        return AuthorizePaymentResponse(authorization_id="authorization-1")

    def CapturePayment(self, request: CapturePaymentRequest, step: Step) -> CapturePaymentResponse:
        """Does nothing."""
        return CapturePaymentResponse()


class Shipping(ShippingServiceServicer):
    """Books nothing."""

    def BookShipment(self, request: BookShipmentRequest, step: Step) -> BookShipmentResponse:
        """Does nothing."""
        return BookShipmentResponse(booking_id="booking-1")

    def DispatchShipment(self, request: DispatchShipmentRequest, step: Step) -> DispatchShipmentResponse:
        """Does nothing."""
        return DispatchShipmentResponse(tracking_number="parcel-1")


SERVICERS = {"orders": Orders, "inventory": Inventory, "payments": Payments, "shipping": Shipping}
assert SERVICERS.keys() == ANSWERS.keys()


def main() -> None:
    """The command line."""
    name = sys.argv[1]
    lifecycle.run_part(name, lambda settings, life: host(SERVICERS[name](), settings, life))


if __name__ == "__main__":
    main()
