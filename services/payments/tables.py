"""One row for each authorisation, and the statements that change its state: OPEN to CAPTURED or VOIDED, once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql

METADATA = sql.MetaData()

NANOS = 10**9

OPEN, CAPTURED, VOIDED = "OPEN", "CAPTURED", "VOIDED"

AUTHORIZATIONS = sql.Table(
    "authorizations",
    METADATA,
    sql.Column("order_id", sql.String(64), primary_key=True),
    sql.Column("customer_id", sql.String(64), nullable=False, index=True),
    sql.Column("currency", sql.String(3), nullable=False),
    sql.Column("amount_nanos", sql.BigInteger, nullable=False),  # 10^-9 of the currency's unit: no fraction is lost
    sql.Column("state", sql.String(16), nullable=False),
)


def authorize(order_id: str, customer_id: str, currency: str, amount_nanos: int) -> sql.Insert:
    """Holds an amount."""
    return sql.insert(AUTHORIZATIONS).values(
        order_id=order_id, customer_id=customer_id, currency=currency, amount_nanos=amount_nanos, state=OPEN
    )


def settle(order_id: str, state: str) -> sql.Update:
    """Takes or gives back what is held; touches no row where nothing is."""
    held = (AUTHORIZATIONS.c.order_id == order_id) & (AUTHORIZATIONS.c.state == OPEN)
    return sql.update(AUTHORIZATIONS).where(held).values(state=state)


def balances(customer_id: str) -> sql.Select[Any]:
    """Sums by currency and state."""
    columns = (AUTHORIZATIONS.c.currency, AUTHORIZATIONS.c.state)
    # In two parts: the sum of many amounts in nanos does not fit 64 bits.
    units = sql.func.sum(AUTHORIZATIONS.c.amount_nanos // NANOS).label("units")
    nanos = sql.func.sum(AUTHORIZATIONS.c.amount_nanos % NANOS).label("nanos")
    theirs = AUTHORIZATIONS.c.customer_id == customer_id
    return sql.select(*columns, units, nanos).where(theirs).group_by(*columns).order_by(*columns)
