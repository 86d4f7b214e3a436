"""Stock and money, over all sagas: nothing comes from nowhere, and nothing goes missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from console.audit.cases import Case
from console.audit.tables import held_by
from services.inventory.tables import STOCK
from services.payments.tables import CAPTURED, OPEN, VOIDED
from services.shipping.tables import DISPATCHED


class Stock:
    """Per article, on hand + reserved is what SetStock made it, never negative; and reserved is what orders hold."""

    def __init__(self) -> None:
        self.shown: dict[str, dict[str, int]] = {}
        self._held: Counter[str] = Counter()
        self._dispatched: Counter[str] = Counter()

    def count(self, case: Case) -> bool:
        """Counts what a saga holds; whether it holds anything."""
        held = held_by(case)
        if held is not None:
            self._held.update(_pieces(held.lines))
        if case.order is not None and case.booking is not None and case.booking.state == DISPATCHED:
            self._dispatched.update(_pieces(case.order.order.lines))
        return held is not None

    def judge(self, inventory: Connection) -> Iterator[str]:
        """Once all have been counted; says what is wrong."""
        for row in inventory.execute(sql.select(STOCK).order_by(STOCK.c.sku)):
            gone, held = self._dispatched[row.sku], self._held.pop(row.sku, 0)
            self.shown[row.sku] = {"on_hand": row.on_hand, "reserved": row.reserved - gone, "dispatched": gone}
            if row.on_hand < 0 or row.reserved < 0 or row.on_hand + row.reserved != row.supplied:
                yield f"article {row.sku}: {row.on_hand} on hand + {row.reserved} reserved is not {row.supplied}"
            if row.reserved != held:
                yield f"article {row.sku}: {row.reserved} reserved, but the orders hold {held}"
        for sku, pieces in self._held.items():
            yield f"article {sku}: the orders hold {pieces}, and there is no such article"


class Money:
    """Per account, authorised = captured + voided + open."""

    def __init__(self) -> None:
        self._sums: dict[str, Counter[str]] = defaultdict(Counter)

    def count(self, case: Case) -> None:
        """Counts what is held of a customer's money, taken and given back."""
        if (payment := case.payment) is not None:
            sums = {"authorized": payment.amount_nanos, payment.state: payment.amount_nanos}
            self._sums[f"{payment.customer_id} {payment.currency}"].update(sums)

    @property
    def shown(self) -> dict[str, dict[str, int]]:
        """By customer and currency, in nanos."""
        return {
            account: {"authorized": sums["authorized"]}
            | {state.lower(): sums[state] for state in (CAPTURED, VOIDED, OPEN)}
            for account, sums in sorted(self._sums.items())
        }

    def judge(self) -> Iterator[str]:
        """Once all have been counted; says what is wrong."""
        for account, sums in self.shown.items():
            if sums["authorized"] != sums["captured"] + sums["voided"] + sums["open"]:
                yield f"account {account}: authorised is not captured + voided + open"


def _pieces(lines: Any) -> Counter[str]:
    pieces: Counter[str] = Counter()
    for line in lines:
        pieces[line.sku] += line.quantity
    return pieces
