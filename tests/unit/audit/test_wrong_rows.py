"""One row that is changed by hand breaks the one invariant that is about it, and the audit says which."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sql

from orchestrator.tables import SAGAS, STEPS
from services.inventory.tables import STOCK
from services.notifications.service import NOTIFICATIONS
from services.orders.tables import ORDERS
from services.participant.participant import ARRIVALS, LEDGER
from services.payments.tables import AUTHORIZATIONS
from services.shipping.tables import BOOKINGS
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.audit.whole_shop import Shop

CONFIRMED, COMPENSATED = OrderStatus.ORDER_STATUS_CONFIRMED, OrderStatus.ORDER_STATUS_COMPENSATED


def the_row(table: sql.Table, saga_id: str, method: str = "") -> Any:
    """Which row of a table, or of a ledger."""
    id_, *_ = table.c if "order_id" not in table.c else [table.c.order_id]
    return (id_ == saga_id) & (table.c.method.endswith(f".{method}") if method else sql.true())


def change(table: sql.Table, saga_id: str, method: str = "", **values: Any) -> sql.Update:
    return sql.update(table).where(the_row(table, saga_id, method)).values(values)


def remove(table: sql.Table, saga_id: str, method: str = "") -> sql.Delete:
    return sql.delete(table).where(the_row(table, saga_id, method))


def copied(table: sql.Table, saga_id: str, of: str = "", /, **values: Any) -> sql.Insert:
    """A copy of a row, with other values."""
    columns = [sql.literal(values[c.name]).label(c.name) if c.name in values else c for c in table.c]
    return sql.insert(table).from_select(
        [c.name for c in table.c], sql.select(*columns).where(the_row(table, saga_id, of))
    )


INVENTORY = "shop.inventory.v1.InventoryService"
ANOTHER = an_order(order_id="o-done", customer_id="somebody-else").SerializeToString()
LARGER = an_order(order_id="o-done")
LARGER.lines[0].quantity = 2


@pytest.mark.parametrize(
    ("part", "wrong", "faults"),
    [
        pytest.param(
            "inventory",
            sql.update(STOCK).values(on_hand=99),
            ["article sku-1: 99 on hand + 2 reserved is not 100"],
            id="stock from nowhere",
        ),
        pytest.param(
            "inventory",
            sql.update(STOCK).values(on_hand=97, reserved=3),
            ["article sku-1: 3 reserved, but the orders hold 2"],
            id="stock that was reserved twice",
        ),
        pytest.param(
            "inventory",
            sql.update(STOCK).values(sku="another"),
            [
                "article another: 2 reserved, but the orders hold 0",
                "article sku-1: the orders hold 2, and there is no such article",
            ],
            id="stock of another article",
        ),
        pytest.param(
            "payments",
            change(AUTHORIZATIONS, "o-done", state="OPEN"),
            [
                "order o-done: its payment is OPEN, but by its ledger CAPTURED",
                "order o-done is COMPLETED, but its payment is OPEN",
            ],
            id="money that was not taken",
        ),
        pytest.param(
            "payments",
            change(AUTHORIZATIONS, "c-late", state="LOST"),
            [
                "order c-late: its payment is LOST, but by its ledger VOIDED",
                "order c-late is COMPENSATED, but its payment is LOST",
                "account customer-1 EUR: authorised is not captured + voided + open",
            ],
            id="money that went missing",
        ),
        pytest.param(
            "payments",
            copied(AUTHORIZATIONS, "o-done", order_id="o-back", state="VOIDED"),
            ["order o-back: its payment is VOIDED, but by its ledger None"],
            id="money that was held without a step",
        ),
        pytest.param(
            "payments",
            change(AUTHORIZATIONS, "o-done", amount_nanos=11 * 10**9),
            ["order o-done: 11000000000 nanos authorised, which is not its total"],
            id="more money than the total",
        ),
        pytest.param(
            "payments",
            change(AUTHORIZATIONS, "o-done", currency="USD"),
            ["order o-done: USD of customer-1 authorised, which the order does not say"],
            id="money of another currency",
        ),
        pytest.param(
            "shipping",
            change(BOOKINGS, "c-back", state="BOOKED"),
            [
                "order c-back: its booking is BOOKED, but by its ledger CANCELLED",
                "order c-back is COMPENSATED, but its booking is BOOKED",
            ],
            id="a carrier that comes for nothing",
        ),
        pytest.param(
            "shipping",
            change(BOOKINGS, "c-done", tracking_number="EN1"),
            ["order c-done: the parcel's number is {c-done} for orders, and 'EN1' for shipping"],
            id="a parcel of two numbers",
        ),
        pytest.param(
            "orders",
            change(ORDERS, "o-done", status=CONFIRMED),
            [
                "order o-done is CONFIRMED, but by its ledger COMPLETED",
                "order o-done is CONFIRMED, but its saga is COMPLETED",
            ],
            id="a status that no step set",
        ),
        pytest.param(
            "orders",
            remove(ORDERS, "c-done"),
            [
                "order c-done has no row, though the ledger of orders has steps of it",
                "order c-done is not there, but its saga is COMPLETED",
            ],
            id="an order that is lost",
        ),
        pytest.param(
            "orders",
            change(ORDERS, "o-done", body=LARGER.SerializeToString()),
            ["order o-done: inventory holds other lines for it than were ordered"],
            id="an order that changed",
        ),
        pytest.param(
            "notifications",
            copied(NOTIFICATIONS, "o-done", notification_id="another"),
            ["order o-done: 2 notifications were sent in 1 steps"],
            id="a customer who was told twice",
        ),
        pytest.param(
            "notifications",
            remove(NOTIFICATIONS, "c-back"),
            ["order c-back: 0 notifications were sent in 1 steps"],
            id="a customer who was not told",
        ),
        pytest.param(
            "orders",
            copied(LEDGER, "o-done", "ConfirmOrder", method="shop.orders.v1.OrdersService.CancelOrder"),
            [
                "saga o-done: both sides of the pivot are done, orders.ConfirmOrder and orders.CancelOrder",
                "saga o-done has ended with orders.CompleteOrder, but orders.CancelOrder is done",
            ],
            id="a pivot that decided both ways",
        ),
        pytest.param(
            "inventory",
            remove(LEDGER, "o-back", "ReserveStock"),
            [
                "saga o-back: inventory.ReleaseStock is done, and its ledger has nothing of what it compensates",
                "saga o-back: inventory.ReserveStock is DONE for the orchestrator, but None in its ledger",
            ],
            id="a compensation of nothing",
        ),
        pytest.param(
            "inventory",
            remove(LEDGER, "c-late", "ReleaseStock"),
            [
                "saga c-late: inventory.ReserveStock has a tombstone, and no compensation has left it",
                "saga c-late: inventory.ReleaseStock is DONE for the orchestrator, but None in its ledger",
                "saga c-late has ended with orders.CloseOrder, but inventory.ReleaseStock is not done",
            ],
            id="a tombstone of nobody",
        ),
        pytest.param(
            "inventory",
            copied(LEDGER, "o-done", "ReserveStock", method=f"{INVENTORY}.ReleaseStock"),
            [
                "order o-done is COMPLETED, but its reserved is False",
                "saga o-done has ended with orders.CompleteOrder, but inventory.ReleaseStock is done",
                "article sku-1: 2 reserved, but the orders hold 1",
            ],
            id="a compensation in a completed saga",
        ),
        pytest.param(
            "orders",
            remove(LEDGER, "c-done", "ConfirmOrder"),
            [
                "saga c-done: all that orders.ConfirmOrder waits for has arrived, and it has no row",
                "saga c-done: orders.ConfirmOrder is DONE for the orchestrator, but None in its ledger",
                "saga c-done has ended with orders.CompleteOrder, but orders.ConfirmOrder is not done",
            ],
            id="a join that did not run",
        ),
        pytest.param(
            "orders",
            change(LEDGER, "o-done", "CompleteOrder", due="orchestrated"),
            ["orders: 1 events are due and unpublished"],
            id="an event that nobody hears of",
        ),
        pytest.param(
            "orchestrator",
            change(SAGAS, "c-done", status=4),
            [
                "order c-done is COMPLETED, but its saga is COMPENSATED",
                "saga c-done is COMPENSATED, but has ended with orders.CompleteOrder",
            ],
            id="a saga that ended otherwise",
        ),
        pytest.param(
            "orchestrator",
            change(STEPS, "c-done", "CapturePayment", status=3),
            ["saga c-done: payments.CapturePayment is REFUSED for the orchestrator, but DONE in its ledger"],
            id="a step that became something else",
        ),
        pytest.param(
            "orchestrator",
            change(STEPS, "o-done", "ReserveStock", digest=b"another"),
            ["saga o-done: inventory.ReserveStock has another request in the journal than in its ledger"],
            id="a step of another request",
        ),
        pytest.param(
            "orchestrator",
            change(STEPS, "o-done", "ReserveStock", outcome=b"another"),
            ["saga o-done: inventory.ReserveStock has another answer in the journal than in its ledger"],
            id="a step of another answer",
        ),
    ],
)
def test_a_wrong_row_is_found(shop: Shop, part: str, wrong: sql.Executable, faults: list[str]) -> None:
    found = shop.faults_after(part, wrong)
    assert found == [fault.replace("{c-done}", repr(shop.tracking_number("c-done"))) for fault in faults]


def test_right_books_have_no_fault_and_nothing_under_way(shop: Shop) -> None:
    books = shop.books()
    assert (books.faults, books.at_rest) == ([], True)
    assert books.orders == {"COMPENSATED": 3, "COMPLETED": 2}
    assert books.stock == {"sku-1": {"on_hand": 98, "reserved": 0, "dispatched": 2}}


def test_an_arrival_alone_is_no_full_join(shop: Shop) -> None:
    assert shop.faults_after("orders", sql.delete(ARRIVALS).where(ARRIVALS.c.event.endswith("ShipmentBooked"))) == []
