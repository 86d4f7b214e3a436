"""The floor of choreography does what the participants do, and no more."""

from __future__ import annotations

import pytest

from scripts.benchmarks.alike import Unlike, check_alike
from scripts.benchmarks.chain import an_order
from scripts.benchmarks.relay import Join, reactions
from shop.inventory.v1.events_pb2 import StockReserved
from shop.orders.v1.events_pb2 import OrderConfirmed
from shop.payments.v1.events_pb2 import PaymentAuthorized
from shop.shipping.v1.events_pb2 import ShipmentBooked


def test_an_order_is_confirmed_once_all_three_have_come_and_no_other_with_it() -> None:
    join, order, other = Join(), an_order(), an_order()
    assert join(StockReserved(order=order)) is None
    assert join(StockReserved(order=other)) is None
    assert join(PaymentAuthorized(order=order)) is None
    assert join(ShipmentBooked(order=order)) == OrderConfirmed(order=order)
    assert join(PaymentAuthorized(order=other)) is None


def test_services_do_not_share_a_join() -> None:
    one, another = reactions("orders")[StockReserved], reactions("orders")[StockReserved]
    assert one is not another


@pytest.mark.parametrize("other", [{}, {"A": (2, b"a")}, {"A": (1, b"b")}, {"A": (1, b"a"), "B": (1, b"")}])
def test_a_floor_that_publishes_something_else_is_none(other: dict[str, tuple[int, bytes]]) -> None:
    check_alike({"A": (1, b"a")}, {"A": (1, b"a")})
    with pytest.raises(Unlike, match=r"differ in [AB]"):
        check_alike({"A": (1, b"a")}, other)
