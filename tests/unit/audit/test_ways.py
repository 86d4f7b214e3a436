"""What an ended saga has done is derived from its contract."""

from __future__ import annotations

from console.audit.ways import ways_of
from mesh.contract import Method
from tests.unit.audit.whole_shop import CONTRACT

WAYS = ways_of(CONTRACT)


def names(methods: tuple[Method, ...]) -> set[str]:
    return {method.name for method in methods}


def test_there_is_a_way_for_each_end() -> None:
    assert set(WAYS) == {"shop.orders.v1.OrderCompleted", "shop.orders.v1.OrderCompensated"}


def test_what_completed_has_done_all_that_its_end_follows_from_and_undone_nothing() -> None:
    way = WAYS["shop.orders.v1.OrderCompleted"]
    before = {"ReserveStock", "AuthorizePayment", "BookShipment", "ConfirmOrder"}
    assert names(way.done) == before | {"CapturePayment", "DispatchShipment", "CompleteOrder"}
    assert names(way.never) == {"CancelOrder", "ReleaseStock", "VoidPayment", "CancelBooking"}


def test_what_was_compensated_has_undone_all_that_can_be_and_nothing_from_the_pivot_on() -> None:
    way = WAYS["shop.orders.v1.OrderCompensated"]
    assert names(way.done) == {"CancelOrder", "ReleaseStock", "VoidPayment", "CancelBooking", "CloseOrder"}
    assert names(way.never) == {"ConfirmOrder", "CapturePayment", "DispatchShipment", "CompleteOrder"}
