"""An engine that dies at any step is followed by another on the same tables, which goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    BACK,
    COMPENSATED,
    COMPLETED,
    FORWARD,
    STALLED,
    EngineBench,
    FakeParticipants,
    Shop,
)


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method", FORWARD)
async def test_a_crash_on_the_way_forward_is_survived(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants, shop: Shop, method: str, answered: bool
) -> None:
    participants.hold(method, answered=answered)
    first, order = an_engine(), an_order()
    await first.start(order)
    await participants.reaches(method)
    await first.crash()
    participants.release()
    second = an_engine()
    assert await second.recover() == 1
    await second.comes_to(order.order_id, COMPLETED)
    assert await shop.books(order) == (1, 10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)
    assert set(await shop.ledgers()) == set(FORWARD)


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method", BACK)
async def test_a_crash_on_the_way_back_is_survived(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants, shop: Shop, method: str, answered: bool
) -> None:
    participants.hold(method, answered=answered)
    first, order = an_engine(), an_order(payment_token="tok_declined")
    await first.start(order)
    await participants.reaches(method)
    await first.crash()
    participants.release()
    second = an_engine()
    assert await second.recover() == 1
    journal = await second.comes_to(order.order_id, COMPENSATED)
    assert await shop.books(order) == (0, 0, 0, 0, OrderStatus.ORDER_STATUS_COMPENSATED)
    assert set(BACK) <= set(await shop.ledgers())
    assert journal.to_proto().refusal.reason == "CARD_DECLINED"


async def test_a_crash_before_anything_was_written_behind_is_survived(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants, shop: Shop
) -> None:
    participants.hold("CompleteOrder")
    first, order = an_engine(writing=False), an_order()
    await first.start(order)
    await participants.reaches("CompleteOrder")
    stored = await first.stored(order.order_id)
    assert stored is not None
    assert stored.steps == {}
    await first.crash()
    participants.release()
    second = an_engine()
    await second.recover()
    await second.comes_to(order.order_id, COMPLETED)
    assert await shop.books(order) == (1, 10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)


async def test_an_engine_that_is_closed_in_order_asks_for_no_answer_twice(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants
) -> None:
    participants.hold("CapturePayment")
    first, order = an_engine(), an_order()
    await first.start(order)
    await participants.reaches("CapturePayment")
    await first.close()
    participants.release()
    second = an_engine()
    await second.recover()
    await second.comes_to(order.order_id, COMPLETED)
    assert sorted(participants.asked) == sorted(FORWARD)


async def test_a_saga_that_ended_or_stalled_is_not_run_on(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants
) -> None:
    first, done, stalled = an_engine(), an_order(), an_order()
    await first.run(done)
    participants.break_("RecordOrder")
    assert (await first.run(stalled)).status == STALLED
    await first.close()
    second = an_engine()
    assert await second.recover() == 0
    participants.indefinite.clear()
    await second.engine.retry(stalled.order_id)
    await second.comes_to(stalled.order_id, COMPLETED)


async def test_a_retried_saga_is_run_on_after_a_crash(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants
) -> None:
    """The writer behind may still hold the state from before the retry; it must not come to stand in the tables."""
    participants.break_("RecordOrder")
    first, order = an_engine(writing=False), an_order()
    await first.start(order)
    await first.comes_to(order.order_id, STALLED)
    participants.indefinite.clear()
    participants.hold("RecordOrder")
    retrying = asyncio.create_task(first.engine.retry(order.order_id))
    first.write()
    await retrying
    await participants.reaches("RecordOrder")
    await first.engine.flushed()
    await first.crash()
    participants.release()
    second = an_engine()
    assert await second.recover() == 1, "the tables say that the saga is stalled"
    await second.comes_to(order.order_id, COMPLETED)
