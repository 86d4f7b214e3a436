"""Two replicas of one service on one database: what reaches both at once happens once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from services.inventory.service import InventoryService
from services.inventory.tables import select_stock
from services.orders import tables
from services.orders.service import OrdersService
from services.participant import Step
from services.participant.ledger import State
from services.participant.participant import LEDGER
from services.payments.service import PaymentsService
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import ConfirmOrderRequest, ConfirmOrderResponse
from tests.builders import an_order
from tests.unit.participant.participant_bench import Bench, an_event, lines, reason, until

CASES = 25
GO = ("inventory.StockReserved", "payments.PaymentAuthorized", "shipping.ShipmentBooked")
CANCELLED = OrderStatus.ORDER_STATUS_CANCELLED

Pair = tuple[Bench, Bench]


@pytest.fixture
async def replicas(tmp_path: Path, postgres_url: str) -> AsyncIterator[Callable[[type[Any]], Pair]]:
    """Makes two benches of a service on one database."""
    made: list[Bench] = []

    def make(servicer: type[Any]) -> Pair:
        made.extend(Bench(servicer(), tmp_path, postgres_url) for _ in range(2))
        return made[-2], made[-1]

    yield make
    for bench in made:
        await bench.close()


class CountingOrders(OrdersService):
    """Counts how often the pivot's handler ran."""

    def __init__(self) -> None:
        super().__init__()
        self.confirmed: Counter[str] = Counter()

    def ConfirmOrder(self, request: ConfirmOrderRequest, step: Step) -> ConfirmOrderResponse:
        self.confirmed[step.saga_id] += 1
        return super().ConfirmOrder(request, step)


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    """What each answered, or raised."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def names(*benches: Bench) -> Counter[str]:
    """What all replicas have published, by name."""
    return Counter([name for bench in benches for name in await bench.names()])


async def test_arrivals_of_a_join_in_two_replicas_at_once_fire_it_exactly_once(
    replicas: Callable[[type[Any]], Pair],
) -> None:
    one, other = replicas(CountingOrders)
    orders = [an_order() for _ in range(CASES)]
    arrivals = [
        (one, other)[(number + place) % 2].event(an_event(name, order))
        for number, order in enumerate(orders)
        for place, name in enumerate(GO)
    ]
    assert await at_once(*arrivals) == [None] * len(arrivals)
    assert one.servicer.confirmed + other.servicer.confirmed == Counter(order.order_id for order in orders)
    assert await names(one, other) == Counter(OrderConfirmed=CASES)


async def test_the_same_step_in_two_replicas_at_once_runs_once_and_answers_both_alike(
    replicas: Callable[[type[Any]], Pair],
) -> None:
    one, other = replicas(InventoryService)
    await one.call("SetStock", sku="sku-1", on_hand=1000)
    request = one.method("ReserveStock").request_class
    for order in [an_order(lines=lines(("sku-1", 2))) for _ in range(CASES)]:
        answers = await at_once(*(bench.raw("ReserveStock", request(order=order)) for bench in (one, other)))
        assert isinstance(answers[0], bytes)
        assert answers[0] == answers[1]
    (stock,) = await one.query(select_stock("sku-1"))
    assert (stock.on_hand, stock.reserved) == (1000 - 2 * CASES, 2 * CASES)


async def test_an_event_and_a_call_of_the_same_step_at_once_run_it_once(
    replicas: Callable[[type[Any]], Pair],
) -> None:
    one, other = replicas(PaymentsService)
    orders = [an_order() for _ in range(CASES)]
    for order in orders:
        await at_once(one.event(an_event("orders.OrderPlaced", order)), other.call("AuthorizePayment", order=order))
    rows = await one.rows()
    assert len(rows) == CASES
    assert all(row.choreographed for row in rows), "whichever came first, the choreography's trigger is on record"


async def test_the_race_of_confirm_and_cancel_has_one_winner_whom_both_replicas_name(
    replicas: Callable[[type[Any]], Pair],
) -> None:
    one, other = replicas(OrdersService)
    for order in [an_order() for _ in range(CASES)]:
        calls = (one.call("ConfirmOrder", order=order), other.call("CancelOrder", order=order))
        confirmed, cancelled = await at_once(*calls)
        status = (await one.call("GetOrder", order_id=order.order_id)).state.status
        if status == CANCELLED:
            assert cancelled.status == CANCELLED
            assert reason(confirmed) == "ALREADY_CANCELLED"
        else:
            assert confirmed.status == status == OrderStatus.ORDER_STATUS_CONFIRMED
            assert reason(cancelled) == "ALREADY_CONFIRMED"


async def test_a_step_and_its_compensation_at_once_leave_nothing_held(
    replicas: Callable[[type[Any]], Pair],
) -> None:
    one, other = replicas(InventoryService)
    await one.call("SetStock", sku="sku-1", on_hand=10)
    for number, order in enumerate([an_order(lines=lines(("sku-1", 3))) for _ in range(CASES)]):
        calls = [one.call("ReserveStock", order=order), other.call("ReleaseStock", order=order)]
        answers = await at_once(*(calls if number % 2 else reversed(calls)))
        reserved, released = answers if number % 2 else reversed(answers)
        assert released == other.method("ReleaseStock").response_class()
        row = await one.row("ReserveStock", order)
        assert row is not None
        if row.state is State.TOMBSTONE:
            assert reason(reserved) == "STEP_COMPENSATED"
        (stock,) = await one.query(select_stock("sku-1"))
        assert (stock.on_hand, stock.reserved) == (10, 0)


async def test_orders_that_name_the_same_articles_in_different_order_do_not_lock_each_other_out(
    replicas: Callable[[type[Any]], Pair], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = replicas(InventoryService)
    for sku in ("a", "b"):
        await one.call("SetStock", sku=sku, on_hand=1000)

    def order(*articles: str) -> Order:
        return an_order(lines=lines(*((sku, 1) for sku in articles)))

    with caplog.at_level(logging.INFO):
        calls = [bench.call("ReserveStock", order=order(*articles)) for bench, articles in ((one, "ab"), (other, "ba"))]
        calls += [one.call("ReserveStock", order=order("b", "a")) for _ in range(CASES)]
        calls += [other.call("ReserveStock", order=order("a", "b")) for _ in range(CASES)]
        await asyncio.gather(*calls)
    assert "run again" not in caplog.text
    (stock,) = await one.query(select_stock("a"))
    assert stock.reserved == 2 * CASES + 2


async def test_no_piece_is_promised_twice(replicas: Callable[[type[Any]], Pair]) -> None:
    one, other = replicas(InventoryService)
    await one.call("SetStock", sku="sku-1", on_hand=10)
    orders = [an_order(lines=lines(("sku-1", 1))) for _ in range(30)]
    await asyncio.gather(*((one, other)[n % 2].call("ReserveStock", order=order) for n, order in enumerate(orders)))
    states = Counter(row.state for row in await one.rows())
    assert states == Counter(DONE=10, REFUSED=20)


async def test_what_one_replica_left_unpublished_the_other_publishes(
    replicas: Callable[[type[Any]], Pair],
) -> None:
    one, other = replicas(InventoryService)
    one.publisher.fails = True
    await one.event(an_event("orders.OrderPlaced", an_order()))
    sweeping = asyncio.create_task(other.participant.outbox.sweep_for_ever())
    await until(lambda: other.publisher.envelopes, "the other's publication")
    await other.participant.outbox.flush()
    due = sql.select(LEDGER.c.saga_id).where(LEDGER.c.due.is_not(None))
    assert await other.query(due) == []
    sweeping.cancel()


async def test_replicas_that_mark_the_same_publications_do_not_lock_each_other_out(
    replicas: Callable[[type[Any]], Pair], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = replicas(PaymentsService)
    one.publisher.fails = True
    await asyncio.gather(*(one.event(an_event("orders.OrderPlaced", an_order())) for _ in range(CASES)))
    one.publisher.fails = False
    due = await one.database.run(lambda tx: one.participant.ledger.due(tx, CASES))
    marks = [(row.id, row.due, row.replay) for row in due]
    with caplog.at_level(logging.INFO):
        for _ in range(10):
            pairs = ((one, marks), (other, marks[::-1]))
            await asyncio.gather(
                *(b.database.run(lambda tx, b=b, m=m: b.participant.ledger.published(tx, m)) for b, m in pairs)
            )
    assert "run again" not in caplog.text
    assert await one.database.run(lambda tx: one.participant.ledger.due(tx, CASES)) == []


async def test_of_replicas_that_see_the_same_stalled_order_one_starts_it_again(
    replicas: Callable[[type[Any]], Pair],
) -> None:
    one, other = replicas(OrdersService)
    for order in [an_order() for _ in range(CASES)]:
        await one.call("RecordOrder", order=order)
        (row,) = await one.database.run(lambda tx, order=order: tables.find(tx, order.order_id))
        count = tables.count_heal(order.order_id, row.updated_us, tables.now_us())
        counted = [bench.database.run(lambda tx, count=count: tx.execute(count).rowcount) for bench in (one, other)]
        assert sorted(await asyncio.gather(*counted)) == [0, 1]
