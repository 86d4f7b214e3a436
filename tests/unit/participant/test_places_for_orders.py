"""PlaceOrder takes as many orders as may be on their way, and turns the others away before they are written down."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from mesh.database import Database
from mesh.errors import Overloaded, Unavailable
from services.orders import tables
from services.orders.admission import COUNT_EVERY_S, STANDS_STILL_S, Admission
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.harness import eventually
from tests.unit.participant.participant_bench import Bench


async def take(orders: Bench, admission: Admission) -> Order:
    """Places an order, as PlaceOrder does; raises Overloaded."""
    order = an_order()
    await admission.count()
    with admission.place():
        await orders.call("RecordOrder", order=order)
    return order


async def test_an_order_that_ends_gives_its_place_to_another(orders: Bench) -> None:
    admission = Admission(orders.database, 2)
    first, _ = await take(orders, admission), await take(orders, admission)
    with pytest.raises(Overloaded) as refused:
        await take(orders, admission)
    assert refused.value.retry_after_s > COUNT_EVERY_S
    await orders.call("CancelOrder", order=first)
    await orders.call("CloseOrder", order=first)

    async def taken() -> bool:
        try:
            await take(orders, admission)
        except Overloaded:
            return False
        return True

    await eventually(taken, within_s=5, every_s=COUNT_EVERY_S)


async def test_who_comes_when_all_places_are_taken_is_turned_away_before_he_is_heard(orders: Bench) -> None:
    admission = Admission(orders.database, 1)
    admission.admit()  # nobody has counted yet
    first = await take(orders, admission)
    with pytest.raises(Overloaded):
        admission.admit()
    await orders.call("CancelOrder", order=first)
    await orders.call("CloseOrder", order=first)

    async def admitted() -> bool:  # by itself: those who are turned away count, too
        try:
            admission.admit()
        except Overloaded:
            return False
        return True

    await eventually(admitted, within_s=5, every_s=COUNT_EVERY_S)


async def test_a_count_that_is_old_turns_nobody_away(orders: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission(orders.database, 1)
    await take(orders, admission)
    monkeypatch.setattr("services.orders.admission.OLD_S", 0.0)
    admission.admit()


async def test_orders_that_are_being_written_down_have_their_places_too(orders: Bench) -> None:
    admission = Admission(orders.database, 1)
    with admission.place():
        await admission.count()
        with pytest.raises(Overloaded), admission.place():
            pass


async def test_an_order_that_is_not_written_down_takes_no_place(orders: Bench) -> None:
    admission = Admission(orders.database, 1)
    with pytest.raises(ZeroDivisionError), admission.place():
        _ = 1 / 0
    await take(orders, admission)


async def test_orders_that_stand_still_take_nobodys_place(orders: Bench) -> None:
    still = await take(orders, Admission(orders.database, 1))
    with pytest.raises(Overloaded):
        await take(orders, Admission(orders.database, 1))
    ago_us = tables.now_us() - int(STANDS_STILL_S * 1e6) - 1
    aged = tables.ORDERS.update().where(tables.ORDERS.c.order_id == still.order_id).values(updated_us=ago_us)
    await orders.database.run(lambda tx: tx.execute(aged).rowcount)
    await take(orders, Admission(orders.database, 1))


class Away:
    """A database that is away."""

    async def run(self, work: Any) -> Any:
        raise Unavailable("the database is away")


async def test_whoever_counts_in_a_database_that_is_away_is_told_when_he_writes() -> None:
    admission = Admission(cast(Database, Away()), 1)
    await admission.count()
    with admission.place():
        pass


async def test_a_count_that_takes_long_holds_up_nobody_who_comes_meanwhile(orders: Bench) -> None:
    let = asyncio.Event()
    slow = Slow(orders.database, let)
    admission = Admission(cast(Database, slow), 2)
    let.set()
    await admission.count()
    let.clear()
    await asyncio.sleep(2 * COUNT_EVERY_S)  # the count is due again, and not old
    for _ in range(3):
        await admission.count()
    await asyncio.sleep(0)
    assert slow.asked == 2
    let.set()


class Slow:
    """A database that answers once it is let."""

    def __init__(self, database: Database, let: asyncio.Event) -> None:
        self._database = database
        self._let = let
        self.asked = 0

    async def run(self, work: Any) -> Any:
        self.asked += 1
        await self._let.wait()
        return await self._database.run(work)
