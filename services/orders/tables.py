"""The orders, and the statements that move one along.

    PENDING ── confirm ──▶ CONFIRMED ── complete ──▶ COMPLETED
       └────── cancel ───▶ CANCELLED ── close ─────▶ COMPENSATED

Each move is a compare-and-set on the order's one row. The first two are the sides of the pivot: whichever comes
first wins, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sql
from sqlalchemy import Connection

from eventbus.bus import Extent
from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED
from eventbus.streams import EVENTS
from mesh import identity
from mesh.paging import Cursor
from mesh.sql import Insert, Prepared, insert
from services.participant.participant import LEDGER
from shop.orders.v1.events_pb2 import OrderCancelled, OrderCompensated, OrderCompleted
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, OrderState

METADATA = sql.MetaData()

ORDERS = sql.Table(
    "orders",
    METADATA,
    sql.Column("order_id", sql.String(64), primary_key=True),
    sql.Column("body", sql.LargeBinary, nullable=False),
    sql.Column("digest", sql.LargeBinary, nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("asked", sql.Integer, nullable=False),
    sql.Column("taken", sql.Integer, nullable=False),  # who drives it; 0: its saga is not known to be started
    sql.Column("tracking_number", sql.String(64), nullable=False),
    sql.Column("placed_us", sql.BigInteger, nullable=False),
    sql.Column("updated_us", sql.BigInteger, nullable=False),
    sql.Column("heals", sql.Integer, nullable=False),  # how often it was started again since it last moved
)
sql.Index("orders_by_age", ORDERS.c.placed_us, ORDERS.c.order_id)
# PENDING, CONFIRMED, CANCELLED. As text: an index over these is taken at once for these very words.
_IS_OPEN = sql.text("status IN (1, 2, 4)")
sql.Index("orders_open", ORDERS.c.updated_us, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN)

# What was last seen of the stream of events; one row.
STREAM_SEEN = sql.Table(
    "stream_seen",
    METADATA,
    sql.Column("stream", sql.String(64), primary_key=True),
    sql.Column("created_us", sql.BigInteger, nullable=False),
    sql.Column("first", sql.BigInteger, nullable=False),
    sql.Column("last", sql.BigInteger, nullable=False),
)

OPEN = (
    OrderStatus.ORDER_STATUS_PENDING,
    OrderStatus.ORDER_STATUS_CONFIRMED,
    OrderStatus.ORDER_STATUS_CANCELLED,
)
ENDED = (OrderStatus.ORDER_STATUS_COMPLETED, OrderStatus.ORDER_STATUS_COMPENSATED)
# Those that others hear of in either style.
TELLING_ENDS = tuple(event.DESCRIPTOR.full_name for event in (OrderCancelled, OrderCompensated, OrderCompleted))


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class OrderRow(NamedTuple):
    """One order's row, its columns in the order of the table."""

    order_id: str
    body: bytes
    digest: bytes
    status: OrderStatus.ValueType
    asked: Coordination.ValueType
    taken: Coordination.ValueType
    tracking_number: str
    placed_us: int
    updated_us: int
    heals: int


_ADD = Prepared(insert(ORDERS).on_conflict_do_nothing())
_FIND = Prepared(sql.select(ORDERS).where(ORDERS.c.order_id == sql.bindparam("id")))
_MOVE = Prepared(
    sql.update(ORDERS)
    .where(ORDERS.c.order_id == sql.bindparam("id"), ORDERS.c.status == sql.bindparam("before"))
    .values(
        status=sql.bindparam("after"),
        tracking_number=sql.bindparam("number"),
        updated_us=sql.bindparam("at_us"),
        heals=0,
    )
)


def add(tx: Connection, order: Order, asked: Coordination.ValueType, taken: Coordination.ValueType) -> bool:
    """Adds an order as PENDING; never changes an existing row, and says False of it."""
    body, digest, at_us = order.SerializeToString(), identity.digest(order), now_us()
    row = OrderRow(order.order_id, body, digest, OrderStatus.ORDER_STATUS_PENDING, asked, taken, "", at_us, at_us, 0)
    return bool(_ADD.run(tx, row))


def find(tx: Connection, order_id: str) -> list[OrderRow]:
    """One order, or none."""
    return [OrderRow(*row) for row in _FIND.rows(tx, (order_id,))]


def move(
    tx: Connection,
    order_id: str,
    before: OrderStatus.ValueType,
    after: OrderStatus.ValueType,
    tracking_number: str = "",
) -> bool:
    """Moves an order from one status to another; touches no row where it is in a third, and says False.

    Each move writes the tracking number: an order has none before it is completed, and moves no further then.
    """
    return bool(_MOVE.run(tx, (after, tracking_number, now_us(), order_id, before)))


