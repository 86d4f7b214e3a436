"""CancelSaga races the pivot fairly, and says who won."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from orchestrator.api import OrchestratorService
from orchestrator.stalled import Stalled
from orchestrator.watching import Watching
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    COMPENSATED,
    COMPLETED,
    CONTRACT,
    STALLED,
    EngineBench,
    FakeParticipants,
    Shop,
    track,
)

CANCELLED = api.CancelVerdict.CANCEL_VERDICT_CANCELLED
TOO_LATE = api.CancelVerdict.CANCEL_VERDICT_TOO_LATE
UNDECIDED = api.CancelVerdict.CANCEL_VERDICT_UNSPECIFIED


class Caller:
    """A caller with a deadline."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds

    def time_remaining(self) -> float:
        return self._seconds


@pytest.fixture
def service(engine: EngineBench) -> OrchestratorService:
    watching = Watching(engine.engine, engine.database, engine.changes)
    nothing = cast(Any, None)
    return OrchestratorService(engine.engine, engine.database, watching, nothing, nothing, nothing)


async def cancel(service: OrchestratorService, saga_id: str, caller: Caller | None = None) -> api.CancelSagaResponse:
    return await service.CancelSaga(api.CancelSagaRequest(saga_id=saga_id), caller or Caller())


@pytest.mark.parametrize("method", ["RecordOrder", "BookShipment", "ConfirmOrder"])
async def test_before_the_pivot_it_comes_in_time(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants, method: str
) -> None:
    participants.hold(method)
    order = an_order()
    await engine.start(order)
    await participants.reaches(method)
    assert (await cancel(service, order.order_id)).verdict == CANCELLED
    await engine.comes_to(order.order_id, COMPENSATED)
    assert (await cancel(service, order.order_id)).verdict == CANCELLED, "asked again, the same"


async def test_behind_the_pivot_it_comes_too_late(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants
) -> None:
    participants.hold("CapturePayment")
    order = an_order()
    await engine.start(order)
    await participants.reaches("CapturePayment")
    assert (await cancel(service, order.order_id)).verdict == TOO_LATE
    participants.release()
    await engine.comes_to(order.order_id, COMPLETED)
    assert (await cancel(service, order.order_id)).verdict == TOO_LATE


async def test_while_nobody_can_decide_it_says_so_and_the_cancellation_is_kept(
    engine: EngineBench, service: OrchestratorService, participants: FakeParticipants
) -> None:
    participants.hold("BookShipment")
    participants.hold("CancelOrder")
    order = an_order()
    await engine.start(order)
    await participants.reaches("BookShipment")
    answer = await cancel(service, order.order_id, Caller(0.2))
    assert answer.verdict == UNDECIDED
    participants.release()
    await engine.comes_to(order.order_id, COMPENSATED)


@pytest.mark.parametrize(("decided_for_go", "verdict"), [(True, TOO_LATE), (False, CANCELLED)])
async def test_a_choreographed_saga_that_stalls_is_told_what_its_pivot_has_decided(
    engine: EngineBench, service: OrchestratorService, shop: Shop, decided_for_go: bool, verdict: int
) -> None:
    """Also where the tracker has not read of it: the pivot is asked."""
    order = an_order()
    await track(engine, order, "orders.OrderPlaced")
    if decided_for_go:
        await shop.call("ConfirmOrder", order=order)
    assert await Stalled(CONTRACT, engine.database, engine.changes, list, lambda _: False, 0.0).mark() == 1
    assert (await engine.engine.get(order.order_id)).status == STALLED
    assert (await cancel(service, order.order_id)).verdict == verdict


async def test_a_saga_that_turned_back_and_then_stalls_by_events_was_cancelled_in_time(
    engine: EngineBench, service: OrchestratorService, shop: Shop
) -> None:
    order = an_order()
    await shop.call("CancelOrder", order=order)
    await track(engine, order, "orders.OrderPlaced", "orders.OrderCancelled")
    await Stalled(CONTRACT, engine.database, engine.changes, list, lambda _: False, 0.0).mark()
    stalled = await engine.engine.get(order.order_id)
    assert (stalled.status, engine.engine.verdict(stalled)) == (STALLED, CANCELLED)
    assert (await cancel(service, order.order_id)).verdict == CANCELLED
