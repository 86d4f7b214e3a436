"""What customers were told, and whether the mesh has kept it in the end.

A promise is an answer that somebody was given. The books (console.audit) say whether the services agree with each
other; this says whether they agree with what they said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sql
from sqlalchemy import Connection

from services.notifications.service import NOTIFICATIONS
from services.orders.tables import ORDERS
from shop.orders.v1.order_pb2 import OrderStatus

COMPLETED, COMPENSATED = OrderStatus.ORDER_STATUS_COMPLETED, OrderStatus.ORDER_STATUS_COMPENSATED
# What a customer is told of, once, by how the order ended.
TOLD = {COMPLETED: COMPLETED, COMPENSATED: OrderStatus.ORDER_STATUS_CANCELLED}


@dataclass
class Promises:
    """By order id."""

    placed: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)  # the customer was told: it is cancelled
    confirmed: set[str] = field(default_factory=set)  # the customer was told: too late, it is confirmed

    def broken(self, connections: Mapping[str, Connection], *, told: bool) -> Iterator[str]:
        """What was promised and is not so, now that everything has ended.

        Without `told` customers may have heard nothing: nobody promises that of a broker that answers before it syncs.
        """
        orders = sql.select(ORDERS.c.order_id, ORDERS.c.status)
        statuses = {row.order_id: row.status for row in connections["orders"].execute(orders)}
        for order_id in sorted(self.placed - statuses.keys()):
            yield f"order {order_id} was taken, and is not there"
        for order_id in sorted(self.cancelled):
            if statuses.get(order_id) != COMPENSATED:
                yield f"order {order_id} was cancelled, and is {_name(statuses.get(order_id))}"
        for order_id in sorted(self.confirmed):
            if statuses.get(order_id) != COMPLETED:
                yield f"order {order_id} was confirmed, and is {_name(statuses.get(order_id))}"
        sent = sql.select(NOTIFICATIONS.c.order_id, NOTIFICATIONS.c.status)
        letters = Counter((row.order_id, row.status) for row in connections["notifications"].execute(sent))
        expected = Counter((order_id, TOLD[status]) for order_id, status in statuses.items() if status in TOLD)
        for (order_id, status), count in sorted((letters - expected).items()):
            yield f"the customer was told {count} times too often that order {order_id} is {_name(status)}"
        for order_id, status in sorted(expected - letters) if told else ():
            yield f"the customer was not told that order {order_id} is {_name(status)}"


def _name(status: int | None) -> str:
    return "not there" if status is None else OrderStatus.Name(status).removeprefix("ORDER_STATUS_")  # type: ignore[arg-type]
