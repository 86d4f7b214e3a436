"""A saga changes hands: the engine adopts what choreography began, and lets go of what choreography shall finish."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from mesh.errors import OutOfOrder
from orchestrator.journal import Style
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    RUNNING,
    STALLED,
    EngineBench,
    FakeParticipants,
    Shop,
    track,
)
from tests.unit.participant.participant_bench import an_event

Makes = Callable[..., EngineBench]
HELD = ("inventory.StockReserved", "payments.PaymentAuthorized", "shipping.ShipmentBooked")


async def test_a_choreographed_saga_is_adopted_and_its_finished_steps_answer_from_their_ledgers(
    engine: EngineBench, shop: Shop
) -> None:
    order = an_order()
    for name in ("inventory", "payments"):
        await shop.benches[name].event(an_event("orders.OrderPlaced", order))
    await track(engine, order, "orders.OrderPlaced", *HELD[:2])
    journal = await engine.engine.adopt(order.order_id)
    assert journal.style == Style.STYLE_ORCHESTRATED
    await engine.comes_to(order.order_id, COMPLETED)
    assert await shop.books(order) == (1, 10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)


async def test_an_adopted_saga_goes_on_after_a_restart(an_engine: Makes, participants: FakeParticipants) -> None:
    """What the tracker wrote of its steps are no answers; the next engine must not take them for such."""
    participants.hold("RecordOrder")
    first, order = an_engine(), an_order()
    await track(first, order, "orders.OrderPlaced", *HELD)
    await first.engine.adopt(order.order_id)
    await participants.reaches("RecordOrder")
    await first.close()
    participants.release()
    second = an_engine()
    assert await second.recover() == 1
    await second.comes_to(order.order_id, COMPLETED)


async def test_an_adopted_saga_that_stalls_can_be_retried(engine: EngineBench, participants: FakeParticipants) -> None:
    participants.break_("RecordOrder")
    order = an_order()
    await track(engine, order, "orders.OrderPlaced", *HELD)
    await engine.engine.adopt(order.order_id)
    await engine.comes_to(order.order_id, STALLED)
    participants.indefinite.clear()
    await engine.engine.retry(order.order_id)
    await engine.comes_to(order.order_id, COMPLETED)


async def test_a_saga_whose_start_was_not_seen_yet_is_not_adopted(engine: EngineBench) -> None:
    order = an_order()
    await track(engine, order, *HELD)
    with pytest.raises(OutOfOrder, match="was not seen yet"):
        await engine.engine.adopt(order.order_id)


async def test_a_saga_that_has_ended_or_is_driven_already_is_adopted_as_it_is(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    done, driven = an_order(), an_order()
    await engine.run(done)
    participants.hold("RecordOrder")
    await engine.start(driven)
    assert (await engine.engine.adopt(done.order_id)).status == COMPLETED
    assert (await engine.engine.adopt(driven.order_id)).status == RUNNING
    participants.release()
    await engine.comes_to(driven.order_id, COMPLETED)
    assert participants.asked.count("RecordOrder") == 2


async def test_a_saga_that_was_let_go_is_driven_no_longer_not_even_after_a_restart(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    participants.hold("ConfirmOrder")
    first, order = an_engine(), an_order()
    await first.start(order)
    await participants.reaches("ConfirmOrder")
    journal = await first.engine.let_go(order.order_id)
    assert (journal.style, journal.status) == (Style.STYLE_CHOREOGRAPHED, RUNNING)
    assert journal.starting_event() == OrderPlaced(order=order)
    participants.release()
    await first.close()
    second = an_engine()
    assert await second.recover() == 0
    assert "ConfirmOrder" not in participants.asked


async def test_a_saga_goes_to_and_fro(engine: EngineBench, participants: FakeParticipants, shop: Shop) -> None:
    participants.hold("ConfirmOrder")
    order = an_order()
    await engine.start(order)
    await participants.reaches("ConfirmOrder")
    await engine.engine.let_go(order.order_id)
    await track(engine, order, "orders.OrderPlaced", *HELD, "orders.OrderConfirmed")
    await shop.call("ConfirmOrder", order=order)
    participants.release()
    await engine.engine.adopt(order.order_id)
    await engine.comes_to(order.order_id, COMPLETED)
    assert await shop.books(order) == (1, 10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)


async def test_an_older_state_that_waits_to_be_written_does_not_take_a_saga_back(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    participants.hold("CancelOrder")
    bench, order = an_engine(writing=False), an_order(payment_token="tok_declined")
    await bench.start(order)
    await participants.reaches("CancelOrder")
    assert (await bench.engine.get(order.order_id)).status == COMPENSATING
    letting_go = asyncio.create_task(bench.engine.let_go(order.order_id))
    bench.write()
    await letting_go
    await bench.engine.flushed()
    stored = await bench.stored(order.order_id)
    assert stored is not None
    assert (stored.style, stored.status) == (Style.STYLE_CHOREOGRAPHED, COMPENSATING)


async def test_a_stalled_saga_that_is_let_go_is_not_said_to_be_stalled_any_more(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    participants.break_("RecordOrder")
    order = an_order()
    await engine.run(order)
    journal = await engine.engine.let_go(order.order_id)
    assert (journal.status, journal.stalled_reason, journal.stalled_help) == (RUNNING, "", "")


async def test_cancelling_a_choreographed_saga_asks_its_pivot_at_once(
    engine: EngineBench, participants: FakeParticipants, shop: Shop
) -> None:
    order = an_order()
    await track(engine, order, "orders.OrderPlaced", HELD[0])
    await engine.engine.cancel(order.order_id)
    assert participants.asked == ["CancelOrder"]
    state = (await shop.call("GetOrder", order_id=order.order_id)).state
    assert state.status == OrderStatus.ORDER_STATUS_CANCELLED


async def test_an_adopted_saga_of_a_cancelled_order_is_compensated(engine: EngineBench, shop: Shop) -> None:
    order = an_order()
    await track(engine, order, "orders.OrderPlaced", HELD[0])
    await engine.engine.cancel(order.order_id)
    await engine.engine.adopt(order.order_id)
    await engine.comes_to(order.order_id, COMPENSATED)
    assert await shop.books(order) == (0, 0, 0, 10, OrderStatus.ORDER_STATUS_COMPENSATED)


async def test_a_change_that_is_refused_after_its_caller_gave_up_is_no_error_that_nobody_handled(
    engine: EngineBench, caplog: pytest.LogCaptureFixture
) -> None:
    caller = asyncio.create_task(engine.engine.retry("no-such-saga"))
    await asyncio.sleep(0)  # it has begun
    changing = {task for task in asyncio.all_tasks() if task.get_name() == "change saga no-such-saga"}
    caller.cancel()
    await asyncio.wait({caller, *changing})
    assert changing
    del caller, changing
    await asyncio.sleep(0)
    gc.collect()  # when asyncio says of a task that nobody has retrieved its error
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
