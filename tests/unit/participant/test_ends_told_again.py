"""After the broker has lost its events, the ends of orders are told again to those who had not read of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventbus.bus import Extent
from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED
from services.orders import tables, telling
from services.orders.telling import Telling, lost_us
from services.participant import Surroundings
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.harness import eventually
from tests.unit.participant.participant_bench import BOTH, Bench, an_event, short, until

DATABASES = BOTH
LONG_AGO_US = 1


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "LOOK_EVERY_S", 0.01)


@asynccontextmanager
async def looking(orders: Bench) -> AsyncIterator[None]:
    """The watch over the stream is under way, and has seen it as it is now."""
    surroundings = Surroundings(None, orders.database, orders.publisher, None, None)  # type: ignore[arg-type]
    task = asyncio.create_task(Telling(surroundings).tell_for_ever())
    try:
        await asyncio.sleep(0.05)
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def completed(orders: Bench, *, by_events: bool) -> Order:
    order = an_order()
    if by_events:
        await orders.event(an_event("orders.OrderPlaced", order))
    for method in ("ConfirmOrder", "CompleteOrder"):
        await orders.call(method, order=order)
    await orders.names()
    return order


async def due(orders: Bench) -> set[tuple[str, str, str]]:
    """Event, style and saga of what waits for publication, all of it as a replay."""
    rows = [row for row in await orders.rows() if row.due]
    assert all(row.replay for row in rows)
    return {(short(row.event), row.due, row.saga_id) for row in rows}


def stream(created_us: int, first: int, last: int) -> Extent:
    return Extent(created_us, first, last)


@pytest.mark.parametrize("fault", ["purged", "made anew"])
async def test_the_ends_are_told_again_in_their_style(orders: Bench, fault: str) -> None:
    by_events, by_calls = [await completed(orders, by_events=which) for which in (True, False)]
    still_open = an_order()
    await orders.call("ConfirmOrder", order=still_open)
    orders.publisher.stream = stream(LONG_AGO_US, 1, 20)
    async with looking(orders):
        assert await due(orders) == set()
        lost = stream(LONG_AGO_US, 21, 20) if fault == "purged" else stream(tables.now_us(), 1, 0)
        orders.publisher.stream = lost

        async def both() -> set[tuple[str, str, str]]:
            found = await due(orders)
            return found if len(found) == 2 else set()

        found = await eventually(both)
    assert found == {
        ("OrderCompleted", CHOREOGRAPHED, by_events.order_id),
        ("OrderCompleted", ORCHESTRATED, by_calls.order_id),
    }


@pytest.mark.parametrize("closed", [False, True])
async def test_a_cancellation_is_told_again_though_calls_close_the_order_only_now(orders: Bench, closed: bool) -> None:
    order = an_order()
    await orders.call("CancelOrder", order=order)
    await orders.names()
    orders.publisher.stream = stream(LONG_AGO_US, 1, 20)
    async with looking(orders):
        orders.publisher.stream = stream(tables.now_us(), 1, 0)
        if closed:
            await orders.call("CloseOrder", order=order)

        async def told() -> bool:
            return any(short(row.event) == "OrderCancelled" and row.due and row.replay for row in await orders.rows())

        await eventually(told, within_s=5, every_s=0.01, what="the cancellation, again")


async def test_a_stream_that_was_made_anew_while_the_service_was_away_is_noticed(orders: Bench) -> None:
    order = await completed(orders, by_events=True)
    orders.publisher.stream = stream(tables.now_us(), 1, 0)
    async with looking(orders):
        pass
    assert await due(orders) == {("OrderCompleted", CHOREOGRAPHED, order.order_id)}


async def test_a_purge_while_the_service_was_away_is_noticed(orders: Bench) -> None:
    orders.publisher.stream = stream(LONG_AGO_US, 1, 20)
    async with looking(orders):
        pass
    order = await completed(orders, by_events=True)
    orders.publisher.stream = stream(LONG_AGO_US, 25, 24)
    async with looking(orders):
        pass
    assert await due(orders) == {("OrderCompleted", CHOREOGRAPHED, order.order_id)}


async def test_a_restart_on_a_young_stream_tells_nothing_again(orders: Bench) -> None:
    orders.publisher.stream = stream(tables.now_us(), 1, 20)
    await completed(orders, by_events=True)
    async with looking(orders):
        pass
    assert await due(orders) == set()


async def test_a_database_that_is_away_at_the_loss_is_asked_again(
    orders: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await completed(orders, by_events=True)
    orders.publisher.stream = stream(LONG_AGO_US, 1, 20)
    async with looking(orders):
        tried = 0

        async def away(*_: object) -> None:
            nonlocal tried
            tried += 1
            raise telling.Unavailable("away")

        with monkeypatch.context() as patch:
            patch.setattr(orders.database, "run", away)
            orders.publisher.stream = stream(LONG_AGO_US, 21, 20)
            await until(lambda: tried > 1, "two tries")
        await asyncio.sleep(0.05)
    assert len(await due(orders)) == 1


@pytest.mark.parametrize(
    ("seen", "now", "lost"),
    [
        (None, stream(5, 1, 9), 5),
        (None, stream(5, 3, 9), 99),  # who knows when
        (stream(5, 1, 9), stream(5, 1, 9), 0),
        (stream(5, 1, 9), stream(5, 3, 12), 0),  # the oldest are too old
        (stream(5, 1, 9), stream(5, 10, 9), 99),  # purged
        (stream(5, 1, 9), stream(5, 13, 20), 99),  # purged, and filled since
        (stream(5, 9, 9), stream(5, 10, 9), 99),
        (stream(5, 10, 9), stream(5, 10, 9), 0),  # there was nothing to lose
        (stream(5, 10, 9), stream(5, 10, 11), 0),
        (stream(5, 10, 9), stream(5, 12, 11), 99),  # filled and purged
        (stream(5, 0, 0), stream(5, 1, 1), 0),
        (stream(5, 0, 0), stream(5, 2, 1), 99),
        (stream(5, 1, 9), stream(5, 1, 8), 99),  # it was acknowledged, and not synced
        (stream(5, 1, 9), stream(7, 1, 20), 7),  # another stream
    ],
)
def test_what_a_stream_has_lost_is_seen_by_its_sequences(seen: Extent | None, now: Extent, lost: int) -> None:
    assert lost_us(seen, now, now_us=99) == lost
