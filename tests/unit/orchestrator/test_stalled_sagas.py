"""Sagas that do not get on are found, say what they wait for, and go on by themselves when it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED
from mesh.changes import Changes
from mesh.clock import WallClock
from orchestrator.journal import COMPENSATING, COMPLETED, RUNNING, STALLED, StepStatus
from orchestrator.lateness import late
from orchestrator.picture import Picture
from orchestrator.saga import Saga
from orchestrator.stalled import Stalled
from orchestrator.tracker import Tracker
from orchestrator.workflow import Function, Workflow, Workflows
from shop.orders.v1.events_pb2 import OrderConfirmed, OrderPlaced
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import CONTRACT, PROCESS, EngineBench, FakeParticipants, packed
from tests.unit.orchestrator.tracker_bench import (
    BACK,
    BLOCKED,
    DEAD,
    FIRST_US,
    FORWARD,
    STALLED_AFTER_S,
    FakeClock,
    Tracking,
    up_to_date,
)
from tests.unit.participant.participant_bench import an_event

LATER_MS = 16_000
DEADLINE_MS = 900_000
HOUR_US = 3_600_000_000


@pytest.fixture
def tracking() -> Tracking:
    return Tracking()


async def test_a_saga_without_progress_is_stalled_and_says_what_it_waits_for(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, BLOCKED)
    assert await tracking.find_stalled(at_ms=14_000) == 0
    assert await tracking.find_stalled(at_ms=LATER_MS) == 1
    saga = await tracking.known(order)
    assert saga.status == STALLED
    assert saga.stalled_reason == (
        "no progress for 15 s: payments.AuthorizePayment has not answered OrderPlaced; "
        "orders.ConfirmOrder waits for PaymentAuthorized from payments.AuthorizePayment"
    )
    assert f"ensemble saga retry {order.order_id}" in saga.stalled_help
    assert await tracking.find_stalled(at_ms=LATER_MS) == 0


@pytest.mark.parametrize(("names", "status"), [(FORWARD[:5], RUNNING), (BACK[:5], COMPENSATING), (FORWARD, COMPLETED)])
async def test_a_late_event_sets_it_going_by_itself(tracking: Tracking, names: list[str], status: int) -> None:
    order = an_order()
    await tracking.see_all(order, names[:-1])
    await tracking.find_stalled(at_ms=LATER_MS)
    await tracking.see(an_event(names[-1], order), at_ms=LATER_MS)
    saga = await tracking.known(order)
    assert (saga.status, saga.stalled_reason, saga.stalled_help) == (status, "", "")
    assert await tracking.find_stalled(at_ms=LATER_MS + 14_000) == 0


async def test_an_event_that_is_emitted_again_is_no_progress(tracking: Tracking) -> None:
    """A replay that meets the same dead participant heals nothing."""
    order = an_order()
    await tracking.see_all(order, BLOCKED)
    await tracking.find_stalled(at_ms=LATER_MS)
    stalled = await tracking.known(order)
    await tracking.see_all(order, BLOCKED, from_ms=LATER_MS)
    assert await tracking.known(order) == stalled


async def test_past_its_deadline_a_saga_is_stalled_though_it_moves(tracking: Tracking) -> None:
    moving, slow, done = an_order(), an_order(), an_order()
    for order in (moving, slow, done):
        await tracking.see_all(order, FORWARD[:4])
    for order in (moving, slow):
        await tracking.see(an_event(FORWARD[4], order), at_ms=DEADLINE_MS - 1)
    assert await tracking.find_stalled(at_ms=DEADLINE_MS + 1) == 3
    await tracking.see(an_event(FORWARD[5], moving), at_ms=DEADLINE_MS + 2)
    await tracking.see_all(done, FORWARD[4:], from_ms=DEADLINE_MS + 2)
    reasons = [(await tracking.known(order)).stalled_reason for order in (moving, slow, done)]
    assert reasons == [
        "past its deadline of 900 s: shipping.DispatchShipment has not answered PaymentCaptured",
        "past its deadline of 900 s: payments.CapturePayment has not answered OrderConfirmed",
        "",
    ]


async def test_why_it_is_stalled_does_not_depend_on_when_that_is_found(tracking: Tracking) -> None:
    reasons = []
    for found_ms in (LATER_MS, DEADLINE_MS + LATER_MS):
        order = an_order()
        await tracking.see_all(order, BLOCKED)
        await tracking.find_stalled(at_ms=found_ms)
        reasons.append((await tracking.known(order)).stalled_reason)
    assert reasons[0].startswith("no progress for 15 s: ")
    assert reasons[0] == reasons[1]


async def test_many_are_found_in_bounded_batches(tracking: Tracking) -> None:
    for _ in range(250):
        await tracking.see(an_event("orders.OrderPlaced", an_order()))
    assert await tracking.find_stalled(at_ms=LATER_MS) == 250


async def test_nothing_is_marked_while_the_tracker_reads_what_happened_long_ago(tracking: Tracking) -> None:
    """It was down: that a saga got on meanwhile it has not read yet."""
    clock, order = FakeClock(FIRST_US + 60_000_000), an_order()
    tracker = Tracker(CONTRACT, tracking.database, Changes(), clock=clock)
    finder = Stalled(CONTRACT, tracking.database, Changes(), list, tracker.is_behind, STALLED_AFTER_S, clock)
    event = an_event("orders.OrderPlaced", order)
    old = Delivery(event.DESCRIPTOR.full_name, event.SerializeToString(), CHOREOGRAPHED, "", 1, 1, FIRST_US)
    await tracker.handle(old)
    assert await finder.mark() == 0
    clock.time_us += 4_000_000  # and nothing more comes
    assert await finder.mark() == 1


async def test_a_tracker_that_reads_what_has_just_happened_is_not_behind(tracking: Tracking) -> None:
    clock = FakeClock(FIRST_US)
    tracker = Tracker(CONTRACT, tracking.database, Changes(), clock=clock)
    event = an_event("orders.OrderPlaced", an_order())
    old = Delivery(event.DESCRIPTOR.full_name, event.SerializeToString(), CHOREOGRAPHED, "", 1, 1, 0)
    await tracker.handle(old)
    assert tracker.is_behind(STALLED_AFTER_S)
    await tracker.handle(replace(old, stored_us=FIRST_US - 1_000_000))
    assert not tracker.is_behind(STALLED_AFTER_S)


async def test_a_saga_is_stalled_by_its_dead_letters_until_the_step_is_done(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, BLOCKED)
    for number in (1, 2):
        await tracking.see_dead(order, "orders.OrderPlaced", "payments", at_ms=DEAD + number, id=number)
    await tracking.see_dead(order, "orders.OrderPlaced", "inventory", at_ms=DEAD, id=3)  # and reserved afterwards
    saga = await tracking.picture(order)
    assert (saga.status, [letter.id for letter in saga.dead_letters]) == (STALLED, [3, 1, 2])
    assert saga.stalled_reason == (
        "shop.payments.v1.PaymentsService.AuthorizePayment cannot take shop.orders.v1.OrderPlaced: "
        "SOME_REASON: it was too much"
    )
    assert "ensemble dead-letters replay 2" in saga.stalled_help
    await tracking.see(an_event("payments.PaymentAuthorized", order), at_ms=DEAD + 9)
    saga = await tracking.picture(order)
    assert (saga.status, saga.stalled_reason, len(saga.dead_letters)) == (RUNNING, "", 3)


async def test_a_dead_letter_of_a_step_that_nobody_waits_for_is_kept_and_stalls_nothing(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_dead(order, "orders.OrderPlaced", "orders", at_ms=DEAD)
    saga = await tracking.picture(order)
    assert (saga.status, saga.process, [letter.service for letter in saga.dead_letters]) == (
        RUNNING,
        PROCESS,
        ["orders"],
    )


async def test_planned_steps_stand_behind_those_that_were_seen(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, BLOCKED)
    assert shown(await tracking.picture(order)) == {
        "ReserveStock": "DONE",
        "BookShipment": "DONE",
        "RecordOrder": "TRIGGERED",
        "AuthorizePayment": "RUNNING",
        "ConfirmOrder": "PLANNED",
        "CapturePayment": "PLANNED",
        "DispatchShipment": "PLANNED",
        "CompleteOrder": "PLANNED",
    }
    confirm = next(s for s in (await tracking.picture(order)).steps if s.method.endswith("ConfirmOrder"))
    assert confirm.waits_for == ["shop.payments.v1.PaymentAuthorized"]


async def test_of_an_ended_saga_nothing_is_planned_and_its_observers_are_shown(tracking: Tracking) -> None:
    order = an_order()
    await tracking.see_all(order, FORWARD)
    steps = shown(await tracking.picture(order))
    assert {name for name, status in steps.items() if status != "DONE"} == {"RecordOrder", "NotifyCustomer"}
    assert (steps["RecordOrder"], steps["NotifyCustomer"]) == ("TRIGGERED", "TRIGGERED")


def shown(saga: api.Saga) -> dict[str, str]:
    return {
        step.method.rpartition(".")[2]: StepStatus.Name(step.status).removeprefix("STEP_STATUS_") for step in saga.steps
    }


# Orchestrated


class Later(FakeClock):
    """The time of the machine, and so much later."""

    def __init__(self, later_us: int = 0) -> None:
        self.time_us = later_us

    def now_us(self) -> int:
        return WallClock().now_us() + self.time_us


async def test_an_orchestrated_saga_that_waits_for_a_participant_is_late_and_goes_on(
    engine: EngineBench, participants: FakeParticipants
) -> None:
    participants.hold("CapturePayment")
    order, changes, clock = an_order(), Changes(), Later()
    finder = Stalled(CONTRACT, engine.database, changes, engine.engine.driven, up_to_date, STALLED_AFTER_S, clock)
    picture = Picture(CONTRACT, engine.database, STALLED_AFTER_S, clock)
    await engine.start(order)
    await participants.reaches("CapturePayment")
    with changes.watch(order.order_id) as told:
        finder.tell_of_late_ones()
        assert not told.is_set()
        assert (await picture.of(await engine.engine.get(order.order_id))).late == ""
        clock.time_us = 20_000_000
        finder.tell_of_late_ones()
        assert told.is_set()
    saga = await picture.of(await engine.engine.get(order.order_id))
    assert (saga.status, saga.late) == (RUNNING, "no progress for 15 s")
    assert list(saga.waits_for) == ["payments.CapturePayment has not answered"]
    assert shown(saga)["DispatchShipment"] == "PLANNED"
    assert saga.deadline.ToMicroseconds() - saga.started.ToMicroseconds() == 900_000_000
    assert await finder.mark() == 0
    participants.release()
    await engine.comes_to(order.order_id, COMPLETED)
    ended = await picture.of(await engine.engine.get(order.order_id))
    assert (ended.late, list(ended.waits_for)) == ("", [])
    assert {name for name, status in shown(ended).items() if status != "DONE"} == {"NotifyCustomer"}


async def asleep(saga: Saga, placed: OrderPlaced) -> None:
    await saga.sleep(timedelta(days=7))


async def waiting(saga: Saga, placed: OrderPlaced) -> None:
    await saga.event(OrderConfirmed)


@pytest.mark.parametrize("function", [asleep, waiting])
async def test_a_saga_that_waits_on_purpose_is_not_late_before_it_is_due(
    an_engine: Callable[..., EngineBench], function: Function
) -> None:
    bench, order = an_engine(workflows=Workflows([Workflow("patient", function, OrderPlaced)])), an_order()
    await bench.engine.start("patient", packed(OrderPlaced(order=order)))
    with bench.changes.watch(order.order_id) as changed:
        while (journal := await bench.engine.get(order.order_id)).due_us is None:
            changed.clear()
            await changed.wait()
    assert late(CONTRACT, journal, WallClock().now_us() + HOUR_US, STALLED_AFTER_S) == ""
    overdue = late(CONTRACT, journal, journal.due_us + HOUR_US, STALLED_AFTER_S)
    assert overdue == "due for 15 s, and no orchestrator that runs has taken it"
    running = await Picture(CONTRACT, bench.database, STALLED_AFTER_S).of(replace(journal, due_us=None))
    assert running.waits_for[0].startswith("the workflow waits for its ")
    assert late(CONTRACT, replace(journal, due_us=None), WallClock().now_us() + HOUR_US, STALLED_AFTER_S) == ""
