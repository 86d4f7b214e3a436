"""The workflow that awaits an event of the choreography: promise-delivery."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from orchestrator.testing import WorkflowTest
from orchestrator.workflows.promise_delivery import promise_delivery
from shop.orders.v1.events_pb2 import DeliveryPromised, OrderConfirmed
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order

HOUR = timedelta(hours=1)


def promised(order: Order) -> DeliveryPromised:
    return DeliveryPromised(order=order, within=Duration(seconds=3600))


@pytest.mark.parametrize("crash", [False, True], ids=["", "across a crash"])
def test_an_order_that_is_confirmed_in_time_is_left_alone(crash: bool) -> None:
    test, order = WorkflowTest(promise_delivery), an_order()
    test.publish(OrderConfirmed(order=order), after=HOUR / 2)
    if crash:
        test.crash(after=HOUR / 4)
    saga = test.run(promised(order))
    assert (saga.status, saga.took, test.called) == ("COMPLETED", HOUR / 2, [])


def test_an_order_that_is_not_confirmed_in_time_is_cancelled() -> None:
    test, order = WorkflowTest(promise_delivery), an_order()
    saga = test.run(promised(order))
    assert (saga.status, saga.took, test.called) == ("COMPLETED", HOUR, ["CancelOrder"])
    assert test.requests("CancelOrder")[0].order == order


def test_an_order_that_was_confirmed_at_the_last_moment_goes_forward() -> None:
    test = WorkflowTest(promise_delivery)
    test.refuse("CancelOrder", "ALREADY_CONFIRMED")
    assert test.run(promised(an_order())).status == "COMPLETED"