def set_asked(order_id: str, asked: Coordination.ValueType) -> sql.Update:
    """Writes the style that PlaceOrder asks for on an order that a step made before: its saga is still to start."""
    unasked = (ORDERS.c.order_id == order_id) & (ORDERS.c.asked == 0)
    return sql.update(ORDERS).where(unasked).values(asked=asked, taken=0)


def set_taken(order_id: str, taken: Coordination.ValueType) -> sql.Update:
    """Writes the style that an order's saga was started in, the first time."""
    unset = (ORDERS.c.order_id == order_id) & (ORDERS.c.taken == 0)
    return sql.update(ORDERS).where(unset).values(taken=taken, updated_us=now_us())


def select_page(status: OrderStatus.ValueType, after: Cursor | None, limit: int) -> sql.Select[Any]:
    """Orders, newest first, from behind the cursor."""
    query = sql.select(ORDERS).order_by(ORDERS.c.placed_us.desc(), ORDERS.c.order_id.desc()).limit(limit)
    if status:
        query = query.where(ORDERS.c.status == status)
    if after:
        query = query.where(sql.tuple_(ORDERS.c.placed_us, ORDERS.c.order_id) < (after.time_us, after.id))
    return query


_UNSTARTED = Prepared(
    sql.select(ORDERS)
    .where(
        _IS_OPEN,
        ORDERS.c.taken == 0,
        ORDERS.c.placed_us < sql.bindparam("before_us"),
        ORDERS.c.asked == sql.bindparam("of_style"),
    )
    .order_by(ORDERS.c.placed_us)
    .limit(sql.bindparam("at_once"))
)


def unstarted(asked: Coordination.ValueType, before_us: int, limit: int) -> Callable[[Connection], list[OrderState]]:
    """Orders that were placed in a style, and whose saga is not known to be started."""
    return lambda tx: [state_of(OrderRow(*row)) for row in _UNSTARTED.rows(tx, (before_us, asked, limit))]


_MOVING = Prepared(
    sql.select(sql.func.count()).select_from(ORDERS).where(_IS_OPEN, ORDERS.c.updated_us > sql.bindparam("since_us"))
)


def count_moving(stands_still_s: float) -> Callable[[Connection], int]:
    """How many open orders have got on within so many seconds."""
    since_us = now_us() - int(stands_still_s * 1e6)
    return lambda tx: int(_MOVING.rows(tx, (since_us,))[0][0])


class Stalled(NamedTuple):
    """An open order without progress."""

    order: Order
    updated_us: int
    heals: int


def stalled(now_us: int, after_s: float, heals_max: int, limit: int) -> Callable[[Connection], list[Stalled]]:
    """Open orders without progress that choreography may finish, whichever side of the pivot they are on.

    Without progress for `after_s` seconds, or twice as long for every start again. Those that were started again
    `heals_max` times come once more, to be given up.
    """
    after_us = int(after_s * 1e6)
    before_us = [now_us - after_us * 2**heals for heals in range(heals_max + 1)]
    statement, given = _stalled(heals_max), (before_us[0], *before_us, limit)
    return lambda tx: [
        Stalled(Order.FromString(body), updated_us, heals) for body, updated_us, heals in statement.rows(tx, given)
    ]


@cache
def _stalled(heals_max: int) -> Prepared:
    # Not where the orchestrator was asked for by name, unless it has handed the case over: then events have come, or
    # were lost and services.orders.given has noticed. An order that was never placed, only cancelled, say, asked for
    # no style.
    event_came = sql.exists().where(LEDGER.c.saga_id == ORDERS.c.order_id, LEDGER.c.choreographed)
    given = ORDERS.c.taken == Coordination.COORDINATION_CHOREOGRAPHED
    by_events = (ORDERS.c.asked != Coordination.COORDINATION_ORCHESTRATED) | given | event_came
    # A comparison with a constant for each count, so that the index over updated_us is of use.
    waited = sql.or_(
        *(
            (ORDERS.c.heals == heals) & (ORDERS.c.updated_us < sql.bindparam(f"before_{heals}_us"))
            for heals in range(heals_max + 1)
        )
    )
    quiet = ORDERS.c.updated_us < sql.bindparam("before_us")
    columns = (ORDERS.c.body, ORDERS.c.updated_us, ORDERS.c.heals)
    statement = sql.select(*columns).where(_IS_OPEN, quiet, waited, by_events, ORDERS.c.taken != 0)
    return Prepared(statement.order_by(ORDERS.c.updated_us).limit(sql.bindparam("at_once")))


