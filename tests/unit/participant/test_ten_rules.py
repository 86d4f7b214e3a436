"""The ten rules of a participant (contracts.md). 3, 4 and half of 10 are the engine's: ../orchestrator."""

from __future__ import annotations

import itertools

import pytest

from mesh import identity
from mesh.errors import OutOfOrder, StepMismatch
from mesh.projection import project
from services.orders import tables
from services.participant.ledger import State
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import CancelOrderRequest, Coordination
from tests.builders import an_order
from tests.unit.participant.participant_bench import BOTH, Bench, an_event, lines, reason

DATABASES = BOTH

CANCELLED = OrderStatus.ORDER_STATUS_CANCELLED
WHOLE_JOIN = ("inventory.StockReserved", "payments.PaymentAuthorized", "shipping.ShipmentBooked")
NO_GO = ("inventory.StockRefused", "payments.PaymentDeclined", "shipping.BookingRefused", "orders.ConfirmationRefused")


async def test_rule_1_a_step_refused_by_its_tombstone_publishes_its_refusal_when_an_event_triggered_it(
    inventory: Bench,
) -> None:
    order = an_order()
    await inventory.call("ReleaseStock", order=order)
    await inventory.names()
    await inventory.event(an_event("orders.OrderPlaced", order))
    assert await inventory.names() == ["StockRefused"]
    row = await inventory.row("ReserveStock", order)
    assert row is not None
    assert row.state is State.TOMBSTONE


async def test_rule_1_the_refusal_of_a_tombstone_says_that_the_step_was_compensated(payments: Bench) -> None:
    order = an_order()
    await payments.event(an_event("orders.OrderCancelled", order, status=CANCELLED))
    await payments.event(an_event("orders.OrderPlaced", order))
    declined = (await payments.published())[-1]
    event = payments.contract.events[declined.event].message_class.FromString(declined.body)
    assert event.refusal.reason == "STEP_COMPENSATED"
    assert declined.style == "choreographed"


@pytest.mark.parametrize("before", ["succeeded", "refused", "never came"])
async def test_rule_2_a_compensation_answers_ok_and_emits_whatever_became_of_its_step(
    payments: Bench, before: str
) -> None:
    order = an_order(payment_token="tok_declined" if before == "refused" else "tok_visa")
    if before != "never came":
        await payments.event(an_event("orders.OrderPlaced", order))
    await payments.names()
    await payments.event(an_event("orders.OrderCancelled", order, status=CANCELLED))
    assert await payments.names() == ["PaymentVoided"]
    row = await payments.row("VoidPayment", order)
    assert row is not None
    assert row.state is State.DONE
    response = await payments.call("VoidPayment", order=order)
    assert response == payments.method("VoidPayment").response_class()


async def test_rule_5_arrivals_of_a_join_are_never_consumed(orders: Bench) -> None:
    """Once complete, any further arrival triggers the method again, which answers from the ledger and emits."""
    order = an_order()
    for name in WHOLE_JOIN:
        await orders.event(an_event(name, order))
    assert await orders.names() == ["OrderConfirmed"]
    for name in WHOLE_JOIN:
        await orders.event(an_event(name, order), replay=f"replay-{name}")
        assert await orders.names() == ["OrderConfirmed"], f"{name} arrived again and nothing followed"


async def test_rule_6_a_step_that_came_out_of_order_is_not_recorded(orders: Bench) -> None:
    order = an_order()
    with pytest.raises(OutOfOrder):
        await orders.call("CompleteOrder", order=order, tracking_number="EN1")
    assert await orders.rows() == []
    await orders.call("ConfirmOrder", order=order)
    completed = await orders.call("CompleteOrder", order=order, tracking_number="EN1")
    assert completed.status == OrderStatus.ORDER_STATUS_COMPLETED


async def test_rule_6_a_mismatch_is_not_recorded(inventory: Bench) -> None:
    order = an_order()
    await inventory.call("ReserveStock", order=order)
    before = await inventory.rows()
    with pytest.raises(StepMismatch):
        await inventory.call("ReserveStock", order=an_order(order_id=order.order_id, lines=lines(("sku-1", 2))))
    assert await inventory.rows() == before


