"""What a workflow waits for beside its steps (time, events, children), in a test of milliseconds."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from google.protobuf.message import Message

from orchestrator.saga import Saga
from orchestrator.testing import WorkflowTest
from orchestrator.workflow import Workflow
from shop.orders.v1.events_pb2 import OrderCompleted, OrderPlaced
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import RecordOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from shop.payments.v1.events_pb2 import PaymentCaptured
from tests.builders import an_order

WEEK = timedelta(days=7)


async def patient(saga: Saga, placed: OrderPlaced) -> None:
    """Records the order a week later."""
    await saga.sleep(WEEK)
    await OrdersServiceStub(saga).RecordOrder(RecordOrderRequest(order=placed.order))


async def expectant(saga: Saga, placed: OrderPlaced) -> None:
    """Records the order when it is paid; unpaid after a week, not."""
    try:
        await saga.event(PaymentCaptured, timeout=WEEK)
    except TimeoutError:
        return
    await OrdersServiceStub(saga).RecordOrder(RecordOrderRequest(order=placed.order))


def a_test_of(function: object) -> WorkflowTest:
    # A process of its own: that of the shop has a deadline, by which it turns back.
    return WorkflowTest(Workflow("wait", function, OrderPlaced))  # type: ignore[arg-type]


def test_a_weeks_sleep_takes_milliseconds() -> None:
    test = a_test_of(patient)
    began = time.monotonic()
    saga = test.run(OrderPlaced(order=an_order()))
    assert (saga.status, saga.took) == ("COMPLETED", WEEK)
    assert time.monotonic() - began < 2.0
    assert test.called == ["RecordOrder"]


def test_a_crash_makes_a_sleep_no_longer() -> None:
    test = a_test_of(patient)
    test.crash(after=timedelta(days=3))
    assert test.run(OrderPlaced(order=an_order())).took == WEEK


@pytest.mark.parametrize("after", [timedelta(0), timedelta(seconds=1), timedelta(days=6)])
def test_an_event_that_is_published_in_time_is_what_the_workflow_waited_for(after: timedelta) -> None:
    test, order = a_test_of(expectant), an_order()
    test.publish(PaymentCaptured(order=order), after=after)
    saga = test.run(OrderPlaced(order=order))
    assert (saga.status, saga.took) == ("COMPLETED", after)
    assert test.called == ["RecordOrder"]


def test_an_event_that_does_not_come_times_out() -> None:
    test = a_test_of(expectant)
    test.publish(PaymentCaptured(order=an_order()), after=1)  # another order's
    saga = test.run(OrderPlaced(order=an_order()))
    assert (saga.status, saga.took) == ("COMPLETED", WEEK)
    assert test.called == []


def test_a_parent_waits_for_its_child() -> None:
    async def child(saga: Saga, completed: OrderCompleted) -> Message:
        await saga.sleep(60)
        return PaymentCaptured(order=completed.order)

    async def parent(saga: Saga, placed: OrderPlaced) -> Message | None:
        order = an_order(order_id=f"{saga.saga_id}-child")
        return await saga.child("child", OrderCompleted(order=order, status=OrderStatus.ORDER_STATUS_COMPLETED))

    test = WorkflowTest(Workflow("parent", parent, OrderPlaced), Workflow("child", child, OrderCompleted))
    saga = test.run(OrderPlaced(order=an_order()))
    assert saga.status == "COMPLETED"
    assert isinstance(saga.result, PaymentCaptured)
    assert timedelta(seconds=60) <= saga.took < timedelta(seconds=61)
