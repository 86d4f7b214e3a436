"""The deadline of a process: past it the saga turns back, unless the pivot has decided for go."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.testing import WorkflowTest
from orchestrator.workflows.fulfil_order import fulfil_order
from shop.orders.v1.events_pb2 import OrderPlaced
from tests.builders import an_order

DEADLINE = timedelta(minutes=15)  # of shop.orders.v1.OrderPlaced


def test_a_participant_that_is_away_for_minutes_costs_time_and_no_order() -> None:
    test = WorkflowTest(fulfil_order)
    test.fail("BookShipment", times=None)
    test.at(timedelta(minutes=9), lambda: test.mend("BookShipment"))
    saga = test.run(OrderPlaced(order=an_order()))
    assert saga.status == "COMPLETED"
    assert timedelta(minutes=9) < saga.took < timedelta(minutes=9, seconds=10)


def test_past_its_deadline_a_saga_turns_back_and_says_why() -> None:
    test = WorkflowTest(fulfil_order)
    test.fail("BookShipment", times=None)
    saga = test.run(OrderPlaced(order=an_order()))
    assert (saga.status, saga.reason) == ("COMPENSATED", "DEADLINE_EXCEEDED")
    assert saga.took >= DEADLINE
    assert {"CancelOrder", "ReleaseStock", "VoidPayment", "CancelBooking", "CloseOrder"} <= set(test.called)


def test_a_crash_does_not_give_a_saga_more_time() -> None:
    test = WorkflowTest(fulfil_order)
    test.fail("BookShipment", times=None)
    test.crash(after=timedelta(minutes=14))
    saga = test.run(OrderPlaced(order=an_order()))
    assert saga.status == "COMPENSATED"
    assert DEADLINE <= saga.took < DEADLINE + timedelta(seconds=30)


def test_behind_the_pivot_the_deadline_counts_no_more() -> None:
    test = WorkflowTest(fulfil_order)
    test.fail("CapturePayment", times=None)
    test.at(timedelta(minutes=16), lambda: test.mend("CapturePayment"))
    saga = test.run(OrderPlaced(order=an_order()))
    assert saga.status == "COMPLETED"
    assert "ReleaseStock" not in test.called
