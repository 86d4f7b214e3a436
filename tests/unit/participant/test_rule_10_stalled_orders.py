"""Rule 10, second half: the watch for stalled cases covers both sides of the pivot, not only PENDING."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection

from eventbus.envelope import CHOREOGRAPHED
from mesh.addresses import Addresses
from mesh.settings import Settings
from services.orders import healing, tables
from services.participant import Surroundings
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination
from tests.builders import an_order
from tests.unit.participant.participant_bench import BOTH, Bench, short, until

DATABASES = BOTH
Look = Callable[[Connection], list[tables.Stalled]]

BY_EVENTS = Coordination.COORDINATION_CHOREOGRAPHED
ORCHESTRATED, HYBRID = Coordination.COORDINATION_ORCHESTRATED, Coordination.COORDINATION_HYBRID
WAY = {"PENDING": [], "CONFIRMED": ["ConfirmOrder"], "CANCELLED": ["CancelOrder"]}
ENDED = {"COMPLETED": ["ConfirmOrder", "CompleteOrder"], "COMPENSATED": ["CancelOrder", "CloseOrder"]}


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "LOOK_EVERY_S", 0.01)


def stalled(after_s: float = 0, heals_max: int = 5, later_s: float = 1) -> Look:
    """What is looked after in a second from now."""
    return tables.stalled(tables.now_us() + int(later_s * 1e6), after_s, heals_max, 10)


@contextlib.asynccontextmanager
async def watching(orders: Bench, folder: Path, heals_max: int = 1) -> AsyncIterator[None]:
    """The orders service with its watch under way; what stood still for 1 ms is stalled."""
    tasks: list[asyncio.Task[None]] = []

    def spawn(name: str, work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(work, name=name))

    settings = Settings(data=folder, stalled_after_s=0.001, heals_max=heals_max)
    surroundings: Any = Surroundings(
        settings,
        orders.database,
        orders.publisher,  # type: ignore[arg-type]  # as much of a bus as is used
        Addresses(settings),
        SimpleNamespace(spawn=spawn),  # type: ignore[arg-type]
    )
    orders.servicer.join(surroundings)
    yield
    for task in tasks:
        assert not task.done(), task
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def placed(orders: Bench, methods: list[str], asked: int = BY_EVENTS, taken: int = BY_EVENTS) -> Order:
    order = an_order()
    await orders.database.run(lambda tx: tables.add(tx, order, asked, taken))  # type: ignore[arg-type]
    for method in methods:
        await orders.call(method, order=order)
    await orders.names()
    return order


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("status", WAY)
async def test_rule_10_an_order_that_stands_still_is_started_again(orders: Bench, tmp_path: Path, status: str) -> None:
    order = await placed(orders, WAY[status])
    async with watching(orders, tmp_path):
        await until(lambda: orders.publisher.envelopes, f"the healing of a {status} order")
    again = orders.publisher.envelopes[0]
    assert (short(again.event), again.saga_id, again.style) == ("OrderPlaced", order.order_id, CHOREOGRAPHED)
    assert again.replay, "the broker would swallow it as a duplicate"


@pytest.mark.parametrize("status", WAY)
async def test_rule_10_the_watch_selects_open_orders_on_both_sides_of_the_pivot(orders: Bench, status: str) -> None:
    order = await placed(orders, WAY[status])
    rows = await orders.database.run(stalled())
    assert [row.order.order_id for row in rows] == [order.order_id]
    (found,) = await orders.database.run(lambda tx: tables.find(tx, order.order_id))
    assert found.status == OrderStatus.Value(f"ORDER_STATUS_{status}")


@pytest.mark.parametrize("status", ENDED)
async def test_an_order_that_has_ended_is_left_alone(orders: Bench, status: str) -> None:
    await placed(orders, ENDED[status])
    assert await orders.database.run(stalled()) == []


async def test_an_order_that_moved_lately_is_left_alone(orders: Bench) -> None:
    await placed(orders, [])
    assert await orders.database.run(stalled(after_s=60)) == []


@pytest.mark.parametrize(
    ("asked", "taken", "selected"),
    [
        (BY_EVENTS, BY_EVENTS, True),
        (HYBRID, BY_EVENTS, True),
        (HYBRID, ORCHESTRATED, True),
        (ORCHESTRATED, ORCHESTRATED, False),
        (HYBRID, 0, False),  # not started yet: resumed, not healed
    ],
)
async def test_only_an_order_that_choreography_may_finish_is_started_again(
    orders: Bench, asked: int, taken: int, selected: bool
) -> None:
    await placed(orders, [], asked, taken)
    assert bool(await orders.database.run(stalled())) is selected


@pytest.mark.usefixtures("quick_looks")
async def test_an_order_is_started_again_so_often_then_it_is_told_once_and_left_alone(
    orders: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = await placed(orders, [])
    async with watching(orders, tmp_path, heals_max=2):
        await until(lambda: caplog.messages and "is left alone" in caplog.messages[-1], "the last word")
        await asyncio.sleep(0.1)  # ten looks
    assert len({envelope.replay for envelope in orders.publisher.envelopes}) == 2
    assert len(orders.publisher.envelopes) == 2
    (told,) = [line for line in caplog.messages if "is left alone" in line]
    assert f"ensemble saga retry {order.order_id}" in told
    assert await orders.database.run(stalled(heals_max=2, later_s=3600)) == []


async def test_an_order_is_started_again_after_twice_the_time_at_every_time(orders: Bench) -> None:
    order = await placed(orders, [])
    for wait_s in (15, 30, 60):
        assert await orders.database.run(stalled(15, later_s=wait_s - 1)) == []
        (row,) = await orders.database.run(stalled(15, later_s=wait_s + 1))
        count = tables.count_heal(order.order_id, row.updated_us, tables.now_us())
        await orders.database.run(lambda tx, count=count: tx.execute(count).rowcount)


async def test_an_order_that_moves_has_all_its_starts_before_it_again(orders: Bench) -> None:
    order = await placed(orders, [])
    (row,) = await orders.database.run(stalled())
    count = tables.count_heal(order.order_id, row.updated_us, tables.now_us(), 6)
    await orders.database.run(lambda tx: tx.execute(count).rowcount)
    assert await orders.database.run(stalled()) == []
    await orders.call("ConfirmOrder", order=order)
    assert await orders.database.run(stalled()) != []


@pytest.mark.usefixtures("quick_looks")
async def test_the_process_that_dies_between_the_count_and_the_start_costs_one_start(
    orders: Bench, tmp_path: Path
) -> None:
    order = await placed(orders, [])
    (row,) = await orders.database.run(stalled())
    count = tables.count_heal(order.order_id, row.updated_us, tables.now_us())
    await orders.database.run(lambda tx: tx.execute(count).rowcount)  # and no more was heard of it
    async with watching(orders, tmp_path, heals_max=2):
        await until(lambda: orders.publisher.envelopes, "the second start")


@pytest.mark.usefixtures("quick_looks")
async def test_an_order_whose_healing_could_not_be_published_is_tried_again(orders: Bench, tmp_path: Path) -> None:
    await placed(orders, [])
    orders.publisher.fails = True
    async with watching(orders, tmp_path):
        await until(lambda: orders.publisher.tried > 1, "two tries")
        orders.publisher.fails = False
        await until(lambda: orders.publisher.envelopes, "the healing")
