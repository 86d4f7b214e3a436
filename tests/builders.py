"""Builders for the shop's messages, with values that every rule of the contracts accepts."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from google.type.money_pb2 import Money

from shop.orders.v1.order_pb2 import Address, Order, OrderLine


def euros(units: int) -> Money:
    """An amount in EUR."""
    return Money(currency_code="EUR", units=units)


def an_order(**changes: Any) -> Order:
    """An order that every participant accepts, with an id of its own; `changes` replace whole fields."""
    fields: dict[str, Any] = {
        "order_id": uuid4().hex,
        "customer_id": "customer-1",
        "lines": [OrderLine(sku="sku-1", quantity=1, unit_price=euros(10))],
        "total": euros(10),
        "payment_token": "tok_visa",
        "ship_to": Address(country_code="DE"),
    }
    return Order(**{**fields, **changes})
