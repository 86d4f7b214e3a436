"""The rules of the contracts, and how their breaches are told."""

from __future__ import annotations

import pytest

from mesh import errors, validation
from mesh.errors import Invalid
from shop.inventory.v1.inventory_pb2 import GetStockRequest
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Address, OrderLine
from shop.orders.v1.orders_pb2 import ConfirmOrderRequest
from tests.builders import an_order


def faults(message: object) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        validation.validate(message)  # type: ignore[arg-type]
    return dict(caught.value.violations)


def test_a_message_that_keeps_the_rules_passes() -> None:
    validation.validate(OrderPlaced(order=an_order()))


def test_a_breach_is_told_by_the_path_of_its_field() -> None:
    assert list(faults(OrderPlaced(order=an_order(customer_id="")))) == ["order.customer_id"]
    assert list(faults(GetStockRequest())) == ["sku"]


def test_a_missing_message_is_told_by_its_own_path() -> None:
    assert list(faults(ConfirmOrderRequest())) == ["order"]


def test_a_path_into_a_list_names_the_place() -> None:
    lines = [OrderLine(sku="a", quantity=1), OrderLine(sku="b", quantity=0), OrderLine(sku="", quantity=1)]
    assert set(faults(OrderPlaced(order=an_order(lines=lines)))) == {"order.lines[1].quantity", "order.lines[2].sku"}


def test_the_first_place_of_a_list_is_named_too() -> None:
    ship_to = Address(country_code="DE", street_lines=["x" * 201])
    assert list(faults(OrderPlaced(order=an_order(ship_to=ship_to)))) == ["order.ship_to.street_lines[0]"]


def test_a_breach_says_what_is_wrong() -> None:
    order = an_order()
    order.total.currency_code = "XXX"
    assert faults(OrderPlaced(order=order)) == {"order.total": "the currency must be one of CHF, EUR, GBP, JPY, USD"}
    assert all(faults(OrderPlaced(order=an_order(lines=[]))).values())


def test_not_all_faults_of_nonsense_are_told() -> None:
    lines = [OrderLine()] * 100
    assert len(faults(OrderPlaced(order=an_order(lines=lines)))) == errors.DETAILS_MAX


def test_bytes_of_a_message_are_parsed() -> None:
    placed = OrderPlaced(order=an_order())
    assert validation.parse(OrderPlaced, placed.SerializeToString()) == placed


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"{}", b"\x0a\x03\x0a\x01\xff"])
def test_bytes_that_are_no_message_are_invalid_and_nothing_of_the_parsers_text_is_told(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        validation.parse(OrderPlaced, data)
    assert caught.value.violations == [("", "these bytes are no shop.orders.v1.OrderPlaced")]
    assert caught.value.__cause__ is None
