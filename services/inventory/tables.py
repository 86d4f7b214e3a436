"""The stock of each article, and the statements that move it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql

from mesh.sql import Insert, insert

METADATA = sql.MetaData()

STOCK = sql.Table(
    "stock",
    METADATA,
    sql.Column("sku", sql.String(64), primary_key=True),
    sql.Column("on_hand", sql.BigInteger, nullable=False),
    sql.Column("reserved", sql.BigInteger, nullable=False),
    # What SetStock made of it, so that the books can be checked: on_hand + reserved = supplied, always.
    sql.Column("supplied", sql.BigInteger, nullable=False),
    sql.CheckConstraint("on_hand >= 0 AND reserved >= 0"),
)


def reserve(sku: str, quantity: int) -> sql.Update:
    """Moves pieces from on hand to reserved; touches no row where there are too few."""
    enough = (STOCK.c.sku == sku) & (STOCK.c.on_hand >= quantity)
    moved = {"on_hand": STOCK.c.on_hand - quantity, "reserved": STOCK.c.reserved + quantity}
    return sql.update(STOCK).where(enough).values(moved)


def give_back(sku: str, quantity: int) -> sql.Update:
    """Moves pieces from reserved to on hand."""
    moved = {"on_hand": STOCK.c.on_hand + quantity, "reserved": STOCK.c.reserved - quantity}
    return sql.update(STOCK).where(STOCK.c.sku == sku).values(moved)


def set_on_hand(sku: str, on_hand: int) -> Insert:
    """Sets what lies on hand; what is reserved stays so."""
    fresh = insert(STOCK).values(sku=sku, on_hand=on_hand, reserved=0, supplied=on_hand)
    return fresh.on_conflict_do_update(
        index_elements=["sku"], set_={"on_hand": on_hand, "supplied": STOCK.c.reserved + on_hand}
    )


def select_stock(sku: str) -> sql.Select[Any]:
    """What lies on hand and what is reserved."""
    return sql.select(STOCK.c.on_hand, STOCK.c.reserved).where(STOCK.c.sku == sku)
