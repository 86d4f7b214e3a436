"""The test kit for workflows: the real engine over fakes, in virtual time, from a test that is no coroutine."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from orchestrator.saga import Saga, StepRefused
from orchestrator.testing import Endless, NotEnded, Refused, WorkflowTest
from orchestrator.workflow import Workflow, WorkflowError
from orchestrator.workflows.fulfil_order import fulfil_order
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest, ReserveStockResponse
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderCompleted, OrderPlaced
from shop.orders.v1.orders_pb2 import RecordOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from shop.shipping.v1.shipping_pb2 import DispatchShipmentResponse
from tests.builders import an_order

FORWARD = [
    "RecordOrder",
    "ReserveStock",
    "AuthorizePayment",
    "BookShipment",
    "ConfirmOrder",
    "CapturePayment",
    "DispatchShipment",
    "CompleteOrder",
]
BACK = ["CancelOrder", "ReleaseStock", "VoidPayment", "CancelBooking", "CloseOrder"]


def placed() -> OrderPlaced:
    return OrderPlaced(order=an_order())


def a_test_of(function: Any) -> WorkflowTest:
    """A test of a function that is not registered: there is a fulfil-order already."""
    return WorkflowTest(Workflow("fulfil-order", function, OrderPlaced))


@pytest.fixture
def test() -> WorkflowTest:
    return WorkflowTest(fulfil_order)


def test_a_saga_completes_where_nothing_is_in_its_way(test: WorkflowTest) -> None:
    saga = test.run(placed())
    assert saga.status == "COMPLETED"
    assert saga.took == timedelta(0)
    assert test.called == FORWARD


def test_a_refusal_turns_the_saga_back(test: WorkflowTest) -> None:
    test.refuse("PaymentsService.AuthorizePayment", "CARD_DECLINED", token="tok_declined")
    saga = test.run(placed())
    assert saga.status == "COMPENSATED"
    assert saga.reason == "CARD_DECLINED"
    assert saga.saga.refusal.metadata["token"] == "tok_declined"
    assert test.called == [*FORWARD[:4], *BACK]


def test_a_fake_is_given_the_request_and_its_response_reaches_the_workflow(test: WorkflowTest) -> None:
    test.fake("DispatchShipment", lambda request: DispatchShipmentResponse(tracking_number=request.order.order_id))
    event = placed()
    test.run(event)
    [request] = test.requests("CompleteOrder")
    assert request.tracking_number == event.order.order_id


def test_a_fake_may_refuse_by_what_it_is_asked(test: WorkflowTest) -> None:
    def reserve(request: ReserveStockRequest) -> ReserveStockResponse:
        if request.order.customer_id == "nobody":
            raise Refused("OUT_OF_STOCK")
        return ReserveStockResponse(reservation_id="r-1")

    test.fake("ReserveStock", reserve)
    assert test.run(placed()).status == "COMPLETED"
    assert test.run(OrderPlaced(order=an_order(customer_id="nobody"))).reason == "OUT_OF_STOCK"


def test_calls_that_fail_are_made_again_after_growing_delays(test: WorkflowTest) -> None:
    test.fail("ReserveStock", times=20)
    saga = test.run(placed())
    assert saga.status == "COMPLETED"
    assert saga.took > timedelta(seconds=5)
    assert test.called.count("ReserveStock") == 1
    [step] = [step for step in saga.saga.steps if step.method.endswith("ReserveStock")]
    assert step.attempts == 21


def test_a_step_whose_answers_are_lost_is_done_once(test: WorkflowTest) -> None:
    done: list[Message] = []

    def reserve(request: Message) -> ReserveStockResponse:
        done.append(request)
        return ReserveStockResponse()

    test.fake("ReserveStock", reserve)
    test.lose_answer("ReserveStock", times=3)
    assert test.run(placed()).status == "COMPLETED"
    assert test.called.count("ReserveStock") == 4
    assert len(done) == 1


def test_a_step_takes_its_time(test: WorkflowTest) -> None:
    test.delay("BookShipment", 3)
    test.delay("CapturePayment", timedelta(seconds=2))
    assert test.run(placed()).took == timedelta(seconds=5)


def test_a_step_that_takes_longer_than_its_call_may_happens_late_and_once(test: WorkflowTest) -> None:
    test.delay("BookShipment", timedelta(minutes=5))
    saga = test.run(placed())
    assert saga.status == "COMPLETED"
    assert timedelta(minutes=5) < saga.took < timedelta(minutes=6)
    [step] = [step for step in saga.saga.steps if step.method.endswith("BookShipment")]
    assert step.attempts > 1


def test_a_definite_error_stalls_the_saga_and_it_goes_on_when_it_is_mended_and_retried(test: WorkflowTest) -> None:
    test.break_("BookShipment", grpc.StatusCode.UNAUTHENTICATED, "who are you?")
    event = placed()
    stalled = test.run(event)
    assert stalled.status == "STALLED"
    assert "UNAUTHENTICATED: who are you?" in stalled.stalled
    test.at(10, lambda: test.mend("BookShipment"))
    test.retry(after=20)
    saga = test.run(event)
    assert saga.status == "COMPLETED"
    assert saga.took == timedelta(seconds=20)


def test_a_saga_that_is_cancelled_in_time_turns_back(test: WorkflowTest) -> None:
    test.delay("BookShipment", 4)
    test.cancel(after=2)
    saga = test.run(placed())
    assert (saga.status, saga.reason) == ("COMPENSATED", "CANCELLED")
    assert saga.took == timedelta(seconds=2)
    assert "ConfirmOrder" not in test.called


def test_a_saga_that_is_cancelled_behind_the_pivot_goes_forward(test: WorkflowTest) -> None:
    test.delay("CapturePayment", 4)
    test.cancel(after=2)
    saga = test.run(placed())
    assert saga.status == "COMPLETED"
    assert "CancelOrder" in test.called
    assert "ReleaseStock" not in test.called


def test_a_late_step_of_a_saga_that_turned_back_is_refused(test: WorkflowTest) -> None:
    """BookShipment is still on its way when its compensation comes."""
    booked: list[Message] = []
    test.fake("BookShipment", lambda request: booked.append(request))  # type: ignore[arg-type,func-returns-value]
    test.delay("BookShipment", 4)
    test.refuse("AuthorizePayment", "CARD_DECLINED")
    test.at(10, lambda: None)  # the step comes in the meantime
    assert test.run(placed()).status == "COMPENSATED"
    assert test.called.index("CancelBooking") < test.called.index("BookShipment")
    assert booked == []


@pytest.mark.parametrize("after_s", [0, 1, 2, 3.5, 6])
def test_a_crash_at_any_time_changes_nothing_but_calls_that_are_made_again(test: WorkflowTest, after_s: float) -> None:
    done: list[str] = []
    for name in ("ReserveStock", "ConfirmOrder", "CapturePayment"):
        method = test._method(name)
        test.fake(name, lambda _, method=method: (done.append(method.name), method.response_class())[1])  # type: ignore[misc]
        test.delay(name, 2)
    test.crash(after=after_s)
    assert test.run(placed()).status == "COMPLETED"
    assert done == ["ReserveStock", "ConfirmOrder", "CapturePayment"]


def test_what_a_workflow_returns_is_the_result() -> None:
    async def workflow(saga: Saga, placed: OrderPlaced) -> Message:
        await OrdersServiceStub(saga).RecordOrder(RecordOrderRequest(order=placed.order))
        return OrderCompleted(order=placed.order, tracking_number="EN1")

    event = placed()
    assert a_test_of(workflow).run(event).result == OrderCompleted(order=event.order, tracking_number="EN1")


def test_a_workflow_may_catch_a_refusal_and_go_another_way() -> None:
    async def workflow(saga: Saga, placed: OrderPlaced) -> None:
        try:
            await InventoryServiceStub(saga).ReserveStock(ReserveStockRequest(order=placed.order))
        except StepRefused:
            await OrdersServiceStub(saga).RecordOrder(RecordOrderRequest(order=placed.order))

    test = a_test_of(workflow)
    test.refuse("ReserveStock", "OUT_OF_STOCK")
    assert test.run(placed()).status == "COMPLETED"
    assert test.called == ["ReserveStock", "RecordOrder"]


def test_a_workflow_that_fails_stalls_its_saga() -> None:
    async def workflow(saga: Saga, placed: OrderPlaced) -> None:
        raise KeyError("a bug")

    saga = a_test_of(workflow).run(placed())
    assert saga.status == "STALLED"
    assert "KeyError" in saga.stalled


def test_a_workflow_that_waits_for_ever_is_told_where() -> None:
    async def forgetful(saga: Saga, placed: OrderPlaced) -> None:
        await asyncio.Event().wait()

    with pytest.raises(NotEnded, match=r"waits in Event\.wait"):
        a_test_of(forgetful).run(placed(), within=60)


def test_a_saga_that_does_not_end_in_its_time_says_where_it_stands(test: WorkflowTest) -> None:
    test.fail("BookShipment", times=None)
    with pytest.raises(NotEnded, match=r"BookShipment RUNNING, tried \d+ times, last: UNAVAILABLE: told to fail"):
        test.run(placed(), within=60)


def test_retries_without_an_end_are_ended(test: WorkflowTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.testing.fake_calls.CALLS_MAX", 50)
    test.fail("BookShipment", times=None)
    with pytest.raises(Endless, match=r"50 calls, the last of .*BookShipment"):
        test.run(placed())


def test_an_assertion_in_a_fake_fails_the_test(test: WorkflowTest) -> None:
    def reserve(request: ReserveStockRequest) -> ReserveStockResponse:
        assert request.order.customer_id == "somebody else"
        return ReserveStockResponse()

    test.fake("ReserveStock", reserve)
    with pytest.raises(AssertionError, match="somebody else"):
        test.run(placed())


def test_an_action_of_the_script_that_fails_fails_the_test(test: WorkflowTest) -> None:
    def too_early() -> None:
        assert "CaptureMoney" in test.called

    test.at(1, too_early)
    with pytest.raises(AssertionError, match="CaptureMoney"):
        test.run(placed())


def test_actions_happen_at_their_times(test: WorkflowTest) -> None:
    seen: list[timedelta] = []
    began = test.now

    def look() -> None:
        seen.append(test.now - began)

    test.at(timedelta(days=2), look)
    test.at(5, look)
    test.at(6, lambda: test.at(1, look))
    saga = test.run(placed())
    assert seen == [timedelta(seconds=5), timedelta(seconds=7), timedelta(days=2)]
    assert saga.took == timedelta(days=2)
    assert test.now - began == timedelta(days=2)


def test_the_same_test_does_the_same_at_the_same_times() -> None:
    def run() -> tuple[timedelta, list[str]]:
        test = WorkflowTest(fulfil_order)
        for name in ("ReserveStock", "AuthorizePayment", "BookShipment", "CapturePayment"):
            test.fail(name, times=4)
        return test.run(placed()).took, test.called

    assert run() == run()


def test_a_saga_that_was_run_before_answers_at_once(test: WorkflowTest) -> None:
    event = placed()
    assert test.run(event).status == test.run(event).status == "COMPLETED"
    assert test.called == FORWARD


def test_a_function_that_is_no_workflow_is_refused() -> None:
    async def not_decorated(saga: Saga, placed: OrderPlaced) -> None: ...

    with pytest.raises(WorkflowError, match="decorate it"):
        WorkflowTest(not_decorated)


def test_an_event_that_starts_no_workflow_here_is_refused(test: WorkflowTest) -> None:
    with pytest.raises(TypeError, match=r"starts with a shop\.orders\.v1\.OrderCompleted, but with"):
        test.run(OrderCompleted())
