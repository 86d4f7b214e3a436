"""The books of all services: reads every database of a mesh, stopped or live, and says whether they add up.

What must hold once an order has ended:
- an order that completed has all of its effects: stock reserved, money captured, parcel dispatched;
- one that was compensated has none: stock put back, money voided or never held, no carrier booked;
- per article, on hand + reserved is what SetStock made it, never negative, and reserved is what the orders hold;
- no event that is due waits in an outbox;
- the orchestrator's row of its saga, whoever drove it, says the same; it may come later.
Orders that have not ended are listed apart and not judged. On a live mesh the databases are read one after the
other, so what moves meanwhile is read again.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sql

from ensemble.orchestrator.v1.orchestrator_pb2 import SagaStatus
from mesh.database import DatabaseLost, DatabaseMissing
from mesh.databases import open_read_only
from mesh.settings import EVENTS_KEPT_S, Settings
from orchestrator.tables import SAGAS
from services import SERVICES
from services.inventory.tables import STOCK
from services.orders.tables import ORDERS
from services.participant.ledger import State
from services.participant.participant import LEDGER
from services.payments.tables import AUTHORIZATIONS, CAPTURED, OPEN, VOIDED
from services.shipping.tables import BOOKED, BOOKINGS, CANCELLED, DISPATCHED
from shop.inventory.v1.events_pb2 import StockReserved
from shop.orders.v1.order_pb2 import Order, OrderStatus

PROCESS = "fulfil-order"
RESERVE = "shop.inventory.v1.InventoryService.ReserveStock"
RELEASE = "shop.inventory.v1.InventoryService.ReleaseStock"

COMPLETED = OrderStatus.ORDER_STATUS_COMPLETED
COMPENSATED = OrderStatus.ORDER_STATUS_COMPENSATED

# A live mesh moves while it is read: what looks wrong is looked at again, so many times.
LOOKS_MAX = 5
LOOK_AGAIN_S = 0.5


class NoBooks(Exception):
    """There are no databases to read."""


@dataclass
class Books:
    """What was found."""

    orders: dict[str, int] = field(default_factory=dict)  # by status
    stock: dict[str, dict[str, int]] = field(default_factory=dict)  # by article
    money_nanos: dict[str, dict[str, int]] = field(default_factory=dict)  # by customer and currency
    in_flight: list[str] = field(default_factory=list)  # order ids
    strays: list[str] = field(default_factory=list)  # reserved by somebody's plain call, and no order: not judged
    unpublished: dict[str, int] = field(default_factory=dict)  # by service
    behind: list[str] = field(default_factory=list)  # order ids: ended, and for the orchestrator not yet
    faults: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


class _Order(NamedTuple):
    """An order, as its own service knows it."""

    order: Order
    status: OrderStatus.ValueType
    updated_us: int


@dataclass
class _Read:
    """What the databases say, as read."""

    orders: dict[str, _Order]
    stock: list[sql.Row[Any]]
    authorizations: dict[str, sql.Row[Any]]
    bookings: dict[str, str]
    reservations: dict[str, Order]
    due: dict[str, int]
    sagas: dict[str, SagaStatus.ValueType]


def audit(settings: Settings) -> Books:
    """Audits a mesh by its databases; raises NoBooks."""
    books = _judge(_read(settings))
    for _ in range(LOOKS_MAX):
        if not books.faults:
            break
        time.sleep(LOOK_AGAIN_S)
        books = _judge(_read(settings))
    return books


def _read(settings: Settings) -> _Read:
    try:
        engines = {name: open_read_only(settings, name) for name in SERVICES}
    except DatabaseMissing as error:
        raise NoBooks(f"{error}: name the mesh's folder with --data, or its PostgreSQL with --database") from None
    except DatabaseLost as error:
        raise NoBooks(str(error)) from None

    def rows(service: str, query: sql.Select[Any]) -> list[sql.Row[Any]]:
        with engines[service].connect() as connection:
            return list(connection.execute(query))

    try:
        # Orders are read before the effects: an effect comes before the status that tells of it.
        orders = {
            row.order_id: _Order(Order.FromString(row.body), row.status, row.updated_us)
            for row in rows(
                "orders", sql.select(ORDERS.c.order_id, ORDERS.c.body, ORDERS.c.status, ORDERS.c.updated_us)
            )
        }
        steps = sql.select(LEDGER.c.saga_id, LEDGER.c.method, LEDGER.c.state, LEDGER.c.body)
        ledger = rows("inventory", steps)
        due = sql.select(sql.func.count()).select_from(LEDGER).where(LEDGER.c.due.is_not(None))
        return _Read(
            orders=orders,
            stock=rows("inventory", sql.select(STOCK).order_by(STOCK.c.sku)),
            authorizations={row.order_id: row for row in rows("payments", sql.select(AUTHORIZATIONS))},
            bookings={row.order_id: row.state for row in rows("shipping", sql.select(BOOKINGS))},
            reservations=_reserved(ledger) | _pruned(orders, {row.saga_id for row in ledger}),
            due={name: int(rows(name, due)[0][0]) for name in SERVICES},
            sagas=_sagas(settings),
        )
    finally:
        for engine in engines.values():
            engine.dispose()


def _sagas(settings: Settings) -> dict[str, SagaStatus.ValueType]:
    """What the orchestrator knows of the orders' sagas; nothing where it has no database here."""
    try:
        engine = open_read_only(settings, "orchestrator")
    except DatabaseMissing:
        return {}
    try:
        with engine.connect() as connection:
            ours = sql.select(SAGAS.c.saga_id, SAGAS.c.status).where(SAGAS.c.process == PROCESS)
            return {row.saga_id: row.status for row in connection.execute(ours)}
    finally:
        engine.dispose()


