"""A workflow that does something else than its choreography is caught, with the path that shows it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mesh.contract import Contract
from orchestrator.equivalence import Comparison, compare
from orchestrator.saga import Saga, StepRefused
from orchestrator.workflow import Function, Workflow, Workflows
from orchestrator.workflows.fulfil_order import fulfil_order
from shop.orders.v1.events_pb2 import OrderCancelled, OrderPlaced
from tests.unit.equivalence.shop_steps import FORWARD, Steps, doing, without

SHOP = Contract.of_packages("shop")
REFUSALS = 9  # nobody refuses, any of three does (7), or the pivot


def compared(function: Function, process: str = "fulfil-order", input_class: Any = OrderPlaced) -> Comparison:
    """Without technical failures, for speed: refusals show what these tests are about."""
    return compare(SHOP, Workflows([Workflow(process, function, input_class)]), paths_max=REFUSALS)


def told(comparison: Comparison) -> list[str]:
    return [finding.what for finding in comparison.findings]


def test_the_shops_workflow_and_its_choreography_agree_on_every_path() -> None:
    comparison = compare(SHOP, Workflows([Workflow("fulfil-order", fulfil_order, OrderPlaced)]))
    assert comparison.findings == []
    assert comparison.unfinished == []
    assert comparison.workflows == 1
    # Each refusal also with failures of all steps, and of each one; a cancellation, and three that never answer.
    assert comparison.paths > REFUSALS * 10 + 4


async def sleeping(saga: Saga, placed: OrderPlaced) -> None:
    steps = Steps(saga, placed)
    await steps.do("record", "reserve", "authorize", "book")
    await saga.sleep(timedelta(minutes=1))
    await steps.do("confirm", "capture", "dispatch", "complete")


async def in_a_task_group(saga: Saga, placed: OrderPlaced) -> None:
    steps = Steps(saga, placed)
    async with asyncio.TaskGroup() as group:
        for name in ("record", "reserve", "authorize", "book"):
            group.create_task(steps.do(name))
    await steps.do("confirm", "capture", "dispatch", "complete")


@pytest.mark.parametrize("workflow", [without(), sleeping, in_a_task_group])
def test_it_does_not_matter_in_which_order_the_same_is_done(workflow: Function) -> None:
    comparison = compared(workflow)
    assert told(comparison) == []
    assert comparison.paths >= REFUSALS - 2  # one after the other, there is no second refusal


@pytest.mark.parametrize(
    ("left_out", "method"),
    [("book", "BookShipment"), ("capture", "CapturePayment"), ("confirm", "ConfirmOrder"), ("record", "RecordOrder")],
)
def test_a_step_that_is_left_out_is_told_with_the_path_and_its_line(left_out: str, method: str) -> None:
    comparison = compared(without(left_out))
    first = comparison.findings[0]
    assert first.what.startswith(f"fulfil-order: when nobody refuses, only the choreography does {method}")
    assert first.check == "equivalence"
    assert first.subject.name == method


def test_a_step_that_is_left_out_and_refuses_ends_the_choreography_otherwise() -> None:
    assert any(
        one.startswith(
            "fulfil-order: when BookShipment refuses, the workflow ends COMPLETED, the choreography COMPENSATED"
        )
        for one in told(compared(without("book")))
    )


def test_a_step_too_many_is_told() -> None:
    extra, event = told(compared(doing(*FORWARD, "close")))
    assert extra.startswith("fulfil-order: when nobody refuses, only the workflow does CloseOrder")
    assert event.startswith("fulfil-order: when nobody refuses, only the workflow leads to OrderCompensated")


def test_a_step_before_the_pivot_that_belongs_behind_it_is_told_on_the_path_on_which_it_stays() -> None:
    early = doing("record", "reserve", "authorize", "book", "capture", "confirm", "dispatch", "complete")
    found = told(compared(early))
    assert "fulfil-order: when ConfirmOrder refuses, only the workflow does CapturePayment" in found[0]


def test_a_request_that_the_events_fill_otherwise_is_told_with_its_field() -> None:
    async def wrong_number(saga: Saga, placed: OrderPlaced) -> None:
        steps = Steps(saga, placed)
        await steps.do(*FORWARD[:-1])
        steps.tracking_number = "none"
        await steps.do("complete")

    found = told(compared(wrong_number))
    assert found[0].startswith(
        "fulfil-order: when nobody refuses, CompleteOrder gets another request from the workflow than from the events, "
        "in `tracking_number`"
    )


def test_a_refusal_that_is_swallowed_is_told() -> None:
    async def swallowing(saga: Saga, placed: OrderPlaced) -> None:
        steps = Steps(saga, placed)
        await steps.do("record", "reserve", "authorize")
        try:
            await steps.do("book")
        except StepRefused:
            return
        await steps.do("confirm", "capture", "dispatch", "complete")

    assert "when BookShipment refuses, the workflow ends COMPLETED" in told(compared(swallowing))[0]


def test_a_workflow_that_raises_or_waits_for_what_never_comes_is_told() -> None:
    async def raising(saga: Saga, placed: OrderPlaced) -> None:
        raise ValueError(placed)

    async def waiting(saga: Saga, placed: OrderPlaced) -> None:
        await saga.event(OrderCancelled)

    assert "the workflow ends STALLED (the workflow raised ValueError" in told(compared(raising))[0]
    assert "when nobody refuses, the workflow ends COMPENSATED" in told(compared(waiting))[0], "at its deadline"


def test_a_workflow_without_an_end_is_told() -> None:
    async def endless(saga: Saga, placed: OrderPlaced) -> None:
        while True:
            await saga.sleep(0.01)

    comparison = compare(SHOP, Workflows([Workflow("fulfil-order", endless, OrderPlaced)]), paths_max=1)
    assert "the workflow ends STALLED (it goes on and on" in told(comparison)[0]


def test_a_workflow_of_no_process_is_told() -> None:
    (unknown,) = compared(fulfil_order, "no-such-process").findings
    assert (unknown.check, unknown.subject.name) == ("workflow", "OrderPlaced")
    (mistaken,) = compared(fulfil_order, input_class=OrderCancelled).findings
    assert "OrderPlaced starts that process" in mistaken.what


def test_every_version_of_a_workflow_is_compared() -> None:
    both = Workflows(
        [Workflow("fulfil-order", fulfil_order, OrderPlaced), Workflow("fulfil-order", without("book"), OrderPlaced, 2)]
    )
    comparison = compare(SHOP, both, paths_max=REFUSALS)
    assert comparison.workflows == 2
    assert all(one.startswith("fulfil-order (version 2): ") for one in told(comparison))
    assert comparison.findings
