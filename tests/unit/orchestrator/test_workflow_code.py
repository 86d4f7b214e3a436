"""What a workflow's code may do, what becomes of its bugs, and that it may be edited while sagas run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from orchestrator.saga import Saga, StepRefused
from orchestrator.workflow import Workflow, WorkflowError, Workflows, workflow
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest, ReserveStockResponse
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.orders_pb2 import ConfirmOrderRequest, RecordOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from shop.payments.v1.payments_pb2 import AuthorizePaymentRequest
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from shop.shipping.v1.shipping_pb2 import BookShipmentRequest
from shop.shipping.v1.shipping_pb2_grpc import ShippingServiceStub
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    COMPENSATED,
    COMPLETED,
    PROCESS,
    STALLED,
    EngineBench,
    FakeParticipants,
)
from tests.unit.participant.participant_bench import lines

Makes = Callable[..., EngineBench]


def running(function: Any) -> Workflows:
    """The workflows of an engine that knows only this one."""
    return Workflows([Workflow(PROCESS, function, OrderPlaced)])


def steps(saga: Saga, placed: OrderPlaced) -> dict[str, Callable[[], Any]]:
    order = placed.order
    return {
        "RecordOrder": lambda: OrdersServiceStub(saga).RecordOrder(RecordOrderRequest(order=order)),
        "ReserveStock": lambda: InventoryServiceStub(saga).ReserveStock(ReserveStockRequest(order=order)),
        "AuthorizePayment": lambda: PaymentsServiceStub(saga).AuthorizePayment(AuthorizePaymentRequest(order=order)),
        "BookShipment": lambda: ShippingServiceStub(saga).BookShipment(BookShipmentRequest(order=order)),
        "ConfirmOrder": lambda: OrdersServiceStub(saga).ConfirmOrder(ConfirmOrderRequest(order=order)),
    }


def one_by_one(*names: str) -> Workflows:
    async def run(saga: Saga, placed: OrderPlaced) -> None:
        for name in names:
            await steps(saga, placed)[name]()

    return running(run)


async def test_a_workflow_that_is_edited_between_two_runs_finds_the_answers_it_has(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    """Steps are added and put into another order; the journal is keyed by what a step is."""
    participants.hold("ConfirmOrder")
    first, order = an_engine(workflows=one_by_one("RecordOrder", "ReserveStock", "ConfirmOrder")), an_order()
    await first.start(order)
    await participants.reaches("ConfirmOrder")
    await first.close()
    participants.release()
    edited = one_by_one("AuthorizePayment", "ReserveStock", "BookShipment", "RecordOrder", "ConfirmOrder")
    second = an_engine(workflows=edited)
    await second.recover()
    journal = await second.comes_to(order.order_id, COMPLETED)
    asked = ["RecordOrder", "ReserveStock", "AuthorizePayment", "BookShipment", "ConfirmOrder"]
    assert participants.asked == asked
    assert {key[0].rpartition(".")[2] for key in journal.steps} == set(asked)


async def test_a_step_that_is_asked_for_again_is_answered_from_the_journal(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    answers: list[ReserveStockResponse] = []

    async def run(saga: Saga, placed: OrderPlaced) -> ReserveStockResponse:
        reserve = steps(saga, placed)["ReserveStock"]
        answers.extend([await reserve(), *await asyncio.gather(reserve(), reserve())])
        return answers[0]

    journal = await an_engine(workflows=running(run)).run(an_order())
    assert participants.asked == ["ReserveStock"]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].SerializeToString() in journal.result


@pytest.mark.parametrize("fault", [ZeroDivisionError("by zero"), KeyError("gone"), TimeoutError("late")])
async def test_a_bug_in_a_workflow_stalls_the_saga_and_a_mended_one_goes_on(
    an_engine: Makes, participants: FakeParticipants, fault: Exception
) -> None:
    async def run(saga: Saga, placed: OrderPlaced) -> None:
        await steps(saga, placed)["RecordOrder"]()
        if fault is not None:
            raise fault

    bench, order = an_engine(workflows=running(run)), an_order()
    journal = await bench.run(order)
    assert journal.status == STALLED
    assert f"the workflow raised {type(fault).__name__}" in journal.stalled_reason
    assert f"ensemble saga retry {order.order_id}" in journal.stalled_help
    await bench.close()
    mended = an_engine(workflows=one_by_one("RecordOrder", "ReserveStock"))
    await mended.engine.retry(order.order_id)
    await mended.comes_to(order.order_id, COMPLETED)
    assert participants.asked == ["RecordOrder", "ReserveStock"]


async def in_a_task_group(saga: Saga, placed: OrderPlaced, *more: Any) -> None:
    async with asyncio.TaskGroup() as group:
        for name in ("ReserveStock", "AuthorizePayment", "BookShipment"):
            group.create_task(steps(saga, placed)[name]())
        for one in more:
            group.create_task(one)


async def test_a_refusal_inside_a_task_group_takes_the_no_go_side(an_engine: Makes) -> None:
    bench = an_engine(workflows=running(in_a_task_group))
    journal = await bench.run(an_order(payment_token="tok_declined"))
    assert (journal.status, journal.to_proto().refusal.reason) == (COMPENSATED, "CARD_DECLINED")


async def test_a_bug_inside_a_task_group_stalls_the_saga(an_engine: Makes) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    async def run(saga: Saga, placed: OrderPlaced) -> None:
        await in_a_task_group(saga, placed, broken())

    bench, order = an_engine(workflows=running(run)), an_order()
    journal = await bench.run(order)
    assert journal.status == STALLED
    assert journal.stalled_help


async def test_a_workflow_may_handle_a_refusal_and_go_on(an_engine: Makes) -> None:
    caught: list[grpc.aio.AioRpcError] = []

    async def run(saga: Saga, placed: OrderPlaced) -> None:
        try:
            await steps(saga, placed)["ReserveStock"]()
        except grpc.aio.AioRpcError as refusal:
            caught.append(refusal)

    journal = await an_engine(workflows=running(run)).run(an_order(lines=lines(("sku-1", 99))))
    (refusal,) = caught
    assert isinstance(refusal, StepRefused)
    assert (journal.status, refusal.info.reason) == (COMPLETED, "OUT_OF_STOCK")
    assert refusal.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_workflow_cannot_swallow_a_stall(an_engine: Makes, participants: FakeParticipants) -> None:
    participants.break_("ReserveStock")

    async def run(saga: Saga, placed: OrderPlaced) -> None:
        try:
            await steps(saga, placed)["ReserveStock"]()
        except Exception:
            return

    assert (await an_engine(workflows=running(run)).run(an_order())).status == STALLED


async def test_two_requests_for_one_step_stall_the_saga_with_a_hint(an_engine: Makes) -> None:
    async def run(saga: Saga, placed: OrderPlaced) -> None:
        other = an_order(order_id=placed.order.order_id, customer_id="somebody-else")
        for order in (placed.order, other):
            await InventoryServiceStub(saga).ReserveStock(ReserveStockRequest(order=order))

    journal = await an_engine(workflows=running(run)).run(an_order())
    assert journal.status == STALLED
    assert "two different requests" in journal.stalled_reason
    assert "step_key" in journal.stalled_help


async def test_a_workflow_that_ends_by_cancelling_itself_stalls_the_saga(an_engine: Makes) -> None:
    async def run(saga: Saga, placed: OrderPlaced) -> None:
        raise asyncio.CancelledError

    assert (await an_engine(workflows=running(run)).run(an_order())).status == STALLED


def test_a_process_has_one_workflow() -> None:
    with pytest.raises(WorkflowError, match="has a workflow already"):

        @workflow(PROCESS)
        async def another(saga: Saga, placed: OrderPlaced) -> None: ...


def test_what_is_no_workflow_is_told_how_to_be_one() -> None:
    def plain(saga: Saga, placed: OrderPlaced) -> None: ...

    async def unmarked(saga, placed): ...  # type: ignore[no-untyped-def]

    with pytest.raises(WorkflowError, match="async def"):
        workflow("another-process")(plain)  # type: ignore[arg-type]
    with pytest.raises(WorkflowError, match="annotate 'placed'"):
        workflow("another-process")(unmarked)
