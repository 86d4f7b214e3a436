"""The tracker writes what choreographed sagas do; events may come in any order, and twice."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED
from mesh.clock import WallClock
from orchestrator import store
from orchestrator.journal import COMPENSATED, COMPENSATING, COMPLETED, RUNNING, StepStatus, Style
from orchestrator.tracker import Tracker
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import CONTRACT, PROCESS, EngineBench, FakeParticipants
from tests.unit.orchestrator.tracker_bench import BACK, BLOCKED, DEAD, FIRST_US, FORWARD, Tracking
from tests.unit.participant.participant_bench import an_event


@pytest.fixture
def tracking() -> Tracking:
    return Tracking()


Come = Callable[[], Awaitable[object]]


def what_comes(tracking: Tracking, order: Order, names: list[str]) -> list[Come]:
    """Events as they are stored, later replays of some, and dead letters of two that were put back."""
    comes: list[Come] = []
    for at_ms, name in enumerate(names):
        comes.append(lambda name=name, at_ms=at_ms: tracking.see(an_event(name, order), at_ms=at_ms))  # type: ignore[misc]
        comes.append(lambda name=name, at_ms=at_ms: tracking.see(an_event(name, order), at_ms=at_ms + 50))  # type: ignore[misc]
    comes.append(lambda: tracking.see_dead(order, "orders.OrderPlaced", "inventory", at_ms=DEAD))
    comes.append(lambda: tracking.see_dead(order, "orders.OrderPlaced", "inventory", at_ms=DEAD + 70, id=2))
    comes.append(lambda: tracking.see_dead(order, "orders.OrderPlaced", "orders", at_ms=DEAD, id=3))
    return comes


@pytest.mark.parametrize("reached", [3, 5, 8])
@pytest.mark.parametrize("names", [FORWARD, BACK, BLOCKED], ids=["forward", "back", "blocked"])
async def test_whatever_order_and_however_often_and_whoever_looks_meanwhile_the_rows_are_the_same(
    tracking: Tracking, names: list[str], reached: int
) -> None:
    order, later_ms = an_order(), 60_000
    for come in what_comes(tracking, order, names[:reached]):
        await come()
    await tracking.find_stalled(at_ms=later_ms)
    expected = await tracking.all_rows()
    shuffle = random.Random(reached)
    for _ in range(6):
        await tracking.forget_all()
        comes = what_comes(tracking, order, names[:reached]) * 2
        comes += [lambda: tracking.find_stalled(at_ms=later_ms)] * 3
        for come in shuffle.sample(comes, len(comes)):
            await come()
        await tracking.find_stalled(at_ms=later_ms)
        assert await tracking.all_rows() == expected


async def test_all_times_are_the_brokers(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, FORWARD, from_ms=3)
    saga = await tracking.known(order)
    times = [FIRST_US + at_ms * 1000 for at_ms in (3, 10, 10)]
    assert [saga.started_us, saga.updated_us, saga.ended_us] == times
    reserved = saga.steps["shop.inventory.v1.InventoryService.ReserveStock", ""]
    assert (reserved.started_us, reserved.ended_us) == (FIRST_US + 4000, FIRST_US + 4000)


async def test_two_refusals_in_either_order_give_the_first_as_the_cause(tracking: Tracking) -> None:
    for reasons in itertools.permutations(
        [("inventory.StockRefused", "OUT", 2), ("payments.PaymentDeclined", "CARD", 1)]
    ):
        order = an_order()
        for name, reason, at_ms in reasons:
            await tracking.see(an_event(name, order, refusal=ErrorInfo(reason=reason)), at_ms=at_ms)
        assert ErrorInfo.FromString((await tracking.known(order)).refusal).reason == "CARD"


async def test_a_refusal_by_a_tombstone_is_no_cause(tracking: Tracking) -> None:
    order = an_order()
    buried = ErrorInfo(reason="STEP_COMPENSATED")
    await tracking.see(an_event("inventory.StockRefused", order, refusal=buried), at_ms=1)
    await tracking.see(an_event("payments.PaymentDeclined", order, refusal=ErrorInfo(reason="CARD")), at_ms=2)
    assert ErrorInfo.FromString((await tracking.known(order)).refusal).reason == "CARD"


async def test_a_choreography_can_be_seen_to_its_end(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, FORWARD)
    saga = await tracking.known(order)
    assert (saga.process, saga.style, saga.status) == (PROCESS, Style.STYLE_CHOREOGRAPHED, COMPLETED)
    assert saga.starting_event() == an_event("orders.OrderPlaced", order)
    assert {method.rpartition(".")[2] for method, _ in saga.steps} == {
        "ReserveStock",
        "AuthorizePayment",
        "BookShipment",
        "ConfirmOrder",
        "CapturePayment",
        "DispatchShipment",
        "CompleteOrder",
    }


async def test_the_way_back_and_its_refusal_can_be_seen(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, BACK[:4])
    saga = await tracking.known(order)
    assert saga.status == COMPENSATING
    assert ErrorInfo.FromString(saga.refusal).reason == "SOME_REASON"
    declined = saga.steps["shop.payments.v1.PaymentsService.AuthorizePayment", ""]
    assert (declined.status, declined.last_error) == (StepStatus.STEP_STATUS_REFUSED, "SOME_REASON")
    await tracking.see_all(order, BACK[4:])
    assert (await tracking.known(order)).status == COMPENSATED


async def test_a_refused_cancellation_does_not_turn_the_saga_back(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, [*FORWARD[:5], "orders.CancellationRefused"])
    saga = await tracking.known(order)
    assert (saga.status, saga.refusal) == (RUNNING, b"")


async def test_a_saga_whose_start_was_missed_is_seen_from_where_it_is(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, FORWARD[1:3])
    saga = await tracking.saga(order)
    assert saga is not None
    assert (saga.process, saga.input) == (PROCESS, b"")


async def test_orchestrated_events_and_foreign_ones_say_nothing(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see(an_event("orders.OrderCancelled", order), ORCHESTRATED)
    await tracking.tracker.handle(Delivery("some.v1.Event", b"", CHOREOGRAPHED, "", 1, 1))
    await tracking.tracker.handle(Delivery("shop.orders.v1.OrderPlaced", b"\xff", CHOREOGRAPHED, "", 1, 1))
    await tracking.see(an_event("orders.OrderPlaced", an_order(order_id="")))
    assert await tracking.saga(order) is None


@pytest.fixture
async def driven(engine: EngineBench, participants: FakeParticipants) -> Order:
    """An order whose saga the engine drives: its first call is under way, and all of it is written."""
    participants.hold("RecordOrder")
    order = an_order()
    await engine.start(order)
    await participants.reaches("RecordOrder")
    await engine.engine.flushed()
    return order


@pytest.fixture
def tracker(engine: EngineBench) -> Tracker:
    return Tracker(CONTRACT, engine.database, engine.changes)


async def test_a_saga_that_the_engine_drives_is_its_own_to_write_about(
    engine: EngineBench, driven: Order, tracker: Tracker
) -> None:
    before = await engine.stored(driven.order_id)
    for name in FORWARD:
        event = an_event(name, driven)
        await tracker.handle(Delivery(event.DESCRIPTOR.full_name, event.SerializeToString(), CHOREOGRAPHED, "", 1, 1))
    assert await engine.stored(driven.order_id) == before


async def test_what_came_while_the_engine_drove_a_saga_is_known_once_it_is_handed_over(
    engine: EngineBench, driven: Order, tracker: Tracker
) -> None:
    for name in FORWARD[1:4]:
        await track_now(tracker, an_event(name, driven))
    await engine.engine.let_go(driven.order_id)
    await track_now(tracker, an_event("orders.OrderPlaced", driven))
    saga = await engine.stored(driven.order_id)
    assert saga is not None
    done = {method.rpartition(".")[2] for (method, _), step in saga.steps.items() if step.done}
    assert done == {"ReserveStock", "AuthorizePayment", "BookShipment"}
    assert saga.status == RUNNING


async def test_the_end_by_a_call_that_was_under_way_when_its_saga_was_handed_over_is_seen(
    engine: EngineBench, driven: Order, tracker: Tracker
) -> None:
    """Nothing else tells of it where the event that hands the saga over is lost."""
    await engine.engine.let_go(driven.order_id)
    await track_now(tracker, an_event("orders.OrderCompleted", driven), ORCHESTRATED)
    saga = await engine.stored(driven.order_id)
    assert saga is not None
    assert saga.status == COMPLETED


async def test_the_end_of_a_saga_that_the_engine_drives_is_the_engines_to_write(
    engine: EngineBench, driven: Order, tracker: Tracker
) -> None:
    before = await engine.stored(driven.order_id)
    await track_now(tracker, an_event("orders.OrderCompleted", driven), ORCHESTRATED)
    assert await engine.stored(driven.order_id) == before
    assert await engine.database.run(lambda tx: store.box(tx, driven.order_id)) == []


async def track_now(tracker: Tracker, event: Message, style: str = CHOREOGRAPHED) -> None:
    name, now_us = event.DESCRIPTOR.full_name, WallClock().now_us()
    await tracker.handle(Delivery(name, event.SerializeToString(), style, "", 1, 1, now_us))
