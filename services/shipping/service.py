"""Books carriers for orders, and sends the parcels."""

from __future__ import annotations

from services.participant import OutOfOrder, Refused, Step
from services.shipping.tables import CANCELLED, DISPATCHED, METADATA, book, settle
from shop.shipping.v1.shipping_pb2 import (
    BookShipmentRequest,
    BookShipmentResponse,
    CancelBookingRequest,
    CancelBookingResponse,
    DispatchShipmentRequest,
    DispatchShipmentResponse,
)
from shop.shipping.v1.shipping_pb2_grpc import ShippingServiceServicer

WITHOUT_CARRIER = {"AQ"}


class ShippingService(ShippingServiceServicer):
    """See shop/shipping/v1/shipping.proto."""

    tables = METADATA

    def BookShipment(self, request: BookShipmentRequest, step: Step) -> BookShipmentResponse:
        """Books a carrier, if one goes there."""
        country = request.order.ship_to.country_code
        if country in WITHOUT_CARRIER:
            raise Refused("NO_CARRIER", country=country)
        step.tx.execute(book(request.order.order_id, country))
        return BookShipmentResponse(booking_id=step.unique_id)

    def CancelBooking(self, request: CancelBookingRequest, step: Step) -> CancelBookingResponse:
        """Cancels the booking."""
        step.tx.execute(settle(request.order.order_id, CANCELLED))
        return CancelBookingResponse()

    def DispatchShipment(self, request: DispatchShipmentRequest, step: Step) -> DispatchShipmentResponse:
        """Hands the parcel over; its number derives from the step."""
        tracking_number = f"EN{step.unique_id.replace('-', '')[:16].upper()}"
        if not step.tx.execute(settle(request.order.order_id, DISPATCHED, tracking_number)).rowcount:
            raise OutOfOrder("no carrier is booked for this order: BookShipment comes before DispatchShipment")
        return DispatchShipmentResponse(tracking_number=tracking_number)
