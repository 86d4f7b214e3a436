"""The rules of an order hold wherever an order comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.type.money_pb2 import Money

from mesh import identity
from mesh.errors import Invalid
from mesh.validation import validate
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Address, Order, OrderLine
from shop.orders.v1.orders_pb2 import PlaceOrderRequest
from tests.builders import an_order, euros


def a_line(**changes: Any) -> OrderLine:
    return OrderLine(**{"sku": "sku-1", "quantity": 1, "unit_price": euros(10), **changes})


FAULTS: dict[str, tuple[Callable[[], Order], str]] = {
    "quantity of 0": (lambda: an_order(lines=[a_line(quantity=0)]), "order.lines[0].quantity"),
    "negative quantity": (lambda: an_order(lines=[a_line(quantity=-1)]), "order.lines[0].quantity"),
    "too large a quantity": (lambda: an_order(lines=[a_line(quantity=1_000_001)]), "order.lines[0].quantity"),
    "no sku": (lambda: an_order(lines=[a_line(sku="")]), "order.lines[0].sku"),
    "unknown currency": (lambda: an_order(total=Money(currency_code="XXX", units=1)), "order.total"),
    "no currency": (lambda: an_order(total=Money(units=1)), "order.total"),
    "unknown currency of a line": (
        lambda: an_order(lines=[a_line(unit_price=Money(currency_code="XXX", units=1))]),
        "order.lines[0].unit_price",
    ),
    "negative total": (lambda: an_order(total=euros(-1)), "order.total"),
    "negative nanos": (lambda: an_order(total=Money(currency_code="EUR", nanos=-1)), "order.total"),
    "no lines": (lambda: an_order(lines=[]), "order.lines"),
    "101 lines": (lambda: an_order(lines=[a_line()] * 101), "order.lines"),
    "no total": (lambda: an_order(total=None), "order.total"),
    "no customer": (lambda: an_order(customer_id=""), "order.customer_id"),
    "no payment token": (lambda: an_order(payment_token=""), "order.payment_token"),
    "no address": (lambda: an_order(ship_to=None), "order.ship_to"),
    "no country": (lambda: an_order(ship_to=Address()), "order.ship_to.country_code"),
    "a country's name": (lambda: an_order(ship_to=Address(country_code="Chile")), "order.ship_to.country_code"),
    "dots in the order id": (lambda: an_order(order_id="a.b"), "order.order_id"),
    "65 letters in the order id": (lambda: an_order(order_id="x" * 65), "order.order_id"),
}

MESSAGES = pytest.mark.parametrize("message", [OrderPlaced, PlaceOrderRequest])


@MESSAGES
@pytest.mark.parametrize("fault", FAULTS)
def test_an_order_with_a_fault_is_invalid(message: Any, fault: str) -> None:
    order, field = FAULTS[fault]
    with pytest.raises(Invalid) as caught:
        validate(message(order=order()))
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert {path for path, _ in caught.value.violations} == {field}


@MESSAGES
def test_a_message_without_its_order_is_invalid(message: Any) -> None:
    with pytest.raises(Invalid) as caught:
        validate(message())
    assert [path for path, _ in caught.value.violations] == ["order"]


@MESSAGES
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lines": [a_line()] * 100},
        {"lines": [a_line(quantity=1_000_000)]},
        {"lines": [OrderLine(sku="sku-1", quantity=1)]},
        {"total": Money(currency_code="JPY", units=1_000_000_000)},
        {"total": Money(currency_code="EUR")},
        {"ship_to": Address(country_code="AQ")},
        {"payment_token": "tok_declined"},
    ],
    ids=str,
)
def test_an_order_at_the_edge_of_the_rules_is_valid(message: Any, changes: dict[str, Any]) -> None:
    validate(message(order=an_order(**changes)))


def test_only_a_request_of_a_client_may_leave_the_order_id_out() -> None:
    validate(PlaceOrderRequest(order=an_order(order_id="")))
    with pytest.raises(Invalid, match=r"order\.order_id"):
        identity.saga_id(OrderPlaced(order=an_order(order_id="")))


def test_a_client_cannot_ask_for_a_style_that_does_not_exist() -> None:
    request = PlaceOrderRequest(order=an_order(), coordination=99)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="coordination"):
        validate(request)
