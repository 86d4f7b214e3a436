"""HandOver in the states in which more is to be thought of than the next step."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from eventbus.bus import EventBus
from mesh.contract import Contract, Process
from mesh.errors import OutOfOrder, Unavailable
from orchestrator.api import OrchestratorService
from orchestrator.watching import Watching
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order, OrderStatus
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    PROCESS,
    RUNNING,
    STALLED,
    EngineBench,
    FakeParticipants,
    Shop,
)
from tests.unit.orchestrator.test_cancel_verdicts import CANCELLED, Caller
from tests.unit.participant.participant_bench import FakePublisher, short, until

CHOREOGRAPHED = api.Style.STYLE_CHOREOGRAPHED
CANCELLED_ORDER = OrderStatus.ORDER_STATUS_CANCELLED


@pytest.fixture
def bus() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
def service(engine: EngineBench, bus: FakePublisher) -> OrchestratorService:
    return serving(engine, bus)


def serving(bench: EngineBench, bus: FakePublisher) -> OrchestratorService:
    nothing = cast(Any, None)
    watching = Watching(bench.engine, bench.database, bench.changes)
    return OrchestratorService(bench.engine, bench.database, watching, nothing, cast(EventBus, bus), nothing)


async def hand_over(service: OrchestratorService, order: Order, caller: Caller | None = None) -> api.Saga:
    request = api.HandOverRequest(saga_id=order.order_id)
    return (await service.HandOver(request, caller or Caller())).saga


async def held(engine: EngineBench, participants: FakeParticipants, order: Order, method: str) -> None:
    participants.hold(method)
    await engine.start(order)
    await participants.reaches(method)


async def test_its_start_is_published_before_it_is_let_go_and_again_for_the_tracker(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants, bus: FakePublisher
) -> None:
    order = an_order()
    await held(engine, participants, order, "BookShipment")
    saga = await hand_over(service, order)
    assert (saga.style, saga.status) == (CHOREOGRAPHED, RUNNING)
    assert [short(one.event) for one in bus.envelopes] == ["OrderPlaced"] * 2
    assert len({one.replay for one in bus.envelopes}) == 2, "the broker would swallow the second one"


async def test_without_a_broker_it_stays_where_it_is(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants, bus: FakePublisher
) -> None:
    order, bus.fails = an_order(), True
    await held(engine, participants, order, "BookShipment")
    with pytest.raises(Unavailable, match="not handed over"):
        await hand_over(service, order)
    participants.release()
    await engine.comes_to(order.order_id, COMPLETED)


async def test_one_that_is_being_cancelled_is_handed_over_once_the_pivot_has_decided(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants, shop: Shop
) -> None:
    order = an_order()
    await held(engine, participants, order, "BookShipment")
    participants.hold("CancelOrder")
    participants.hold("ReleaseStock")
    await engine.engine.cancel(order.order_id)
    handing_over = asyncio.create_task(hand_over(service, order))
    await participants.reaches("CancelOrder")
    participants.held_before.pop("CancelOrder").set()
    saga = await handing_over
    assert (saga.style, saga.status) == (CHOREOGRAPHED, COMPENSATING)
    state = (await shop.call("GetOrder", order_id=order.order_id)).state
    assert state.status == CANCELLED_ORDER, "an acknowledged cancellation was forgotten"
    participants.release()


async def test_where_the_pivot_does_not_answer_a_cancelled_one_stays_and_its_cancellation_is_kept(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants
) -> None:
    order = an_order()
    await held(engine, participants, order, "BookShipment")
    participants.hold("CancelOrder")
    await engine.engine.cancel(order.order_id)
    with pytest.raises(Unavailable, match="is being cancelled"):
        await hand_over(service, order, Caller(0.1))
    participants.release()
    await engine.comes_to(order.order_id, COMPENSATED)


async def test_one_that_stalled_on_its_way_back_is_handed_over_as_what_it_is(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants
) -> None:
    order = an_order()
    participants.break_("ReleaseStock")
    await held(engine, participants, order, "BookShipment")
    await engine.engine.cancel(order.order_id)
    await engine.comes_to(order.order_id, STALLED)
    saga = await hand_over(service, order)
    assert (saga.style, saga.status, saga.stalled_reason) == (CHOREOGRAPHED, COMPENSATING, "")
    participants.release()


async def test_one_that_has_ended_is_left_as_it_is(
    engine: EngineBench, service: OrchestratorService, bus: FakePublisher
) -> None:
    order = an_order()
    await engine.run(order)
    assert (await hand_over(service, order)).status == COMPLETED
    assert bus.envelopes == []


async def test_a_process_without_a_choreography_is_not_handed_over(
    an_engine: Any, participants: FakeParticipants, bus: FakePublisher
) -> None:
    contract = Contract.of_packages("shop")
    contract.processes[PROCESS] = Process(PROCESS, contract.processes[PROCESS].start, ())
    bench, order = an_engine(contract=contract), an_order()
    await held(bench, participants, order, "BookShipment")
    with pytest.raises(OutOfOrder, match="orchestrated only"):
        await hand_over(serving(bench, bus), order)
    assert bus.envelopes == []
    participants.release()
    await bench.comes_to(order.order_id, COMPLETED)


async def test_a_child_stays_with_the_orchestrator_where_its_parent_waits(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants
) -> None:
    order = an_order()
    participants.hold("BookShipment")
    await engine.engine.start_child(PROCESS, OrderPlaced(order=order), "its-parent")
    await participants.reaches("BookShipment")
    with pytest.raises(OutOfOrder, match="its-parent"):
        await hand_over(service, order)
    participants.release()


async def test_a_cancellation_that_meets_a_hand_over_asks_the_pivot(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants, shop: Shop
) -> None:
    order = an_order()
    await held(engine, participants, order, "BookShipment")
    _, cancelled = await asyncio.gather(
        hand_over(service, order), service.CancelSaga(api.CancelSagaRequest(saga_id=order.order_id), Caller())
    )
    assert cancelled.verdict == CANCELLED
    state = (await shop.call("GetOrder", order_id=order.order_id)).state
    assert state.status == CANCELLED_ORDER
    participants.release()


async def test_it_is_taken_from_an_orchestrator_that_is_paused_by_any_other_one(
    an_engine: Any, participants: FakeParticipants, bus: FakePublisher, tmp_path: Path
) -> None:
    """The first one drives it in its memory, where it is held; what it does later is no harm, and not written."""
    first = EngineBench(tmp_path, participants, alone=False)
    second, order = an_engine(alone=False), an_order()
    await first.recover()
    await held(first, participants, order, "BookShipment")
    assert (await hand_over(serving(second, bus), order)).style == CHOREOGRAPHED
    assert (await second.engine.adopt(order.order_id)).style == api.Style.STYLE_ORCHESTRATED
    assert (await hand_over(serving(second, bus), order)).style == CHOREOGRAPHED
    participants.release()
    await until(lambda: not first.engine.runs(order.order_id), "the end of the run that was taken")
    stored = await second.stored(order.order_id)
    assert stored is not None
    assert stored.style == CHOREOGRAPHED
    await first.close()
