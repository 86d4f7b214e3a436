"""Orders against what they brought about: one that completed has all of its effects, one that was compensated none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from console.audit.cases import Case
from console.audit.tables import held_by, name_of
from services.payments.tables import CAPTURED, NANOS, VOIDED
from services.shipping.tables import CANCELLED, DISPATCHED
from shop.orders.v1.order_pb2 import OrderStatus

_EFFECTS: dict[OrderStatus.ValueType, dict[str, set[Any]]] = {
    OrderStatus.ORDER_STATUS_COMPLETED: {"reserved": {True}, "payment": {CAPTURED}, "booking": {DISPATCHED}},
    OrderStatus.ORDER_STATUS_COMPENSATED: {
        "reserved": {False},
        "payment": {None, VOIDED},
        "booking": {None, CANCELLED},
    },
}


def an_ended_order_has_all_of_its_effects_or_none(case: Case) -> Iterator[str]:
    """Also where ledgers have forgotten it: these are the services' own tables."""
    if case.order is None or case.order.status not in _EFFECTS:
        return
    found = {
        "reserved": held_by(case) is not None,
        "payment": case.payment.state if case.payment else None,
        "booking": case.booking.state if case.booking else None,
    }
    for what, right in _EFFECTS[case.order.status].items():
        if found[what] not in right:
            yield f"order {case.id} is {name_of(case.order.status)}, but its {what} is {found[what]}"


def what_is_authorised_is_the_total(case: Case) -> Iterator[str]:
    """Never more, never less, of the customer who ordered."""
    if case.order is None or case.payment is None:
        return
    order, payment = case.order.order, case.payment
    if payment.amount_nanos != order.total.units * NANOS + order.total.nanos:
        yield f"order {case.id}: {payment.amount_nanos} nanos authorised, which is not its total"
    if (payment.customer_id, payment.currency) != (order.customer_id, order.total.currency_code):
        yield f"order {case.id}: {payment.currency} of {payment.customer_id} authorised, which the order does not say"


def the_parcel_has_one_number(case: Case) -> Iterator[str]:
    """What orders tells the customer is what shipping has given."""
    if case.order is not None and case.order.status == OrderStatus.ORDER_STATUS_COMPLETED and case.booking is not None:
        told, given = case.order.tracking_number, case.booking.tracking_number
        if told != given:
            yield f"order {case.id}: the parcel's number is {told!r} for orders, and {given!r} for shipping"


def what_is_reserved_is_what_was_ordered(case: Case) -> Iterator[str]:
    """Inventory holds the lines of this very order."""
    held = held_by(case)
    if case.order is not None and held is not None and held.lines != case.order.order.lines:
        yield f"order {case.id}: inventory holds other lines for it than were ordered"
