"""The event that starts an order's case in choreography."""

from __future__ import annotations

from eventbus.envelope import Envelope
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order

PLACE_ORDER = "shop.orders.v1.OrdersService.PlaceOrder"


def starting_event(order: Order, replay: str = "") -> Envelope:
    """OrderPlaced, ready to be published; with the id of a deliberate replay where the case is started again."""
    return Envelope.starting(OrderPlaced(order=order), method=PLACE_ORDER, source="orders", replay=replay)
