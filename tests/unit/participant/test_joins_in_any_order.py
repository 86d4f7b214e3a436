"""JOIN_ALL: a method that runs once all of its events have arrived, in whatever order and however often."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sql

from mesh.errors import StepMismatch
from services.participant.participant import ARRIVALS
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.participant.participant_bench import BOTH, Bench, an_event

DATABASES = BOTH

GO = ("inventory.StockReserved", "payments.PaymentAuthorized", "shipping.ShipmentBooked")
CLOSED = ("inventory.StockReleased", "payments.PaymentVoided", "shipping.BookingCancelled")


@pytest.mark.parametrize("names", list(itertools.permutations(GO)))
async def test_a_join_runs_with_the_last_arrival_in_every_order(orders: Bench, names: tuple[str, ...]) -> None:
    order = an_order()
    for name in names[:-1]:
        await orders.event(an_event(name, order))
        assert await orders.names() == []
        assert await orders.row("ConfirmOrder", order) is None
    await orders.event(an_event(names[-1], order))
    assert await orders.names() == ["OrderConfirmed"]


@pytest.mark.parametrize("names", list(itertools.permutations(CLOSED)))
async def test_the_join_at_the_end_of_the_way_back_does_so_too(orders: Bench, names: tuple[str, ...]) -> None:
    order = an_order()
    await orders.call("CancelOrder", order=order)
    await orders.names()
    for name in names:
        assert await orders.row("CloseOrder", order) is None
        await orders.event(an_event(name, order))
    assert await orders.names() == ["OrderCompensated"]


async def test_duplicates_do_not_complete_a_join(orders: Bench) -> None:
    order = an_order()
    for name in (GO[0], GO[0], GO[1], GO[0], GO[1]):
        await orders.event(an_event(name, order))
    assert await orders.names() == []
    await orders.event(an_event(GO[2], order))
    assert await orders.names() == ["OrderConfirmed"]


async def test_arrivals_of_one_saga_do_not_complete_the_join_of_another(orders: Bench) -> None:
    first, second = an_order(), an_order()
    for order, name in ((first, GO[0]), (second, GO[1]), (first, GO[2])):
        await orders.event(an_event(name, order))
    assert await orders.names() == []


async def test_a_join_that_completes_before_its_step_may_run_is_tried_again(orders: Bench) -> None:
    """OutOfOrder takes the last arrival back with it, so that its redelivery completes the join again."""
    order = an_order()
    for name in CLOSED[:2]:
        await orders.event(an_event(name, order))
    with pytest.raises(Exception, match="CancelOrder comes before CloseOrder"):
        await orders.event(an_event(CLOSED[2], order))
    await orders.call("CancelOrder", order=order)
    await orders.names()
    await orders.event(an_event(CLOSED[2], order))
    assert await orders.names() == ["OrderCompensated"]


@pytest.mark.parametrize("position", [1, 2])
async def test_an_event_that_disagrees_with_the_others_of_its_join_is_a_mismatch(orders: Bench, position: int) -> None:
    order = an_order()
    other = an_order(order_id=order.order_id, customer_id="somebody-else")
    for name in GO[:position]:
        await orders.event(an_event(name, order))
    before = await orders.query(sql.select(ARRIVALS))
    with pytest.raises(StepMismatch):
        await orders.event(an_event(GO[position], other))
    assert await orders.query(sql.select(ARRIVALS)) == before
    for name in GO[position:]:
        await orders.event(an_event(name, order))
    assert await orders.names() == ["OrderConfirmed"]


async def test_a_second_version_of_the_same_event_is_a_mismatch(orders: Bench) -> None:
    order = an_order()
    await orders.event(an_event(GO[0], order))
    with pytest.raises(StepMismatch):
        await orders.event(an_event(GO[0], an_order(order_id=order.order_id, customer_id="somebody-else")))


@pytest.mark.parametrize("replays", list(itertools.permutations(["", "01-old", "02-new"])))
async def test_a_join_takes_the_newest_replay(orders: Bench, replays: tuple[str, ...]) -> None:
    order = an_order()
    for name, replay in zip(GO, replays, strict=True):
        await orders.event(an_event(name, order), replay=replay)
    assert [envelope.replay for envelope in await orders.published()] == ["02-new"]


async def test_a_replayed_arrival_renews_the_join_and_an_older_one_does_not(orders: Bench) -> None:
    order = an_order()
    for name in GO:
        await orders.event(an_event(name, order))
    for replay, expected in (("02", "02"), ("01", "02"), ("03", "03"), ("", "03")):
        await orders.event(an_event(GO[0], order), replay=replay)
        assert (await orders.published())[-1].replay == expected


async def test_a_join_that_was_called_before_answers_from_the_ledger_when_it_completes(orders: Bench) -> None:
    order = an_order()
    called = await orders.call("ConfirmOrder", order=order)
    for name in GO:
        await orders.event(an_event(name, order))
    assert set(await orders.names()) == {"OrderConfirmed"}
    assert called.status == OrderStatus.ORDER_STATUS_CONFIRMED
