"""The books of the shop's services: what each method moves, and what stays constant."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sql
from google.type.money_pb2 import Money

from mesh.errors import NotFound, OutOfOrder
from services.inventory.tables import STOCK
from services.shipping.tables import BOOKINGS
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.participant.participant_bench import BOTH, Bench, lines

DATABASES = BOTH

Status = OrderStatus


async def stock(bench: Bench, sku: str) -> tuple[int, int]:
    found = (await bench.call("GetStock", sku=sku)).stock
    return found.on_hand, found.reserved


async def account(bench: Bench, customer: str) -> dict[str, tuple[int, ...]]:
    balances = (await bench.call("GetAccount", customer_id=customer)).balances

    def nanos(money: Any) -> int:
        return int(money.units * 10**9 + money.nanos)

    return {
        one.authorized.currency_code: tuple(map(nanos, (one.authorized, one.captured, one.voided, one.open)))
        for one in balances
    }


async def test_stock_moves_between_on_hand_and_reserved_and_its_sum_stays(inventory: Bench) -> None:
    await inventory.call("SetStock", sku="sku-2", on_hand=5)
    first, second = an_order(lines=lines(("sku-1", 3), ("sku-2", 5))), an_order(lines=lines(("sku-1", 4)))
    await inventory.call("ReserveStock", order=first)
    await inventory.call("ReserveStock", order=second)
    assert [await stock(inventory, "sku-1"), await stock(inventory, "sku-2")] == [(3, 7), (0, 5)]
    await inventory.call("ReleaseStock", order=first)
    assert [await stock(inventory, "sku-1"), await stock(inventory, "sku-2")] == [(6, 4), (5, 0)]
    rows = await inventory.query(sql.select(STOCK))
    assert all(row.on_hand + row.reserved == row.supplied for row in rows)


async def test_the_last_piece_can_be_reserved_and_not_one_more(inventory: Bench) -> None:
    assert (await inventory.call("ReserveStock", order=an_order(lines=lines(("sku-1", 10))))).reservation_id
    assert (await inventory.call("ReserveStock", order=an_order())).code == 9  # FAILED_PRECONDITION
    assert await stock(inventory, "sku-1") == (0, 10)


async def test_two_lines_of_one_article_take_their_sum(inventory: Bench) -> None:
    order = an_order(lines=lines(("sku-1", 2), ("sku-1", 3)))
    await inventory.call("ReserveStock", order=order)
    assert await stock(inventory, "sku-1") == (5, 5)
    await inventory.call("ReleaseStock", order=order)
    assert await stock(inventory, "sku-1") == (10, 0)


async def test_setting_the_stock_leaves_what_is_reserved(inventory: Bench) -> None:
    await inventory.call("ReserveStock", order=an_order(lines=lines(("sku-1", 4))))
    answered = (await inventory.call("SetStock", sku="sku-1", on_hand=100)).stock
    assert (answered.on_hand, answered.reserved) == (100, 4)


async def test_an_article_that_was_never_set_has_nothing(inventory: Bench) -> None:
    assert await stock(inventory, "sku-unknown") == (0, 0)


async def test_money_is_held_taken_or_given_back_and_nothing_of_it_is_lost(payments: Bench) -> None:
    held, taken, given_back = (
        an_order(total=Money(currency_code="EUR", units=units, nanos=nanos))
        for units, nanos in ((10, 10_000_000), (20, 990_000_000), (40, 5))
    )
    for order in (held, taken, given_back):
        await payments.call("AuthorizePayment", order=order)
    await payments.call("CapturePayment", order=taken)
    await payments.call("VoidPayment", order=given_back)
    authorized, captured, voided, opened = (await account(payments, "customer-1"))["EUR"]
    assert (captured, voided, opened) == (20_990_000_000, 40_000_000_005, 10_010_000_000)
    assert authorized == captured + voided + opened


async def test_accounts_are_kept_by_customer_and_by_currency(payments: Bench) -> None:
    await payments.call("AuthorizePayment", order=an_order())
    await payments.call("AuthorizePayment", order=an_order(total=Money(currency_code="JPY", units=7)))
    await payments.call("AuthorizePayment", order=an_order(customer_id="customer-2"))
    assert set(await account(payments, "customer-1")) == {"EUR", "JPY"}
    assert (await account(payments, "customer-2"))["EUR"][0] == 10 * 10**9
    assert await account(payments, "customer-3") == {}


@pytest.mark.parametrize("token", ["tok_declined", "tok_insufficient_funds", "tok_unheard_of"])
async def test_a_declined_card_holds_nothing(payments: Bench, token: str) -> None:
    await payments.call("AuthorizePayment", order=an_order(payment_token=token))
    assert await account(payments, "customer-1") == {}


async def test_what_is_not_held_cannot_be_taken(payments: Bench) -> None:
    never, voided = an_order(), an_order()
    await payments.call("AuthorizePayment", order=voided)
    await payments.call("VoidPayment", order=voided)
    for order in (never, voided):
        with pytest.raises(OutOfOrder):
            await payments.call("CapturePayment", order=order)
    assert (await account(payments, "customer-1"))["EUR"][1] == 0


async def test_a_booking_is_dispatched_with_a_number_that_every_repetition_repeats(shipping: Bench) -> None:
    order = an_order()
    await shipping.call("BookShipment", order=order)
    numbers = {(await shipping.call("DispatchShipment", order=order)).tracking_number for _ in range(3)}
    (booking,) = await shipping.query(sql.select(BOOKINGS))
    assert (booking.state, {booking.tracking_number}) == ("DISPATCHED", numbers)


async def test_a_parcel_without_a_booking_is_not_dispatched(shipping: Bench) -> None:
    never, cancelled = an_order(), an_order()
    await shipping.call("BookShipment", order=cancelled)
    await shipping.call("CancelBooking", order=cancelled)
    for order in (never, cancelled):
        with pytest.raises(OutOfOrder):
            await shipping.call("DispatchShipment", order=order)
    (booking,) = await shipping.query(sql.select(BOOKINGS))
    assert booking.state == "CANCELLED"


@pytest.mark.parametrize(
    ("methods", "status"),
    [
        (["RecordOrder"], Status.ORDER_STATUS_PENDING),
        (["ConfirmOrder"], Status.ORDER_STATUS_CONFIRMED),
        (["ConfirmOrder", "CompleteOrder"], Status.ORDER_STATUS_COMPLETED),
        (["CancelOrder"], Status.ORDER_STATUS_CANCELLED),
        (["CancelOrder", "CloseOrder"], Status.ORDER_STATUS_COMPENSATED),
        (["ConfirmOrder", "CancelOrder", "RecordOrder"], Status.ORDER_STATUS_CONFIRMED),
        (["CancelOrder", "ConfirmOrder", "RecordOrder"], Status.ORDER_STATUS_CANCELLED),
    ],
)
async def test_an_order_moves_along_whether_or_not_it_was_recorded_first(
    orders: Bench, methods: list[str], status: int
) -> None:
    order = an_order()
    for method in methods:
        await orders.call(method, order=order)
    state = (await orders.call("GetOrder", order_id=order.order_id)).state
    assert (state.order, state.status) == (order, status)


@pytest.mark.parametrize(
    ("before", "method"),
    [
        ([], "CompleteOrder"),
        (["CancelOrder"], "CompleteOrder"),
        ([], "CloseOrder"),
        (["ConfirmOrder"], "CloseOrder"),
    ],
)
async def test_an_order_does_not_end_on_a_side_that_was_not_decided(
    orders: Bench, before: list[str], method: str
) -> None:
    order = an_order()
    for name in before:
        await orders.call(name, order=order)
    await orders.names()
    rows = await orders.rows()
    with pytest.raises(OutOfOrder):
        await orders.call(method, order=order)
    assert await orders.rows() == rows


async def test_only_reads_answer_not_found(orders: Bench) -> None:
    with pytest.raises(NotFound):
        await orders.call("GetOrder", order_id="nobody-knows")


async def test_an_account_adds_up_beyond_what_64_bits_of_nanos_hold(payments: Bench) -> None:
    for _ in range(12):
        await payments.call("AuthorizePayment", order=an_order(total=Money(currency_code="EUR", units=10**9, nanos=1)))
    (balance,) = (await payments.call("GetAccount", customer_id="customer-1")).balances
    assert (balance.open.units, balance.open.nanos) == (12 * 10**9, 12)
