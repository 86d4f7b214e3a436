"""In which style an event is published, who acts on it, and how a deliberate replay travels."""

from __future__ import annotations

import pytest

from eventbus import replay
from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED
from mesh.errors import Invalid
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.participant.participant_bench import Bench, an_event, short

COMPLETED, CANCELLED = OrderStatus.ORDER_STATUS_COMPLETED, OrderStatus.ORDER_STATUS_CANCELLED


async def styles(bench: Bench) -> list[tuple[str, str]]:
    return [(short(envelope.event), envelope.style) for envelope in await bench.published()]


async def test_a_called_step_publishes_nothing(inventory: Bench) -> None:
    order = an_order()
    await inventory.call("ReserveStock", order=order)
    assert await styles(inventory) == []


async def test_a_called_step_publishes_a_public_event_as_orchestrated(orders: Bench) -> None:
    order = an_order()
    await orders.call("CancelOrder", order=order)
    await orders.call("CloseOrder", order=order)
    assert await styles(orders) == [("OrderCancelled", ORCHESTRATED), ("OrderCompensated", ORCHESTRATED)]


async def test_a_called_step_that_refuses_publishes_nothing(payments: Bench) -> None:
    await payments.call("AuthorizePayment", order=an_order(payment_token="tok_declined"))
    assert await styles(payments) == []


async def test_a_triggered_step_publishes_as_choreographed(payments: Bench) -> None:
    await payments.event(an_event("orders.OrderPlaced", an_order()))
    assert await styles(payments) == [("PaymentAuthorized", CHOREOGRAPHED)]


async def test_a_called_step_publishes_as_choreographed_after_a_choreographed_trigger(orders: Bench) -> None:
    """Even of another step, and of one that emits nothing: adopting a saga does not stop its choreography."""
    order, other = an_order(), an_order()
    await orders.event(an_event("orders.OrderPlaced", order))
    await orders.call("ConfirmOrder", order=order)
    await orders.call("ConfirmOrder", order=other)
    assert await styles(orders) == [("OrderConfirmed", CHOREOGRAPHED)]


async def test_an_arrival_that_does_not_complete_its_join_makes_the_saga_choreographed(orders: Bench) -> None:
    order = an_order()
    await orders.event(an_event("inventory.StockReserved", order))
    await orders.call("CancelOrder", order=order)
    assert await styles(orders) == [("OrderCancelled", CHOREOGRAPHED)]


async def test_a_step_that_was_called_publishes_again_in_the_style_of_its_later_trigger(orders: Bench) -> None:
    order = an_order()
    await orders.call("CancelOrder", order=order)
    await orders.event(an_event("payments.PaymentDeclined", order))
    assert await styles(orders) == [("OrderCancelled", ORCHESTRATED), ("OrderCancelled", CHOREOGRAPHED)]
    ids = {envelope.message_id for envelope in await orders.published()}
    assert len(ids) == 2, "the second would be swallowed as a duplicate"


async def test_an_orchestrated_event_triggers_no_step(inventory: Bench) -> None:
    await inventory.event(an_event("orders.OrderCancelled", an_order(), status=CANCELLED), style=ORCHESTRATED)
    assert await inventory.rows() == []


@pytest.mark.parametrize("deliveries", [[CHOREOGRAPHED, ORCHESTRATED], [ORCHESTRATED, CHOREOGRAPHED]])
async def test_an_observer_runs_once_for_each_event_in_either_style(
    notifications: Bench, deliveries: list[str]
) -> None:
    order = an_order()
    for style in deliveries * 2:
        await notifications.event(an_event("orders.OrderCancelled", order, status=CANCELLED), style=style)
        await notifications.event(an_event("orders.OrderCompleted", order, status=COMPLETED), style=style)
    listed = await notifications.call("ListNotifications", order_id=order.order_id)
    assert sorted(one.status for one in listed.notifications) == [COMPLETED, CANCELLED]
    keys = {row.step_key for row in await notifications.rows()}
    assert keys == {
        f"status={COMPLETED},event=shop.orders.v1.OrderCompleted",
        f"status={CANCELLED},event=shop.orders.v1.OrderCancelled",
    }


async def test_two_observed_events_with_the_same_request_are_two_steps(notifications: Bench) -> None:
    order = an_order()
    await notifications.event(an_event("orders.OrderCancelled", order, status=CANCELLED))
    await notifications.event(an_event("orders.OrderCompleted", order, status=CANCELLED, tracking_number=""))
    assert len(await notifications.rows()) == 2


def test_a_participant_subscribes_to_what_triggers_it_and_to_what_it_observes(
    inventory: Bench, notifications: Bench
) -> None:
    assert inventory.participant.reactor.subjects() == [
        "events.choreographed.shop.orders.v1.OrderCancelled",
        "events.choreographed.shop.orders.v1.OrderPlaced",
    ]
    assert notifications.participant.reactor.subjects() == [
        "events.choreographed.shop.orders.v1.OrderCancelled",
        "events.choreographed.shop.orders.v1.OrderCompleted",
        "events.orchestrated.shop.orders.v1.OrderCancelled",
        "events.orchestrated.shop.orders.v1.OrderCompleted",
    ]


@pytest.mark.parametrize("again", [False, True])
async def test_the_replay_of_an_event_travels_on(inventory: Bench, again: bool) -> None:
    order = an_order()
    if again:
        await inventory.event(an_event("orders.OrderPlaced", order))
    await inventory.event(an_event("orders.OrderPlaced", order), replay="01-replay")
    envelope = (await inventory.published())[-1]
    assert envelope.replay == "01-replay"
    assert envelope.message_id.endswith(":01-replay")


async def test_the_replay_of_a_call_travels_on(orders: Bench) -> None:
    minted = replay.mint()
    await orders.call("CancelOrder", minted, order=an_order())
    assert [envelope.replay for envelope in await orders.published()] == [minted]


async def test_an_accidental_repetition_has_the_message_id_of_the_first(inventory: Bench) -> None:
    order = an_order()
    for _ in range(2):
        await inventory.event(an_event("orders.OrderPlaced", order))
    assert len({envelope.message_id for envelope in await inventory.published()}) == 1


@pytest.mark.parametrize("order_id", ["", "a.b", "a>b", "x" * 65])
async def test_an_event_without_a_proper_saga_id_is_invalid(inventory: Bench, order_id: str) -> None:
    with pytest.raises(Invalid):
        await inventory.event(an_event("orders.OrderPlaced", an_order(order_id=order_id)))
    assert await inventory.rows() == []


async def test_an_event_counts_for_the_style_also_when_its_step_was_called_before_and_emits_nothing(
    orders: Bench,
) -> None:
    order = an_order()
    await orders.call("RecordOrder", order=order)
    await orders.event(an_event("orders.OrderPlaced", order))
    await orders.call("CancelOrder", order=order)
    assert await styles(orders) == [("OrderCancelled", CHOREOGRAPHED)]
