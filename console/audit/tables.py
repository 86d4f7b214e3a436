"""The tables of the services against their ledgers: each step has had its effect once, and nothing else has had any.

A step's effect and its row are one transaction, and a part's database is read as of one moment, so this holds of every
saga, in flight or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from console.audit.cases import Case, Recorded
from services.participant.ledger import State
from services.payments.tables import CAPTURED, OPEN, VOIDED
from services.shipping.tables import BOOKED, CANCELLED, DISPATCHED
from shop.inventory.v1.events_pb2 import StockReserved
from shop.inventory.v1.inventory_pb2 import DESCRIPTOR as INVENTORY
from shop.notifications.v1.notifications_pb2 import DESCRIPTOR as NOTIFICATIONS
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import DESCRIPTOR as ORDERS
from shop.payments.v1.payments_pb2 import DESCRIPTOR as PAYMENTS
from shop.shipping.v1.shipping_pb2 import DESCRIPTOR as SHIPPING

T = TypeVar("T")

_METHODS = {
    method.name: method.full_name
    for file in (ORDERS, INVENTORY, PAYMENTS, SHIPPING, NOTIFICATIONS)
    for service in file.services_by_name.values()
    for method in service.methods
}


def the_order_is_where_its_steps_took_it(case: Case) -> Iterator[str]:
    """The order's status is that of its last step."""
    if case.is_forgotten_by("orders"):
        return
    status = _last(
        case,
        OrderStatus.ORDER_STATUS_PENDING,
        [
            ("CompleteOrder", OrderStatus.ORDER_STATUS_COMPLETED),
            ("CloseOrder", OrderStatus.ORDER_STATUS_COMPENSATED),
            ("ConfirmOrder", OrderStatus.ORDER_STATUS_CONFIRMED),
            ("CancelOrder", OrderStatus.ORDER_STATUS_CANCELLED),
        ],
    )
    if case.order is None:
        if status != OrderStatus.ORDER_STATUS_PENDING or _done(case, "RecordOrder"):
            yield f"order {case.id} has no row, though the ledger of orders has steps of it"
    elif case.order.status != status:
        yield f"order {case.id} is {name_of(case.order.status)}, but by its ledger {name_of(status)}"


def the_payment_is_where_its_steps_took_it(case: Case) -> Iterator[str]:
    """Money is held, taken or given back as the steps say."""
    if not case.is_forgotten_by("payments"):
        settled = [("CapturePayment", CAPTURED), ("VoidPayment", VOIDED)]
        right = _last(case, OPEN, settled) if _done(case, "AuthorizePayment") else None
        if (found := case.payment.state if case.payment else None) != right:
            yield f"order {case.id}: its payment is {found}, but by its ledger {right}"


def the_booking_is_where_its_steps_took_it(case: Case) -> Iterator[str]:
    """A carrier is booked, sent or called off as the steps say."""
    if not case.is_forgotten_by("shipping"):
        settled = [("DispatchShipment", DISPATCHED), ("CancelBooking", CANCELLED)]
        right = _last(case, BOOKED, settled) if _done(case, "BookShipment") else None
        if (found := case.booking.state if case.booking else None) != right:
            yield f"order {case.id}: its booking is {found}, but by its ledger {right}"


def the_customer_was_told_once_of_each_event(case: Case) -> Iterator[str]:
    """There are as many notifications as steps, of which there is one for each event."""
    if not case.is_forgotten_by("notifications"):
        steps = [key for key, row in case.ledger.items() if key[0] == _METHODS["NotifyCustomer"] and _is_done(row)]
        if len(case.notified) != len(steps):
            yield f"order {case.id}: {len(case.notified)} notifications were sent in {len(steps)} steps"


def held_by(case: Case) -> Order | None:
    """The order whose lines are reserved, if any are: as the ledger of inventory says, or said before it was pruned.

    Of one that it has forgotten, the order is taken at its word: it completed, so its lines are reserved.
    """
    if case.is_forgotten_by("inventory"):
        completed = case.order is not None and case.order.status == OrderStatus.ORDER_STATUS_COMPLETED
        return case.order.order if completed and case.order is not None else None
    reserved = case.ledger.get((_METHODS["ReserveStock"], ""))
    if reserved is None or not _is_done(reserved) or _done(case, "ReleaseStock"):
        return None
    return StockReserved.FromString(reserved.body or b"").order


def name_of(status: OrderStatus.ValueType) -> str:
    """As people write it, e.g. COMPLETED."""
    return OrderStatus.Name(status).removeprefix("ORDER_STATUS_")


def _last(case: Case, first: T, moves: list[tuple[str, T]]) -> T:
    """What the latest of the steps that were done has made of something; the latest stands first."""
    return next((state for method, state in moves if _done(case, method)), first)


def _done(case: Case, method: str) -> bool:
    return _METHODS[method] in case.done


def _is_done(row: Recorded) -> bool:
    return row.state == State.DONE
