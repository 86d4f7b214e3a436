"""The engine runs sagas to their end, or says why it cannot."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sql

from mesh.errors import AlreadyExists, Invalid, NotFound, OutOfOrder, Refused
from orchestrator.journal import StepStatus
from orchestrator.tables import SAGAS
from shop.orders.v1.events_pb2 import OrderConfirmed, OrderPlaced
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    BACK,
    COMPENSATED,
    COMPLETED,
    FORWARD,
    PROCESS,
    STALLED,
    EngineBench,
    FakeParticipants,
    Shop,
    packed,
)
from tests.unit.participant.participant_bench import lines, ship_to

REFUSALS = [
    ({"lines": lines(("sku-1", 11))}, "OUT_OF_STOCK"),
    ({"payment_token": "tok_declined"}, "CARD_DECLINED"),
    ({"payment_token": "tok_insufficient_funds"}, "INSUFFICIENT_FUNDS"),
    ({"ship_to": ship_to("AQ")}, "NO_CARRIER"),
]


async def test_a_saga_runs_to_its_end(engine: EngineBench, participants: FakeParticipants, shop: Shop) -> None:
    order = an_order()
    journal = await engine.run(order)
    assert journal.status == COMPLETED
    assert sorted(participants.asked) == sorted(FORWARD)
    assert await shop.books(order) == (1, 10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)
    stored = await engine.stored(order.order_id)
    assert stored is not None
    assert (stored.status, bool(stored.ended_us)) == (COMPLETED, True)
    assert {step.status for step in stored.steps.values()} == {StepStatus.STEP_STATUS_DONE}


@pytest.mark.parametrize(("changes", "reason"), REFUSALS)
async def test_a_refusal_takes_back_all_that_was_done(
    engine: EngineBench, shop: Shop, changes: dict[str, Any], reason: str
) -> None:
    order = an_order(**changes)
    journal = await engine.run(order)
    assert journal.status == COMPENSATED
    assert journal.to_proto().refusal.reason == reason
    reserved, captured, held, _, status = await shop.books(order)
    assert (reserved, captured, held, status) == (0, 0, 0, OrderStatus.ORDER_STATUS_COMPENSATED)
    assert set(BACK) <= set(await shop.ledgers())


async def test_a_step_whose_answer_is_lost_is_called_again_and_happens_once(
    engine: EngineBench, participants: FakeParticipants, shop: Shop
) -> None:
    participants.lost.update(dict.fromkeys(FORWARD, 2))
    order = an_order()
    journal = await engine.run(order)
    assert journal.status == COMPLETED
    assert {step.attempts for step in journal.steps.values()} == {3}
    assert await shop.books(order) == (1, 10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)


@pytest.mark.parametrize("method", FORWARD)
async def test_a_definite_error_stalls_the_saga_and_a_retry_goes_on(
    engine: EngineBench, participants: FakeParticipants, method: str
) -> None:
    participants.break_(method, text="you may not")
    order = an_order()
    journal = await engine.run(order)
    assert journal.status == STALLED
    assert f"{method} answered PERMISSION_DENIED: you may not" in journal.stalled_reason
    assert f"ensemble saga retry {order.order_id}" in journal.stalled_help
    stored = await engine.stored(order.order_id)
    assert stored is not None
    assert (stored.status, stored.stalled_reason) == (STALLED, journal.stalled_reason)
    asked = list(participants.asked)
    participants.indefinite.clear()
    journal = await engine.engine.retry(order.order_id)
    assert (journal.stalled_reason, journal.stalled_help) == ("", "")
    await engine.comes_to(order.order_id, COMPLETED)
    again = participants.asked[len(asked) :]
    assert not set(again) & (set(asked) - {"ReserveStock", "AuthorizePayment", "BookShipment"})


async def test_only_a_stalled_saga_can_be_retried(engine: EngineBench) -> None:
    order = an_order()
    await engine.run(order)
    with pytest.raises(OutOfOrder):
        await engine.engine.retry(order.order_id)


async def test_a_step_that_came_before_with_another_request_stalls_the_saga(engine: EngineBench, shop: Shop) -> None:
    order = an_order()
    await shop.call("ReserveStock", order=an_order(order_id=order.order_id, customer_id="somebody-else"))
    journal = await engine.run(order)
    assert journal.status == STALLED
    assert "ALREADY_EXISTS" in journal.stalled_reason


async def test_a_step_that_was_compensated_before_it_came_takes_the_no_go_side(engine: EngineBench, shop: Shop) -> None:
    order = an_order()
    await shop.call("VoidPayment", order=order)
    journal = await engine.run(order)
    assert journal.status == COMPENSATED
    assert journal.to_proto().refusal.reason == "STEP_COMPENSATED"


async def test_an_order_that_was_cancelled_past_the_engine_is_compensated(engine: EngineBench, shop: Shop) -> None:
    order = an_order()
    await shop.call("CancelOrder", order=order)
    journal = await engine.run(order)
    assert journal.status == COMPENSATED
    assert journal.to_proto().refusal.reason == "ALREADY_CANCELLED"


async def test_a_refusal_behind_the_pivot_stalls_the_saga(engine: EngineBench, participants: FakeParticipants) -> None:
    participants.refusing["CapturePayment"] = Refused("CHANGED_MY_MIND")
    order = an_order()
    journal = await engine.run(order)
    assert journal.status == STALLED
    assert "CHANGED_MY_MIND" in journal.stalled_reason
    participants.refusing.clear()
    await engine.engine.retry(order.order_id)
    await engine.comes_to(order.order_id, COMPLETED)


async def test_a_refusal_on_the_way_back_stalls_the_saga(engine: EngineBench, participants: FakeParticipants) -> None:
    participants.refusing["VoidPayment"] = Refused("CHANGED_MY_MIND")
    order = an_order(ship_to=ship_to("AQ"))
    journal = await engine.run(order)
    assert journal.status == STALLED
    assert "refused on the way back: CHANGED_MY_MIND" in journal.stalled_reason
    participants.refusing.clear()
    await engine.engine.retry(order.order_id)
    await engine.comes_to(order.order_id, COMPENSATED)


async def test_many_sagas_run_at_once(engine: EngineBench, shop: Shop) -> None:
    orders = [an_order(customer_id=f"customer-{number}") for number in range(12)]
    journals = await asyncio.gather(*(engine.run(order) for order in orders))
    assert sorted(journal.status for journal in journals) == [COMPLETED] * 10 + [COMPENSATED] * 2
    assert (await shop.call("GetStock", sku="sku-1")).stock.reserved == 10


async def test_two_engines_that_drive_one_saga_do_each_step_once(
    engine: EngineBench, participants: FakeParticipants, shop: Shop, tmp_path: Any
) -> None:
    (tmp_path / "zombie").mkdir()
    zombie = EngineBench(tmp_path / "zombie", participants)
    order = an_order()
    first, second = await asyncio.gather(engine.run(order), zombie.run(order))
    await zombie.close()
    assert (first.status, second.status) == (COMPLETED, COMPLETED)
    assert await shop.books(order) == (1, 10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)


async def test_a_cancelled_saga_says_so(engine: EngineBench, participants: FakeParticipants) -> None:
    participants.hold("ConfirmOrder")
    order = an_order()
    await engine.start(order)
    await participants.reaches("ConfirmOrder")
    await engine.engine.cancel(order.order_id)
    journal = await engine.comes_to(order.order_id, COMPENSATED)
    assert journal.to_proto().refusal.reason == "CANCELLED"
    again = await engine.engine.cancel(order.order_id)
    assert again.to_proto() == journal.to_proto(), "cancelled again, it stays as it is"


@pytest.mark.parametrize(
    ("process", "input_", "error"),
    [
        ("no-such-process", packed(OrderPlaced(order=an_order())), NotFound),
        (PROCESS, packed(OrderConfirmed(order=an_order())), Invalid),
        (PROCESS, packed(OrderPlaced()), Invalid),
        (PROCESS, packed(OrderPlaced(order=an_order(order_id=""))), Invalid),
    ],
)
async def test_what_cannot_be_started_is_refused_and_leaves_nothing(
    engine: EngineBench, process: str, input_: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await engine.engine.start(process, input_)
    assert await engine.database.run(lambda tx: tx.execute(sql.select(SAGAS)).all()) == []


async def test_a_start_is_idempotent_by_its_id_and_its_input(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    order = an_order()
    await asyncio.gather(*(engine.start(order) for _ in range(4)))
    journal = await engine.comes_to(order.order_id, COMPLETED)
    assert (await engine.start(order)).status == journal.status
    assert sorted(participants.asked) == sorted(FORWARD)
    with pytest.raises(AlreadyExists):
        await engine.start(an_order(order_id=order.order_id, customer_id="somebody-else"))


async def test_nothing_is_known_of_a_saga_that_nobody_started(engine: EngineBench) -> None:
    for method in (engine.engine.get, engine.engine.cancel, engine.engine.retry, engine.engine.adopt):
        with pytest.raises(NotFound):
            await method("nobody")
