"""Puts together what all databases say of one saga, saga by saga.

Every table is read once, in the order of the sagas' ids, and the tables are merged: whatever their size, one saga is
held in memory, and none is asked for by itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.settings import EVENTS_KEPT_S
from orchestrator.journal import ENDED as SAGA_ENDED
from orchestrator.journal import SagaStatus
from orchestrator.tables import SAGAS, STEPS
from services.notifications.service import NOTIFICATIONS
from services.orders.tables import ENDED as ORDER_ENDED
from services.orders.tables import ORDERS
from services.participant.ledger import State
from services.participant.participant import ARRIVALS, LEDGER
from services.payments.tables import AUTHORIZATIONS
from services.shipping.tables import BOOKINGS
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination

StepKey = tuple[str, str]  # method and step key
Row = Any  # of a query, whose columns are told apart by their places
Put = Callable[["Case", str, list[Row]], None]  # puts a part's rows into a case

# Rows that are fetched at once.
_ROWS = 1000


class Recorded(NamedTuple):
    """A step, as its ledger knows it."""

    state: str
    event: str
    due: str | None
    digest: bytes | None
    outcome: bytes | None
    body: bytes | None


class Placed(NamedTuple):
    """An order, as its own service knows it."""

    order: Order
    status: OrderStatus.ValueType
    updated_us: int
    tracking_number: str
    asked: Coordination.ValueType
    taken: Coordination.ValueType


class Payment(NamedTuple):
    """An authorisation."""

    customer_id: str
    currency: str
    amount_nanos: int
    state: str


class Booking(NamedTuple):
    """A carrier's booking."""

    state: str
    tracking_number: str


class Journaled(NamedTuple):
    """A step, as the orchestrator knows it."""

    method: str
    step_key: str
    status: int
    digest: bytes
    outcome: bytes


class SagaRow(NamedTuple):
    """A saga, as the orchestrator knows it."""

    process: str
    status: SagaStatus.ValueType
    ended_us: int


@dataclass
class Case:
    """What all databases say of one saga. Those that were not read say nothing."""

    id: str
    horizon_us: int  # what ended before it may be pruned
    order: Placed | None = None
    ledger: dict[StepKey, Recorded] = field(default_factory=dict)  # of all services
    done: set[str] = field(default_factory=set)  # methods of which a step is done, as the ledgers say
    known_to: set[str] = field(default_factory=set)  # services whose ledgers have a row of it
    arrivals: dict[str, set[str]] = field(default_factory=dict)  # events, by the method that waits for them
    payment: Payment | None = None
    booking: Booking | None = None
    notified: list[int] = field(default_factory=list)  # of which statuses
    saga: SagaRow | None = None
    journal: list[Journaled] = field(default_factory=list)

    @property
    def is_old(self) -> bool:
        """Whether it ended so long ago that ledgers may have forgotten it."""
        order, saga = self.order, self.saga
        return (order is not None and order.status in ORDER_ENDED and order.updated_us < self.horizon_us) or (
            saga is not None and saga.status in SAGA_ENDED and saga.ended_us < self.horizon_us
        )

    def is_forgotten_by(self, service: str) -> bool:
        """Whether a service's ledger has pruned it, so that nothing of it can be asked for there.

        One that may be pruned by its age, and of which the ledger has no row at all, is taken to be.
        """
        return service not in self.known_to and self.is_old


def cases(connections: Mapping[str, Connection], now_us: int) -> Iterator[Case]:
    """Every saga of which any of the databases knows, in the order of the ids."""
    horizon_us = now_us - EVENTS_KEPT_S * 1_000_000
    sources = _sources(connections)
    groups = [_groups(number, connections[one.part], one.query) for number, one in enumerate(sources)]
    for saga_id, found in groupby(heapq.merge(*groups, key=itemgetter(0)), key=itemgetter(0)):
        case = Case(saga_id, horizon_us)
        for _, number, rows in found:
            sources[number].put(case, sources[number].part, rows)
        yield case


