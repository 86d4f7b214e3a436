"""An order whose saga is pruned is still known: placed again it answers as before, and no second case begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ensemble.participant.v1.participant_pb2 import PruneLedgerRequest
from mesh.addresses import Addresses
from mesh.errors import AlreadyExists
from mesh.settings import Settings
from services.orders import tables
from services.orders.placement import Placement
from services.participant import Surroundings
from services.participant.pruning import LedgerService
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, PlaceOrderRequest, PlaceOrderResponse
from tests.builders import an_order
from tests.unit.participant.participant_bench import Bench

BY_EVENTS = Coordination.COORDINATION_CHOREOGRAPHED
ORCHESTRATED = Coordination.COORDINATION_ORCHESTRATED
WAYS = {"COMPLETED": ["ConfirmOrder", "CompleteOrder"], "COMPENSATED": ["CancelOrder", "CloseOrder"]}


async def pruned(orders: Bench, way: list[str], asked: int, taken: int) -> Order:
    """An order that went its way, and that the ledger knows nothing of any more."""
    order = an_order()
    await orders.database.run(lambda tx: tables.add(tx, order, asked, taken))  # type: ignore[arg-type]
    for method in way:
        await orders.call(method, order=order)
    await orders.names()
    await LedgerService(orders.database).PruneLedger(PruneLedgerRequest(saga_ids=[order.order_id]), None)
    assert await orders.rows() == []
    return order


async def place(orders: Bench, folder: Path, order: Order, style: int) -> PlaceOrderResponse:
    """Places an order where there is no orchestrator: to start a saga with it would fail."""
    life: Any = None  # no side tasks
    bus: Any = orders.publisher
    placement = Placement(Surroundings(Settings(data=folder), orders.database, bus, Addresses(Settings()), life))
    return await placement.place(PlaceOrderRequest(order=order, coordination=style))  # type: ignore[arg-type]


@pytest.mark.parametrize("style", [BY_EVENTS, ORCHESTRATED])
@pytest.mark.parametrize("status", WAYS)
async def test_a_pruned_order_that_is_placed_again_answers_as_before(
    orders: Bench, tmp_path: Path, status: str, style: int
) -> None:
    order = await pruned(orders, WAYS[status], style, style)
    answer = await place(orders, tmp_path, order, style)
    assert (answer.order_id, answer.coordination) == (order.order_id, style)
    assert await orders.names() == []
    state = (await orders.call("GetOrder", order_id=order.order_id)).state
    assert (state.order, state.status) == (order, OrderStatus.Value(f"ORDER_STATUS_{status}"))


@pytest.mark.parametrize("style", [BY_EVENTS, ORCHESTRATED])
async def test_an_ended_order_that_is_not_known_to_be_started_is_not_started(
    orders: Bench, tmp_path: Path, style: int
) -> None:
    order = await pruned(orders, WAYS["COMPLETED"], style, taken=0)
    answer = await place(orders, tmp_path, order, style)
    assert answer.coordination == style
    assert await orders.names() == []


async def test_another_order_cannot_take_the_id_of_a_pruned_one(orders: Bench, tmp_path: Path) -> None:
    order = await pruned(orders, WAYS["COMPLETED"], BY_EVENTS, BY_EVENTS)
    other = an_order(order_id=order.order_id, customer_id="somebody-else")
    with pytest.raises(AlreadyExists):
        await place(orders, tmp_path, other, BY_EVENTS)