def _reserved(ledger: list[sql.Row[Any]]) -> dict[str, Order]:
    """What is reserved, as the ledger of inventory knows it."""
    done = {(row.saga_id, row.method): row.body for row in ledger if row.state == State.DONE}
    return {
        saga_id: StockReserved.FromString(body).order
        for (saga_id, method), body in done.items()
        if method == RESERVE and (saga_id, RELEASE) not in done
    }


def _pruned(orders: dict[str, _Order], in_ledger: set[str]) -> dict[str, Order]:
    """What is reserved for orders that inventory's ledger has forgotten, as the orders say.

    An order whose saga may be pruned by its age, and of which the ledger has no row at all, is taken at its word: it
    completed, so its lines are reserved. What can no longer be checked is that this very order's lines were; that the
    sum of all orders' lines is what each article has reserved still is.
    """
    prunable_us = int((time.time() - EVENTS_KEPT_S) * 1e6)
    return {
        order_id: known.order
        for order_id, known in orders.items()
        if known.status == COMPLETED and known.updated_us < prunable_us and order_id not in in_ledger
    }


def _judge(read: _Read) -> Books:
    books = Books()
    by_status = Counter(OrderStatus.Name(status).removeprefix("ORDER_STATUS_") for _, status, _ in read.orders.values())
    books.orders = dict(sorted(by_status.items()))
    books.in_flight = sorted(
        id_ for id_, (_, status, _) in read.orders.items() if status not in (COMPLETED, COMPENSATED)
    )
    books.strays = sorted(set(read.reservations) - set(read.orders))
    books.unpublished = {name: count for name, count in read.due.items() if count}
    _judge_orders(read, books)
    _judge_sagas(read, books)
    _judge_stock(read, books)
    _judge_money(read, books)
    if not books.in_flight:
        books.faults += [f"{name}: {count} events are due and unpublished" for name, count in books.unpublished.items()]
    return books


def _judge_orders(read: _Read, books: Books) -> None:
    expected: dict[OrderStatus.ValueType, tuple[set[Any], set[Any], set[Any]]] = {
        COMPLETED: ({True}, {CAPTURED}, {DISPATCHED}),
        COMPENSATED: ({False}, {None, VOIDED}, {None, CANCELLED}),
    }
    for order_id, (_, status, _) in read.orders.items():
        if status not in expected:
            continue
        authorization = read.authorizations.get(order_id)
        found = (
            order_id in read.reservations,
            authorization.state if authorization else None,
            read.bookings.get(order_id),
        )
        for what, is_, allowed in zip(("reserved", "payment", "booking"), found, expected[status], strict=True):
            if is_ not in allowed:
                name = OrderStatus.Name(status).removeprefix("ORDER_STATUS_")
                books.faults.append(f"order {order_id} is {name}, but its {what} is {is_}")


def _judge_sagas(read: _Read, books: Books) -> None:
    ends = {COMPLETED: SagaStatus.SAGA_STATUS_COMPLETED, COMPENSATED: SagaStatus.SAGA_STATUS_COMPENSATED}
    for order_id, saga in read.sagas.items():
        known = read.orders.get(order_id)
        if known is None or known.status not in ends or saga == ends[known.status]:
            continue
        if saga in ends.values():
            name = OrderStatus.Name(known.status).removeprefix("ORDER_STATUS_")
            books.faults.append(f"order {order_id} is {name}, but its saga is {SagaStatus.Name(saga)}")
        else:
            books.behind.append(order_id)


def _judge_stock(read: _Read, books: Books) -> None:
    held: Counter[str] = Counter()
    for order in read.reservations.values():
        for line in order.lines:
            held[line.sku] += line.quantity
    dispatched: Counter[str] = Counter()
    for order_id, state in read.bookings.items():
        if state == DISPATCHED and order_id in read.orders:
            for line in read.orders[order_id].order.lines:
                dispatched[line.sku] += line.quantity
    for row in read.stock:
        gone = dispatched[row.sku]
        books.stock[row.sku] = {"on_hand": row.on_hand, "reserved": row.reserved - gone, "dispatched": gone}
        if row.on_hand < 0 or row.reserved < 0 or row.on_hand + row.reserved != row.supplied:
            books.faults.append(
                f"article {row.sku}: {row.on_hand} on hand + {row.reserved} reserved is not {row.supplied}"
            )
        if not books.in_flight and row.reserved != held[row.sku]:
            books.faults.append(f"article {row.sku}: {row.reserved} reserved, but the orders hold {held[row.sku]}")


def _judge_money(read: _Read, books: Books) -> None:
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for row in read.authorizations.values():
        sums[f"{row.customer_id} {row.currency}"].update({"authorized": row.amount_nanos, row.state: row.amount_nanos})
    for account, by_state in sorted(sums.items()):
        shown = {"authorized": by_state["authorized"]}
        shown |= {state.lower(): by_state[state] for state in (CAPTURED, VOIDED, OPEN)}
        books.money_nanos[account] = shown
        if shown["authorized"] != shown["captured"] + shown["voided"] + shown["open"]:
            books.faults.append(f"account {account}: authorised is not captured + voided + open")
    for order_id, row in read.authorizations.items():
        known = read.orders.get(order_id)
        if known is not None and row.amount_nanos != known.order.total.units * 10**9 + known.order.total.nanos:
            books.faults.append(f"order {order_id}: {row.amount_nanos} nanos authorised, which is not its total")
    if not books.in_flight:
        books.faults += [f"order {id_}: booked and never settled" for id_, s in read.bookings.items() if s == BOOKED]
