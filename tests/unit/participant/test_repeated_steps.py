"""A step may be called or triggered as often as anybody likes: it happens once and answers alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.rpc import status_pb2

from mesh.errors import StepMismatch
from services.participant.ledger import State
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.participant.participant_bench import BOTH, Bench, an_event, came, lines, reason, ship_to

DATABASES = BOTH

CANCELLED = OrderStatus.ORDER_STATUS_CANCELLED

STEPS = [
    ("inventory", "ReserveStock", {}, ""),
    ("inventory", "ReserveStock", {"lines": lines(("sku-1", 11))}, "OUT_OF_STOCK"),
    ("payments", "AuthorizePayment", {}, ""),
    ("payments", "AuthorizePayment", {"payment_token": "tok_declined"}, "CARD_DECLINED"),
    ("payments", "AuthorizePayment", {"payment_token": "tok_insufficient_funds"}, "INSUFFICIENT_FUNDS"),
    ("payments", "AuthorizePayment", {"payment_token": "tok_other"}, "UNKNOWN_PAYMENT_TOKEN"),
    ("shipping", "BookShipment", {}, ""),
    ("shipping", "BookShipment", {"ship_to": ship_to("AQ")}, "NO_CARRIER"),
    ("orders", "RecordOrder", {}, ""),
    ("orders", "ConfirmOrder", {}, ""),
    ("orders", "CancelOrder", {}, ""),
    ("inventory", "ReleaseStock", {}, ""),
    ("payments", "VoidPayment", {}, ""),
    ("shipping", "CancelBooking", {}, ""),
]


@pytest.mark.parametrize(("service", "method", "changes", "refusal"), STEPS)
async def test_a_repeated_call_answers_the_same_bytes(
    a_service: Callable[[str], Awaitable[Bench]], service: str, method: str, changes: dict[str, Any], refusal: str
) -> None:
    bench = await a_service(service)
    call = bench.method(method).request_class(order=an_order(**changes))
    first, second = await bench.raw(method, call), await bench.raw(method, call)
    if refusal:
        assert isinstance(first, status_pb2.Status)
        assert isinstance(second, status_pb2.Status)
        assert reason(first) == refusal
        assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    else:
        assert isinstance(first, bytes)
        assert first == second


async def test_calls_that_come_at_the_same_time_do_the_step_once(inventory: Bench) -> None:
    order = an_order()
    answers = await asyncio.gather(*(inventory.call("ReserveStock", order=order) for _ in range(8)))
    assert len({answer.reservation_id for answer in answers}) == 1
    assert (await inventory.call("GetStock", sku="sku-1")).stock.reserved == 1


async def test_a_step_done_by_an_event_is_known_to_a_call(payments: Bench) -> None:
    order = an_order()
    await payments.event(an_event("orders.OrderPlaced", order))
    authorized = (await payments.published())[0]
    event = payments.contract.events[authorized.event].message_class.FromString(authorized.body)
    response = await payments.call("AuthorizePayment", order=order)
    assert response.authorization_id == event.authorization_id
    assert (await payments.call("GetAccount", customer_id=order.customer_id)).balances[0].authorized.units == 10


async def test_a_step_done_by_a_call_is_known_to_an_event_which_makes_it_emit(shipping: Bench) -> None:
    order = an_order()
    await shipping.call("BookShipment", order=order)
    assert await shipping.names() == []
    await shipping.event(an_event("orders.OrderPlaced", order))
    assert await shipping.names() == ["ShipmentBooked"]
    assert len(await shipping.rows()) == 1


async def test_a_redelivered_event_does_nothing_twice_and_emits_again(inventory: Bench) -> None:
    order = an_order()
    for _ in range(3):
        await inventory.event(an_event("orders.OrderPlaced", order))
    assert set(await inventory.names()) == {"StockReserved"}
    assert (await inventory.call("GetStock", sku="sku-1")).stock.reserved == 1


async def test_a_refused_step_that_is_triggered_again_publishes_its_refusal_again(payments: Bench) -> None:
    order = an_order(payment_token="tok_declined")
    placed = an_event("orders.OrderPlaced", order)
    await payments.event(placed)
    first = (await payments.published())[0]
    await payments.event(placed, replay="replay-1")
    second = (await payments.published())[-1]
    assert (first.event, first.body) == (second.event, second.body)
    assert second.replay == "replay-1"


@pytest.mark.parametrize("by_event", [False, True])
async def test_the_same_step_with_other_content_is_refused_and_changes_nothing(
    inventory: Bench, by_event: bool
) -> None:
    order = an_order()
    await inventory.event(an_event("orders.OrderPlaced", order))
    other = an_order(order_id=order.order_id, lines=lines(("sku-1", 2)))
    before, published = await inventory.rows(), len(await inventory.published())
    with pytest.raises(StepMismatch):
        await came(inventory, "ReserveStock", an_event("orders.OrderPlaced", other), by_event)
    assert await inventory.rows() == before
    assert len(await inventory.published()) == published
    assert (await inventory.call("GetStock", sku="sku-1")).stock.reserved == 1


async def test_a_refused_step_with_other_content_is_a_mismatch_too(payments: Bench) -> None:
    order = an_order(payment_token="tok_declined")
    await payments.call("AuthorizePayment", order=order)
    with pytest.raises(StepMismatch):
        await payments.call("AuthorizePayment", order=an_order(order_id=order.order_id))


@pytest.mark.parametrize(
    ("service", "step", "compensation"),
    [
        ("inventory", "ReserveStock", "ReleaseStock"),
        ("payments", "AuthorizePayment", "VoidPayment"),
        ("shipping", "BookShipment", "CancelBooking"),
    ],
)
async def test_a_step_that_comes_after_its_compensation_is_refused_for_ever(
    a_service: Callable[[str], Awaitable[Bench]], service: str, step: str, compensation: str
) -> None:
    bench = await a_service(service)
    order = an_order()
    undone = await bench.call(compensation, order=order)
    for _ in range(2):
        late = await bench.call(step, order=order)
        assert (late.code, reason(late)) == (10, "STEP_COMPENSATED")  # ABORTED
    assert await bench.call(compensation, order=order) == undone
    states = {row.method.rpartition(".")[2]: row.state for row in await bench.rows()}
    assert states == {step: State.TOMBSTONE, compensation: State.DONE}
    assert await bench.names() == []


async def test_a_compensation_takes_back_only_once(inventory: Bench) -> None:
    order, other = an_order(), an_order()
    for one in (order, other):
        await inventory.call("ReserveStock", order=one)
    for _ in range(3):
        await inventory.call("ReleaseStock", order=order)
        await inventory.event(an_event("orders.OrderCancelled", order, status=CANCELLED))
    stock = (await inventory.call("GetStock", sku="sku-1")).stock
    assert (stock.on_hand, stock.reserved) == (9, 1)


async def test_the_id_of_a_step_is_the_same_whichever_way_it_is_called(tmp_path: Any, payments: Bench) -> None:
    order = an_order()
    response = await payments.call("AuthorizePayment", order=order)
    (tmp_path / "other").mkdir()
    other = Bench(type(payments.servicer)(), tmp_path / "other")
    await other.event(an_event("orders.OrderPlaced", order))
    assert (await other.call("AuthorizePayment", order=order)).authorization_id == response.authorization_id
    await other.close()


async def test_a_compensation_that_says_something_else_than_its_step_reverses_nothing(inventory: Bench) -> None:
    await inventory.call("SetStock", sku="sku-1", on_hand=10)
    first, second = an_order(), an_order()
    for order in (first, second):
        await inventory.call("ReserveStock", order=order)
    first.lines[0].quantity = 2
    with pytest.raises(StepMismatch):
        await inventory.call("ReleaseStock", order=first)
    stock = (await inventory.call("GetStock", sku="sku-1")).stock
    assert (stock.on_hand, stock.reserved) == (8, 2)
