"""`saga.now()` and `saga.uuid()`: the same in every run of a workflow, so that they may go into requests."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from google.protobuf.message import Message

from orchestrator.saga import Saga
from orchestrator.testing import WorkflowTest
from orchestrator.workflow import Workflow
from shop.orders.v1.events_pb2 import OrderCompleted, OrderPlaced
from shop.orders.v1.orders_pb2 import CompleteOrderRequest, RecordOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from tests.builders import an_order


async def stamped(saga: Saga, placed: OrderPlaced) -> Message:
    """Puts a time and an id into a request; a crash comes while its answer is under way."""
    orders = OrdersServiceStub(saga)
    await orders.RecordOrder(RecordOrderRequest(order=placed.order))
    number = f"{saga.now().isoformat()} {saga.uuid()}"
    await orders.CompleteOrder(CompleteOrderRequest(order=placed.order, tracking_number=number))
    return OrderCompleted(order=placed.order)


def test_a_time_and_an_id_are_the_same_after_a_crash() -> None:
    test = WorkflowTest(Workflow("stamp", stamped, OrderPlaced))
    test.delay("CompleteOrder", 3)
    test.crash(after=1)
    assert test.run(OrderPlaced(order=an_order())).status == "COMPLETED"
    numbers = {request.tracking_number for request in test.requests("CompleteOrder")}
    assert len(test.requests("CompleteOrder")) == 2
    assert len(numbers) == 1, "another request for the same step would have been a STEP_MISMATCH"


def test_times_go_on_and_ids_differ_in_one_workflow() -> None:
    told: list[tuple[datetime, UUID]] = []

    async def looking(saga: Saga, placed: OrderPlaced) -> None:
        told.append((saga.now(), saga.uuid()))
        await saga.sleep(timedelta(hours=1))
        told.append((saga.now(), saga.uuid()))
        told.append((saga.now("named"), saga.uuid("named")))

    test = WorkflowTest(Workflow("look", looking, OrderPlaced))
    test.run(OrderPlaced(order=an_order()))
    first, second, named = told[-3:]
    assert second[0] - first[0] == timedelta(hours=1)
    assert len({first[1], second[1], named[1]}) == 3
    assert told[0] == first, "the run before the sleep was told the same"