def count_heal(order_id: str, seen_us: int, now_us: int, count: int = 1) -> sql.Update:
    """Writes that an order is started again; touches no row where it moved since it was last updated at `seen_us`."""
    unmoved = (ORDERS.c.order_id == order_id) & (ORDERS.c.updated_us == seen_us)
    return sql.update(ORDERS).where(unmoved).values(heals=ORDERS.c.heals + count, updated_us=now_us)


def tell_ends_again(since_us: int, until_us: int, replay: str) -> sql.Update:
    """Makes the events that tell of orders' ends due again, as a replay.

    For orders that were there at the one time, and have moved since the other. Those that are cancelled and not closed
    are among them: customers hear of that, and calls may close an order without another event.
    """
    told = ORDERS.c.status.in_((*ENDED, OrderStatus.ORDER_STATUS_CANCELLED))
    ended = sql.select(ORDERS.c.order_id).where(told, ORDERS.c.placed_us <= until_us, ORDERS.c.updated_us >= since_us)
    # As services.participant.steps has it: what an event of the choreography ever triggered, goes on by events.
    others = LEDGER.alias("others")
    by_events = sql.exists().where(others.c.saga_id == LEDGER.c.saga_id, others.c.choreographed)
    style = sql.case((by_events, CHOREOGRAPHED), else_=ORCHESTRATED)
    tells = LEDGER.c.saga_id.in_(ended) & LEDGER.c.event.in_(TELLING_ENDS)
    return sql.update(LEDGER).where(tells).values(due=style, replay=replay)


_SEEN = Prepared(
    sql.select(STREAM_SEEN.c.created_us, STREAM_SEEN.c.first, STREAM_SEEN.c.last).where(STREAM_SEEN.c.stream == EVENTS)
)


def seen(tx: Connection) -> Extent | None:
    """The stream of events, as it was last seen."""
    found = _SEEN.rows(tx)
    return Extent(*found[0]) if found else None


def saw(extent: Extent) -> Insert:
    """Writes what was seen of the stream of events."""
    row = {"created_us": extent.created_us, "first": extent.first, "last": extent.last}
    statement = insert(STREAM_SEEN).values(stream=EVENTS, **row)
    return statement.on_conflict_do_update(index_elements=["stream"], set_=row)


class Still(NamedTuple):
    """An open order, and since when its row has not changed."""

    updated_us: int
    order_id: str
    order: Order


_BY_LAST_MOVE = (ORDERS.c.updated_us, ORDERS.c.order_id)
_AFTER = sql.tuple_(sql.bindparam("after_us", type_=sql.BigInteger), sql.bindparam("after_id", type_=sql.String))
_STILL = Prepared(
    sql.select(*_BY_LAST_MOVE, ORDERS.c.body)
    .where(
        _IS_OPEN,
        ORDERS.c.updated_us < sql.bindparam("before_us"),
        ORDERS.c.heals < sql.bindparam("heals_max"),
        ORDERS.c.asked == sql.bindparam("of_style"),
        ORDERS.c.taken == sql.bindparam("of_side"),
        sql.tuple_(*_BY_LAST_MOVE) > _AFTER,
    )
    .order_by(*_BY_LAST_MOVE)
    .limit(sql.bindparam("at_once"))
)


def still(
    asked: Coordination.ValueType,
    taken: Coordination.ValueType,
    before_us: int,
    heals_max: int,
    after: tuple[int, str],
    limit: int,
) -> Callable[[Connection], list[Still]]:
    """Open orders of one style and side that did not change since `before_us`, longest first, from behind `after`."""
    given = (before_us, heals_max, asked, taken, *after, limit)
    return lambda tx: [
        Still(updated_us, order_id, Order.FromString(body)) for updated_us, order_id, body in _STILL.rows(tx, given)
    ]


def take_over(order_id: str, seen_us: int, now_us: int, taken: Coordination.ValueType, count: int = 1) -> sql.Update:
    """Writes that the other side drives an order now; touches no row that changed since `seen_us`.

    That counts as one of the times that it may be started again.
    """
    unmoved = (ORDERS.c.order_id == order_id) & (ORDERS.c.updated_us == seen_us) & ORDERS.c.status.in_(OPEN)
    return sql.update(ORDERS).where(unmoved).values(taken=taken, heals=ORDERS.c.heals + count, updated_us=now_us)


def state_of(row: OrderRow) -> OrderState:
    """A row as the API shows it."""
    state = OrderState(
        order=Order.FromString(row.body),
        status=row.status,
        coordination_asked=row.asked,
        coordination_taken=row.taken,
        tracking_number=row.tracking_number,
    )
    state.placed.FromMicroseconds(row.placed_us)
    state.updated.FromMicroseconds(row.updated_us)
    return state
