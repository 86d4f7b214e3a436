"""One row for each booking: BOOKED becomes DISPATCHED or CANCELLED, once."""

from __future__ import annotations

import sqlalchemy as sql

METADATA = sql.MetaData()

BOOKED, DISPATCHED, CANCELLED = "BOOKED", "DISPATCHED", "CANCELLED"

BOOKINGS = sql.Table(
    "bookings",
    METADATA,
    sql.Column("order_id", sql.String(64), primary_key=True),
    sql.Column("country", sql.String(2), nullable=False),
    sql.Column("state", sql.String(16), nullable=False),
    sql.Column("tracking_number", sql.String(64), nullable=False),
)


def book(order_id: str, country: str) -> sql.Insert:
    """Books a carrier."""
    return sql.insert(BOOKINGS).values(order_id=order_id, country=country, state=BOOKED, tracking_number="")


def settle(order_id: str, state: str, tracking_number: str = "") -> sql.Update:
    """Dispatches or cancels what is booked; touches no row where nothing is."""
    booked = (BOOKINGS.c.order_id == order_id) & (BOOKINGS.c.state == BOOKED)
    return sql.update(BOOKINGS).where(booked).values(state=state, tracking_number=tracking_number)