async def test_rule_6_success_and_business_refusal_are_recorded(payments: Bench) -> None:
    accepted, declined = an_order(), an_order(payment_token="tok_declined")
    for order in (accepted, declined):
        await payments.call("AuthorizePayment", order=order)
    done, refused = await payments.row("AuthorizePayment", accepted), await payments.row("AuthorizePayment", declined)
    assert (done and done.state, refused and refused.state) == (State.DONE, State.REFUSED)


async def test_rule_7_a_tombstone_matches_any_request(inventory: Bench) -> None:
    order = an_order()
    await inventory.call("ReleaseStock", order=order)
    row = await inventory.row("ReserveStock", order)
    assert row is not None
    assert (row.state, row.digest) == (State.TOMBSTONE, None)
    for late in (order, an_order(order_id=order.order_id, lines=lines(("sku-1", 7)))):
        assert reason(await inventory.call("ReserveStock", order=late)) == "STEP_COMPENSATED"


async def test_rule_7_a_compensated_step_keeps_its_answer_and_its_event(inventory: Bench) -> None:
    order = an_order()
    request = inventory.method("ReserveStock").request_class(order=order)
    answer = await inventory.raw("ReserveStock", request)
    await inventory.event(an_event("orders.OrderCancelled", order, status=CANCELLED))
    await inventory.names()
    assert await inventory.raw("ReserveStock", request) == answer
    await inventory.event(an_event("orders.OrderPlaced", order))
    assert set(await inventory.names()) == {"StockReserved"}
    row = await inventory.row("ReserveStock", order)
    assert row is not None
    assert row.state is State.DONE


@pytest.mark.parametrize("first", [*NO_GO, "call"])
async def test_rule_8_all_triggers_of_cancel_order_and_its_callers_build_the_same_request(
    orders: Bench, first: str
) -> None:
    order = an_order()
    for trigger in sorted((*NO_GO, "call"), key=lambda name: name != first):
        if trigger == "call":
            response = await orders.call("CancelOrder", order=order)
            assert response.status == CANCELLED
        else:
            await orders.event(an_event(trigger, order))
    assert set(await orders.names()) == {"OrderCancelled"}


def test_rule_8_the_requests_of_cancel_order_have_one_digest() -> None:
    order = an_order()
    digests = {identity.digest(project(CancelOrderRequest, an_event(name, order))) for name in NO_GO}
    assert digests == {identity.digest(CancelOrderRequest(order=order))}


async def test_rule_9_record_order_never_changes_an_existing_row(orders: Bench) -> None:
    order = an_order()
    asked, taken = Coordination.COORDINATION_HYBRID, Coordination.COORDINATION_ORCHESTRATED
    await orders.database.run(lambda tx: tables.add(tx, order, asked, taken))
    await orders.call("ConfirmOrder", order=order)
    before = await orders.database.run(lambda tx: tables.find(tx, order.order_id))
    await orders.event(an_event("orders.OrderPlaced", order))
    assert await orders.database.run(lambda tx: tables.find(tx, order.order_id)) == before


async def test_rule_9_record_order_of_another_order_changes_nothing(orders: Bench) -> None:
    order = an_order()
    await orders.call("CancelOrder", order=order)
    before = await orders.database.run(lambda tx: tables.find(tx, order.order_id))
    with pytest.raises(StepMismatch):
        await orders.call("RecordOrder", order=an_order(order_id=order.order_id, customer_id="another"))
    assert await orders.database.run(lambda tx: tables.find(tx, order.order_id)) == before


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(["ConfirmOrder", "CancelOrder"])))
async def test_the_pivot_decides_once(orders: Bench, first: str, second: str) -> None:
    order = an_order()
    await orders.call(first, order=order)
    refused = await orders.call(second, order=order)
    assert reason(refused) == ("ALREADY_CONFIRMED" if first == "ConfirmOrder" else "ALREADY_CANCELLED")