def _groups(number: int, connection: Connection, query: sql.Select[Any]) -> Iterator[tuple[str, int, list[Row]]]:
    """The rows of a query by saga, whose id stands first."""
    column = next(iter(query.selected_columns))
    # In one order everywhere: that of the bytes, whatever the language of the database.
    order = sql.collate(column, "C") if connection.dialect.name == "postgresql" else column
    rows = connection.execute(query.order_by(order).execution_options(yield_per=_ROWS))
    for saga_id, group in groupby(rows, key=itemgetter(0)):
        yield saga_id, number, list(group)


class _Source(NamedTuple):
    """A table of a part's database, and where its rows of a saga go."""

    part: str
    query: sql.Select[Any]
    put: Put


def _sources(parts: Iterable[str]) -> list[_Source]:
    found = []
    for part in parts:
        if part != "orchestrator":
            found += [_Source(part, _LEDGER, _put_ledger), _Source(part, _ARRIVALS, _put_arrivals)]
        found += [_Source(part, query, put) for query, put in _OWN.get(part, ())]
    return found


_LEDGER = sql.select(
    *(LEDGER.c.saga_id, LEDGER.c.method, LEDGER.c.step_key),
    *(LEDGER.c.state, LEDGER.c.event, LEDGER.c.due, LEDGER.c.digest, LEDGER.c.outcome, LEDGER.c.body),
)
_ARRIVALS = sql.select(ARRIVALS.c.saga_id, ARRIVALS.c.method, ARRIVALS.c.event)
_ORDERS = sql.select(
    *(ORDERS.c.order_id, ORDERS.c.body, ORDERS.c.status, ORDERS.c.updated_us),
    *(ORDERS.c.tracking_number, ORDERS.c.asked, ORDERS.c.taken),
)
_PAYMENTS = sql.select(
    *(AUTHORIZATIONS.c.order_id, AUTHORIZATIONS.c.customer_id),
    *(AUTHORIZATIONS.c.currency, AUTHORIZATIONS.c.amount_nanos, AUTHORIZATIONS.c.state),
)
_BOOKINGS = sql.select(BOOKINGS.c.order_id, BOOKINGS.c.state, BOOKINGS.c.tracking_number)
_NOTIFICATIONS = sql.select(NOTIFICATIONS.c.order_id, NOTIFICATIONS.c.status)
_SAGAS = sql.select(SAGAS.c.saga_id, SAGAS.c.process, SAGAS.c.status, SAGAS.c.ended_us)
_STEPS = sql.select(
    *(STEPS.c.saga_id, STEPS.c.method, STEPS.c.step_key, STEPS.c.status, STEPS.c.digest, STEPS.c.outcome)
)


def _put_ledger(case: Case, part: str, rows: list[Row]) -> None:
    case.known_to.add(part)
    for _, method, step_key, *recorded in rows:
        row = case.ledger[method, step_key] = Recorded(*recorded)
        if row.state == State.DONE:
            case.done.add(method)


def _put_arrivals(case: Case, _part: str, rows: list[Row]) -> None:
    for _, method, event in rows:
        case.arrivals.setdefault(method, set()).add(event)


def _put_order(case: Case, _part: str, rows: list[Row]) -> None:
    _, body, *rest = rows[0]
    case.order = Placed(Order.FromString(body), *rest)


def _put_payment(case: Case, _part: str, rows: list[Row]) -> None:
    case.payment = Payment(*rows[0][1:])


def _put_booking(case: Case, _part: str, rows: list[Row]) -> None:
    case.booking = Booking(*rows[0][1:])


def _put_notifications(case: Case, _part: str, rows: list[Row]) -> None:
    case.notified = [status for _, status in rows]


def _put_saga(case: Case, _part: str, rows: list[Row]) -> None:
    case.saga = SagaRow(*rows[0][1:])


def _put_journal(case: Case, _part: str, rows: list[Row]) -> None:
    case.journal = [Journaled(*row[1:]) for row in rows]


_OWN: dict[str, list[tuple[sql.Select[Any], Put]]] = {
    "orders": [(_ORDERS, _put_order)],
    "payments": [(_PAYMENTS, _put_payment)],
    "shipping": [(_BOOKINGS, _put_booking)],
    "notifications": [(_NOTIFICATIONS, _put_notifications)],
    "orchestrator": [(_SAGAS, _put_saga), (_STEPS, _put_journal)],
}
