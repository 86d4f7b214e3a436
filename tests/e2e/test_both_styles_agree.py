"""Every way an order can end: the same status, ledgers and books in both styles, over the real processes."""

from __future__ import annotations

import pytest

from console.client import MeshClient
from shop.inventory.v1.inventory_pb2 import GetStockRequest
from shop.notifications.v1.notifications_pb2 import ListNotificationsRequest
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import Coordination
from shop.payments.v1.payments_pb2 import GetAccountRequest
from tests.e2e.business import ended, ledgers, place, refused_by, set_stock, settled_books
from tests.harness import RunningMesh, eventually

STYLES = {
    "orchestrated": Coordination.COORDINATION_ORCHESTRATED,
    "choreographed": Coordination.COORDINATION_CHOREOGRAPHED,
}

FORWARD = {
    "orders": {"RecordOrder", "ConfirmOrder", "CompleteOrder"},
    "inventory": {"ReserveStock"},
    "payments": {"AuthorizePayment", "CapturePayment"},
    "shipping": {"BookShipment", "DispatchShipment"},
    "notifications": {"NotifyCustomer"},
}
BACK = {
    "orders": {"RecordOrder", "CancelOrder", "CloseOrder"},
    "inventory": {"ReserveStock", "ReleaseStock"},
    "payments": {"AuthorizePayment", "VoidPayment"},
    "shipping": {"BookShipment", "CancelBooking"},
    "notifications": {"NotifyCustomer"},
}
REFUSING = {"inventory": "ReserveStock", "payments": "AuthorizePayment", "shipping": "BookShipment"}
COMPENSABLE = set(REFUSING.values())


@pytest.mark.parametrize("refusing", ["", "inventory", "payments", "shipping"])
async def test_an_order_ends_alike_in_both_styles(mesh: RunningMesh, client: MeshClient, refusing: str) -> None:
    found = {}
    for style, coordination in STYLES.items():
        sku = customer = f"{style}-{refusing or 'nobody'}"
        await set_stock(client, sku, 5)
        order = refused_by(refusing, customer_id=customer)
        if refusing != "inventory":
            order.lines[0].sku = sku
        await place(client, order, coordination)
        status = await ended(client, order.order_id)
        await eventually(lambda: _told(client, order.order_id), what="the notification")  # noqa: B023  # awaited here
        stock = (await client.inventory.GetStock(GetStockRequest(sku=sku), timeout=5)).stock
        account = await client.payments.GetAccount(GetAccountRequest(customer_id=customer), timeout=5)
        money = [(b.captured.units, b.open.units) for b in account.balances]
        rows = ledgers(mesh.data, order.order_id)
        found[style] = (status, _effects(rows), stock.on_hand, stock.reserved, [m for m in money if any(m)])
        _check_ledgers(rows, refusing)
    assert found["orchestrated"] == found["choreographed"]
    expected = OrderStatus.ORDER_STATUS_COMPENSATED if refusing else OrderStatus.ORDER_STATUS_COMPLETED
    assert found["orchestrated"][0] == expected
    assert found["orchestrated"][2:] == ((5, 0, []) if refusing else (4, 1, [(10, 0)]))
    assert (await settled_books(mesh.data)).faults == []


async def _told(client: MeshClient, order_id: str) -> int:
    request = ListNotificationsRequest(order_id=order_id)
    return len((await client.notifications.ListNotifications(request, timeout=5)).notifications)


def _check_ledgers(rows: dict[str, set[tuple[str, str, str]]], refusing: str) -> None:
    methods = {service: {method for method, _, _ in steps} for service, steps in rows.items()}
    assert methods == (BACK if refusing else FORWARD)
    for service, steps in rows.items():
        for method, _, state in steps:
            if REFUSING.get(refusing) == method:
                # A rival's refusal may have come first: then the step is buried before it can refuse.
                assert state in ("REFUSED", "TOMBSTONE"), (service, method)
            elif refusing and method in COMPENSABLE:
                assert state in ("DONE", "TOMBSTONE"), (service, method)
            else:
                assert state == "DONE", (service, method)


def _effects(rows: dict[str, set[tuple[str, str, str]]]) -> dict[str, set[tuple[str, str, str]]]:
    """The rows, with what is undone alike whether it was reversed after it came or buried before."""
    undone = any(method == "CancelOrder" for method, _, _ in rows["orders"])
    return {
        service: {(m, key, "UNDONE" if undone and m in COMPENSABLE and s != "REFUSED" else s) for m, key, s in steps}
        for service, steps in rows.items()
    }
