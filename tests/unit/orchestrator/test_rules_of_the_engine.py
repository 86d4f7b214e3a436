"""Rules 3, 4 and 10 of contracts.md, as far as they are the engine's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sql

from mesh.sqlite import open_read_only
from orchestrator import store
from orchestrator.journal import Journal, StepStatus
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    BACK,
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    STALLED,
    EngineBench,
    FakeParticipants,
    Shop,
)
from tests.unit.participant.participant_bench import an_event, lines, until


def done(journal: Journal) -> set[str]:
    return {s.method.rpartition(".")[2] for s in journal.steps.values() if s.status == StepStatus.STEP_STATUS_DONE}


COMPENSATIONS = ["ReleaseStock", "VoidPayment", "CancelBooking"]


async def test_rule_3_compensations_are_called_only_after_the_aborting_method_answered_ok(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    participants.hold("CancelOrder", answered=True)
    order = an_order(payment_token="tok_declined")
    await engine.start(order)
    await participants.reaches("CancelOrder")
    assert not set(participants.asked) & set(COMPENSATIONS)
    participants.release()
    await engine.comes_to(order.order_id, COMPENSATED)
    back = [name for name in participants.asked if name in BACK]
    assert (back[0], sorted(back[1:4]), back[4:]) == ("CancelOrder", sorted(COMPENSATIONS), ["CloseOrder"])


async def test_rule_3_nothing_is_compensated_where_the_aborting_method_is_refused(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    participants.hold("CapturePayment")
    order = an_order()
    await engine.start(order)
    await participants.reaches("CapturePayment")
    await engine.engine.cancel(order.order_id)
    participants.release()
    await engine.comes_to(order.order_id, COMPLETED)
    assert "CancelOrder" in participants.asked
    assert not set(participants.asked) & set(COMPENSATIONS)


async def test_rule_3_every_compensatable_method_is_compensated_started_or_not(
    engine: EngineBench, participants: FakeParticipants, shop: Shop
) -> None:
    """Cancelled before its first step: nothing was started, and everything is buried."""
    participants.hold("RecordOrder")
    order = an_order()
    await engine.start(order)
    await participants.reaches("RecordOrder")
    await engine.engine.cancel(order.order_id)
    await engine.comes_to(order.order_id, COMPENSATED)
    ledgers = await shop.ledgers()
    assert all(ledgers[name] == "DONE" for name in COMPENSATIONS)
    assert [ledgers[name] for name in ("ReserveStock", "AuthorizePayment", "BookShipment")] == ["TOMBSTONE"] * 3


async def test_rule_3_what_the_other_style_started_is_compensated_too(
    engine: EngineBench, participants: FakeParticipants, shop: Shop
) -> None:
    participants.hold("RecordOrder")
    order = an_order()
    await engine.start(order)
    await participants.reaches("RecordOrder")
    for name in ("inventory", "payments", "shipping"):
        await shop.benches[name].event(an_event("orders.OrderPlaced", order))
    await engine.engine.cancel(order.order_id)
    await engine.comes_to(order.order_id, COMPENSATED)
    assert await shop.books(order) == (0, 0, 0, 10, OrderStatus.ORDER_STATUS_COMPENSATED)


async def test_rule_3_the_case_is_not_closed_while_a_compensation_is_under_way(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    participants.hold("VoidPayment")
    order = an_order(lines=lines(("sku-1", 11)))
    await engine.start(order)
    await participants.reaches("VoidPayment")
    journal = await engine.engine.get(order.order_id)
    await until(lambda: {"ReleaseStock", "CancelBooking"} <= done(journal), "the other compensations")
    for _ in range(50):  # turns of the loop: enough for any call that follows from them
        await asyncio.sleep(0)
    assert (journal.status, "CloseOrder" in participants.asked) == (COMPENSATING, False)
    participants.release()
    await engine.comes_to(order.order_id, COMPENSATED)


async def test_rule_3_a_compensation_that_cannot_be_done_leaves_the_saga_stalled(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    participants.break_("VoidPayment")
    order = an_order(payment_token="tok_declined")
    await engine.start(order)
    journal = await engine.comes_to(order.order_id, STALLED, COMPENSATED)
    assert journal.status == STALLED
    assert "CloseOrder" not in participants.asked
    participants.indefinite.clear()
    await engine.engine.retry(order.order_id)
    await engine.comes_to(order.order_id, COMPENSATED)


async def test_rule_4_a_cancellation_that_comes_too_late_is_forgotten_and_the_saga_goes_forward(
    engine: EngineBench, participants: FakeParticipants, shop: Shop
) -> None:
    participants.hold("CapturePayment")
    order = an_order()
    await engine.start(order)
    await participants.reaches("CapturePayment")
    journal = await engine.engine.cancel(order.order_id)
    assert journal.cancelling
    participants.release()
    journal = await engine.comes_to(order.order_id, COMPLETED)
    assert (journal.cancelling, journal.refusal) == (False, b"")
    assert await shop.books(order) == (1, 10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)
    stored = await engine.stored(order.order_id)
    assert stored is not None
    assert (stored.status, stored.cancelling, stored.refusal) == (COMPLETED, False, b"")


async def test_rule_4_a_saga_that_was_confirmed_by_the_other_style_goes_forward(
    engine: EngineBench, participants: FakeParticipants, shop: Shop
) -> None:
    """The answer of ConfirmOrder never reached this engine; a cancellation comes, and the pivot knows better."""
    participants.hold("ConfirmOrder")
    order = an_order()
    await engine.start(order)
    await participants.reaches("ConfirmOrder")
    await shop.call("ConfirmOrder", order=order)
    await engine.engine.cancel(order.order_id)
    participants.release()
    await engine.comes_to(order.order_id, COMPLETED)
    assert participants.asked.count("RecordOrder") == 1, "what was answered is in the journal"


async def test_rule_4_holds_for_an_engine_that_was_started_again(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants
) -> None:
    participants.hold("CancelOrder")
    first, order = an_engine(), an_order()
    participants.hold("CapturePayment")
    await first.start(order)
    await participants.reaches("CapturePayment")
    await first.engine.cancel(order.order_id)
    await participants.reaches("CancelOrder")
    await first.crash()
    participants.release()
    second = an_engine()
    assert await second.recover() == 1
    await second.comes_to(order.order_id, COMPLETED)


async def test_rule_10_a_cancellation_is_durable_before_it_is_acknowledged(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants, tmp_path: Path
) -> None:
    participants.hold("ConfirmOrder")
    participants.hold("CancelOrder")
    first, order = an_engine(), an_order()
    await first.start(order)
    await participants.reaches("ConfirmOrder")
    await first.engine.cancel(order.order_id)
    reader = open_read_only(first.database.path)
    with reader.connect() as connection:  # at the moment of the acknowledgement
        cancelling = connection.execute(sql.select(store.SAGAS.c.cancelling)).scalar_one()
    reader.dispose()
    await first.crash()
    assert cancelling
    participants.release()
    second = an_engine()
    await second.recover()
    await second.comes_to(order.order_id, COMPENSATED)
    assert "ConfirmOrder" not in participants.asked


async def test_rule_10_an_older_state_that_waits_to_be_written_does_not_undo_a_cancellation(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants
) -> None:
    participants.break_("RecordOrder")
    bench, order = an_engine(writing=False), an_order()
    await bench.start(order)
    await bench.comes_to(order.order_id, STALLED)
    participants.hold("CancelOrder")
    cancelling = asyncio.create_task(bench.engine.cancel(order.order_id))
    bench.write()
    await cancelling
    await participants.reaches("CancelOrder")
    await bench.engine.flushed()
    stored = await bench.stored(order.order_id)
    assert stored is not None
    assert (stored.cancelling, stored.status) == (True, COMPENSATING)
