"""A workflow starts another and waits for its end: a parent that fulfils two orders, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.contract import Contract, Process
from mesh.errors import NotFound
from mesh.sqlite import SqliteDatabase
from orchestrator.journal import StepStatus
from orchestrator.saga import Saga, StepRefused
from orchestrator.tables import SAGAS
from orchestrator.waits import CHILD
from orchestrator.workflow import Workflow, Workflows, registered
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order, OrderStatus
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    COMPENSATED,
    COMPLETED,
    PROCESS,
    RUNNING,
    STALLED,
    EngineBench,
    FakeParticipants,
    Shop,
    packed,
)
from tests.unit.participant.participant_bench import LIMIT_S

Makes = Callable[..., EngineBench]
PARENT = "fulfil-two"


def child_of(order: Order, **changes: Any) -> Order:
    return an_order(order_id=f"{order.order_id}-child", customer_id=order.customer_id, **changes)


async def fulfil_two(saga: Saga, placed: OrderPlaced) -> None:
    """Holds its own stock, then lets another saga fulfil another order, whose card its own token says."""
    await InventoryServiceStub(saga).ReserveStock(ReserveStockRequest(order=placed.order))
    other = child_of(placed.order, payment_token=placed.order.payment_token)
    await saga.child(PROCESS, OrderPlaced(order=other))


@pytest.fixture
def options() -> dict[str, Any]:
    contract = Contract.of_packages("shop")
    contract.processes[PARENT] = Process(PARENT, contract.processes[PROCESS].start, ())
    return {"contract": contract, "workflows": Workflows([*registered(), Workflow(PARENT, fulfil_two, OrderPlaced)])}


async def start(bench: EngineBench, order: Order) -> None:
    await bench.engine.start(PARENT, packed(OrderPlaced(order=order)))


async def test_a_parent_goes_on_when_its_child_has_completed(
    an_engine: Makes, options: dict[str, Any], shop: Shop
) -> None:
    bench, order = an_engine(**options), an_order()
    await start(bench, order)
    await bench.comes_to(order.order_id, COMPLETED)
    child = await bench.engine.get(child_of(order).order_id)
    assert (child.status, child.parent) == (COMPLETED, order.order_id)


async def test_a_child_that_was_compensated_refuses_and_turns_its_parent_back(
    an_engine: Makes, options: dict[str, Any], shop: Shop
) -> None:
    bench, order = an_engine(**options), an_order(payment_token="tok_declined")
    await start(bench, order)
    journal = await bench.comes_to(order.order_id, COMPENSATED)
    assert journal.to_proto().refusal.reason == "CARD_DECLINED"
    assert (await shop.call("GetStock", sku="sku-1")).stock.reserved == 0


async def test_a_parent_may_handle_that(an_engine: Makes, options: dict[str, Any]) -> None:
    caught: list[StepRefused] = []

    async def forgiving(saga: Saga, placed: OrderPlaced) -> None:
        try:
            await fulfil_two(saga, placed)
        except StepRefused as refusal:
            caught.append(refusal)

    workflows = Workflows([*registered(), Workflow(PARENT, forgiving, OrderPlaced)])
    bench, order = an_engine(**{**options, "workflows": workflows}), an_order(payment_token="tok_declined")
    await start(bench, order)
    await bench.comes_to(order.order_id, COMPLETED)
    assert caught[-1].info.reason == "CARD_DECLINED"


async def test_a_parent_that_is_cancelled_cancels_its_child_and_waits_for_its_end(
    an_engine: Makes, options: dict[str, Any], participants: FakeParticipants, shop: Shop
) -> None:
    participants.hold("ConfirmOrder")
    bench, order = an_engine(**options), an_order()
    await start(bench, order)
    await participants.reaches("ConfirmOrder")
    await bench.engine.cancel(order.order_id)
    await bench.comes_to(order.order_id, COMPENSATED)
    child = await bench.engine.get(child_of(order).order_id)
    assert child.status == COMPENSATED
    assert (await shop.books(child_of(order)))[-1] == OrderStatus.ORDER_STATUS_COMPENSATED
    participants.release()


@pytest.mark.parametrize("method", ["ReserveStock", "ConfirmOrder"], ids=["before the child", "in the child"])
async def test_parent_and_child_go_on_after_a_crash(
    an_engine: Makes, options: dict[str, Any], participants: FakeParticipants, shop: Shop, method: str
) -> None:
    participants.hold(method)
    first, order = an_engine(**options), an_order()
    await start(first, order)
    await participants.reaches(method)
    await first.crash()
    participants.release()
    second = an_engine(**options)
    assert await second.recover() >= 1
    await second.comes_to(order.order_id, COMPLETED)
    assert (await second.engine.get(child_of(order).order_id)).status == COMPLETED
    assert (await shop.call("GetStock", sku="sku-1")).stock.reserved == 2  # the parent's own, and the child's


async def test_a_child_is_taken_though_all_places_are_taken_by_parents(
    an_engine: Makes, options: dict[str, Any], participants: FakeParticipants
) -> None:
    bench, orders = an_engine(**options, sagas_max=2), [an_order() for _ in range(2)]
    for order in orders:
        await start(bench, order)
    for order in orders:
        await bench.comes_to(order.order_id, COMPLETED)


async def test_an_id_that_is_another_sagas_stalls_the_parent(an_engine: Makes, options: dict[str, Any]) -> None:
    bench, order = an_engine(**options), an_order()
    taken = an_order(order_id=child_of(order).order_id, customer_id="somebody-else")
    await bench.engine.start(PROCESS, packed(OrderPlaced(order=taken)))
    await start(bench, order)
    journal = await bench.comes_to(order.order_id, STALLED)
    assert child_of(order).order_id in journal.stalled_reason


async def test_the_child_is_shown_among_the_steps_of_its_parent(
    an_engine: Makes, options: dict[str, Any], participants: FakeParticipants
) -> None:
    participants.hold("ConfirmOrder")
    bench, order = an_engine(**options), an_order()
    await start(bench, order)
    await participants.reaches("ConfirmOrder")
    shown = (await bench.engine.get(order.order_id)).to_proto()
    (child,) = [step for step in shown.steps if step.method == CHILD]
    assert (child.step_key, child.status) == (f"{PROCESS}/{child_of(order).order_id}", StepStatus.STEP_STATUS_RUNNING)
    assert shown.status == RUNNING
    participants.release()
    await bench.comes_to(order.order_id, COMPLETED)


class LateStarts(SqliteDatabase):
    """Commits the start of a child late, as a database does that others are busy with: meanwhile it is not seen."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.starting, self.looked_for, self.committed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self, work: Callable[[Connection], Any]) -> Any:
        if "Starts" in work.__qualname__ and not self.starting.is_set() and await self._there_is_a_parent():
            self.starting.set()
            await self.committed.wait()
        try:
            return await super().run(work)
        except NotFound:
            self.looked_for.set()
            raise

    async def _there_is_a_parent(self) -> bool:
        return bool(await super().run(lambda tx: tx.execute(sql.select(SAGAS.c.saga_id)).all()))


async def test_a_child_whose_start_is_still_being_committed_is_turned_back_with_its_parent(
    an_engine: Makes, options: dict[str, Any], shop: Shop
) -> None:
    bench, order = an_engine(**options, database=LateStarts), an_order()
    await start(bench, order)
    await bench.database.starting.wait()  # type: ignore[attr-defined]
    await bench.engine.cancel(order.order_id)
    async with asyncio.timeout(LIMIT_S):
        await bench.database.looked_for.wait()  # type: ignore[attr-defined]
    bench.database.committed.set()  # type: ignore[attr-defined]
    await bench.comes_to(order.order_id, COMPENSATED)
    child = await bench.comes_to(child_of(order).order_id, COMPENSATED)
    assert child.parent == order.order_id
    assert (await shop.call("GetStock", sku="sku-1")).stock.reserved == 0
