"""Leases off: two engines that know nothing of each other drive the same sagas, and it is as if there were one.

Each has a journal of its own; the shop, with their ledgers, are the same. What one does between two steps of
the other is drawn by lot, from a seed. All in virtual time.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh.errors import NotFound
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.orders.v1.order_pb2 import Address, Order, OrderStatus
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import COMPENSATED, COMPLETED, STALLED, EngineBench
from tests.unit.orchestrator.far_shop import FarShop, in_memory
from tests.unit.orchestrator.virtual_time import in_virtual_time

ORDERS = 100
STOCK = 1000
REFUSALS: dict[str, Callable[[Order], None]] = {
    "inventory": lambda order: setattr(order.lines[0], "sku", "never-in-stock"),
    "payments": lambda order: setattr(order, "payment_token", "tok_declined"),
    "shipping": lambda order: order.ship_to.CopyFrom(Address(country_code="AQ")),
}


@asynccontextmanager
async def two_engines(folder: Path, seed: int) -> AsyncIterator[tuple[FarShop, EngineBench, EngineBench]]:
    shop = FarShop(seed)
    await shop.call("inventory", "SetStock", SetStockRequest(sku="sku-1", on_hand=STOCK))
    engines = [EngineBench(folder, shop, database=in_memory, sagas_max=ORDERS) for _ in range(2)]
    yield shop, engines[0], engines[1]
    for engine in engines:
        await engine.crash()
    await shop.close()


def orders(seed: int) -> list[Order]:
    """With ids and customers of their own."""
    rng = random.Random(seed)
    ids = [f"{rng.getrandbits(128):032x}" for _ in range(ORDERS)]
    return [an_order(order_id=order_id, customer_id=f"customer-{order_id}") for order_id in ids]


async def drive(engine: EngineBench, shop: FarShop, order: Order) -> int:
    """Starts a saga a little later, and returns how it has ended."""
    await shop.hop(3)
    await engine.start(order)
    return (await engine.comes_to(order.order_id, COMPLETED, COMPENSATED, STALLED)).status


async def drive_by_both(engines: list[EngineBench], shop: FarShop, order: Order, cancel_within_hops: float = 0) -> int:
    """The end that both engines come to."""
    driving = [drive(engine, shop, order) for engine in engines]
    if cancel_within_hops:
        driving.append(cancel(engines[0], shop, order, cancel_within_hops))
    ends = await asyncio.gather(*driving)
    assert len(set(ends)) == 1, f"{order.order_id} has ended in two ways: {ends}"
    return ends[0]


async def cancel(engine: EngineBench, shop: FarShop, order: Order, within_hops: float) -> int:
    await shop.hop(within_hops)
    while True:
        try:
            await engine.engine.cancel(order.order_id)
            break
        except NotFound:  # not started yet
            await shop.hop()
    return (await engine.comes_to(order.order_id, COMPLETED, COMPENSATED, STALLED)).status


async def assert_the_books_are_exact(shop: FarShop, ends: dict[str, int], all_: list[Order]) -> None:
    for order in all_:
        captured, open_, voided, status = await shop.effects(order)
        if ends[order.order_id] == COMPLETED:
            assert (captured, open_, voided, status) == (10, 0, 0, OrderStatus.ORDER_STATUS_COMPLETED)
        else:
            assert (captured, open_, status) == (0, 0, OrderStatus.ORDER_STATUS_COMPENSATED)
    completed = Counter(ends.values())[COMPLETED]
    assert await shop.reserved() == (STOCK - completed, completed)


@pytest.fixture(autouse=True)
def quick_sweeps() -> None:
    """Sweeps as seldom as in life: in virtual time nobody waits for them, and each is a transaction."""


@pytest.mark.parametrize("refused_by", ["", *REFUSALS])
@in_virtual_time
async def test_two_engines_come_to_the_same_ends_as_one(tmp_path: Path, refused_by: str) -> None:
    async with two_engines(tmp_path, seed := 1) as (shop, *engines):
        mine = orders(seed)
        for order in mine if refused_by else []:
            REFUSALS[refused_by](order)
        found = await asyncio.gather(*(drive_by_both(engines, shop, order) for order in mine))
        ends = {order.order_id: end for order, end in zip(mine, found, strict=True)}
        assert set(found) == {COMPENSATED if refused_by else COMPLETED}
        await assert_the_books_are_exact(shop, ends, mine)


@pytest.mark.parametrize("seed", [1, 2])
@in_virtual_time
async def test_a_cancellation_that_one_of_two_engines_gets_binds_both(tmp_path: Path, seed: int) -> None:
    async with two_engines(tmp_path, seed) as (shop, *engines):
        mine = orders(seed)
        found = await asyncio.gather(*(drive_by_both(engines, shop, order, 8) for order in mine))
        ends = {order.order_id: end for order, end in zip(mine, found, strict=True)}
        await assert_the_books_are_exact(shop, ends, mine)
        counts = Counter(found)
        assert set(counts) == {COMPLETED, COMPENSATED}
        assert min(counts.values()) >= ORDERS // 10, "the cancellations were to race the pivot"
