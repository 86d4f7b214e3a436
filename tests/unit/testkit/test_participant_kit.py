"""The test kit for handlers: what a test sees of a participant, without a coroutine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventbus.envelope import ORCHESTRATED
from mesh.errors import Invalid, StepMismatch
from services.inventory.service import InventoryService
from services.inventory.tables import select_stock
from services.notifications.service import NotificationsService
from services.participant import Refused
from services.participant.testing import ParticipantTest
from shop.inventory.v1.events_pb2 import StockRefused, StockReserved
from shop.inventory.v1.inventory_pb2 import (
    GetStockRequest,
    ReleaseStockRequest,
    ReserveStockRequest,
    SetStockRequest,
)
from shop.orders.v1.events_pb2 import OrderCancelled, OrderPlaced
from shop.orders.v1.order_pb2 import Order, OrderLine, OrderStatus
from tests.builders import an_order, euros


def an_order_of(quantity: int) -> Order:
    return an_order(lines=[OrderLine(sku="sku-1", quantity=quantity, unit_price=euros(10))])


def reserved(inventory: ParticipantTest) -> int:
    return int(inventory.call("GetStock", GetStockRequest(sku="sku-1")).stock.reserved)


@pytest.fixture
def inventory() -> Iterator[ParticipantTest]:
    with ParticipantTest(InventoryService()) as inventory:
        inventory.call("SetStock", SetStockRequest(sku="sku-1", on_hand=10))
        yield inventory


def test_a_call_answers_with_its_response(inventory: ParticipantTest) -> None:
    assert inventory.call("ReserveStock", ReserveStockRequest(order=an_order_of(3))).reservation_id
    assert reserved(inventory) == 3


def test_a_repeated_call_answers_from_the_ledger(inventory: ParticipantTest) -> None:
    request = ReserveStockRequest(order=an_order_of(3))
    assert inventory.call("ReserveStock", request) == inventory.call("ReserveStock", request)
    assert reserved(inventory) == 3


def test_a_refusal_is_raised_with_its_reason_and_what_it_says_of_it(inventory: ParticipantTest) -> None:
    with pytest.raises(Refused) as refused:
        inventory.call("ReserveStock", ReserveStockRequest(order=an_order_of(11)))
    assert refused.value.reason == "OUT_OF_STOCK"
    assert refused.value.metadata == {"sku": "sku-1", "quantity": "11"}
    assert reserved(inventory) == 0


def test_a_step_that_was_compensated_before_it_came_is_refused(inventory: ParticipantTest) -> None:
    order = an_order_of(3)
    inventory.call("ReleaseStock", ReleaseStockRequest(order=order))
    with pytest.raises(Refused) as refused:
        inventory.call("ReserveStock", ReserveStockRequest(order=order))
    assert refused.value.reason == "STEP_COMPENSATED"


def test_the_same_step_with_another_request_is_a_mismatch(inventory: ParticipantTest) -> None:
    order = an_order_of(3)
    inventory.call("ReserveStock", ReserveStockRequest(order=order))
    order.lines[0].quantity = 4
    with pytest.raises(StepMismatch):
        inventory.call("ReserveStock", ReserveStockRequest(order=order))


def test_the_rules_of_the_contract_hold_for_calls_and_events(inventory: ParticipantTest) -> None:
    with pytest.raises(Invalid):
        inventory.call("ReserveStock", ReserveStockRequest())
    with pytest.raises(Invalid):
        inventory.deliver(OrderPlaced())


def test_an_event_triggers_the_step_and_its_event_is_published(inventory: ParticipantTest) -> None:
    order = an_order_of(3)
    inventory.deliver(OrderPlaced(order=order))
    assert reserved(inventory) == 3
    [event] = inventory.published
    assert isinstance(event, StockReserved)
    assert event.order == order


def test_a_refusal_of_a_step_that_an_event_triggered_is_published(inventory: ParticipantTest) -> None:
    inventory.deliver(OrderPlaced(order=an_order_of(11)))
    [event] = inventory.published
    assert isinstance(event, StockRefused)
    assert event.refusal.reason == "OUT_OF_STOCK"


def test_a_redelivered_event_does_nothing_twice_and_emits_again(inventory: ParticipantTest) -> None:
    order = an_order_of(3)
    for _ in range(2):
        inventory.deliver(OrderPlaced(order=order))
    assert inventory.published_names == ["StockReserved", "StockReserved"]
    inventory.deliver(OrderCancelled(order=order, status=OrderStatus.ORDER_STATUS_CANCELLED))
    assert inventory.published_names[-1] == "StockReleased"
    assert reserved(inventory) == 0


def test_a_called_step_publishes_no_event_that_is_not_public(inventory: ParticipantTest) -> None:
    inventory.call("ReserveStock", ReserveStockRequest(order=an_order_of(3)))
    assert inventory.published == []


def test_observers_hear_public_events_of_either_style() -> None:
    with ParticipantTest(NotificationsService()) as notifications:
        event = OrderCancelled(order=an_order(), status=OrderStatus.ORDER_STATUS_CANCELLED)
        notifications.deliver(event, style=ORCHESTRATED)


def test_a_test_may_look_into_the_tables(inventory: ParticipantTest) -> None:
    inventory.call("ReserveStock", ReserveStockRequest(order=an_order_of(3)))
    assert inventory.transaction(lambda tx: tx.execute(select_stock("sku-1")).one().reserved) == 3


def test_a_mistaken_test_is_told_what_there_is(inventory: ParticipantTest) -> None:
    with pytest.raises(LookupError, match="has no method Reserve; it has ReserveStock"):
        inventory.call("Reserve", ReserveStockRequest())
    with pytest.raises(TypeError, match=r"takes a shop\.inventory\.v1\.ReserveStockRequest"):
        inventory.call("ReserveStock", ReleaseStockRequest())
    with pytest.raises(LookupError, match="it follows"):
        inventory.deliver(StockReserved(order=an_order()))
