"""A tracker on tables of its own, and what the broker has of its sagas: events and dead letters, with their times."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql
from google.protobuf.message import Message
from sqlalchemy import Connection

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from eventbus.consumer import Delivery
from eventbus.dead_letters import DeadLetter
from eventbus.envelope import CHOREOGRAPHED
from mesh.changes import Changes
from mesh.inline_database import InlineDatabase
from orchestrator import store
from orchestrator.journal import Journal
from orchestrator.picture import Picture
from orchestrator.stalled import Stalled
from orchestrator.tables import MAIL, SAGAS, STEPS
from orchestrator.tracker import Tracker
from shop.orders.v1.order_pb2 import Order
from tests.unit.orchestrator.engine_bench import CONTRACT
from tests.unit.participant.participant_bench import an_event

FORWARD = [
    "orders.OrderPlaced",
    "inventory.StockReserved",
    "payments.PaymentAuthorized",
    "shipping.ShipmentBooked",
    "orders.OrderConfirmed",
    "payments.PaymentCaptured",
    "shipping.ShipmentDispatched",
    "orders.OrderCompleted",
]
BACK = [
    "orders.OrderPlaced",
    "inventory.StockReserved",
    "payments.PaymentDeclined",
    "orders.OrderCancelled",
    "inventory.StockReleased",
    "payments.PaymentVoided",
    "shipping.BookingCancelled",
    "orders.OrderCompensated",
]
# Payment waits for ever.
BLOCKED = ["orders.OrderPlaced", "inventory.StockReserved", "shipping.ShipmentBooked"]
FIRST_US = 1_795_000_000_000_000
DEAD = 100  # of when letters died, in milliseconds after the first event
STALLED_AFTER_S = 15.0
TABLES = (SAGAS, STEPS, MAIL)


def up_to_date(_: float) -> bool:
    """As Tracker.is_behind says it of one that has read all."""
    return False


class FakeClock:
    """Stands where it is put."""

    def __init__(self, time_us: int) -> None:
        self.time_us = time_us

    def now_us(self) -> int:
        return self.time_us


class Tracking:
    """A tracker and a finder of stalled sagas, on one database."""

    def __init__(self) -> None:
        self.clock = FakeClock(FIRST_US)
        self.database = InlineDatabase(store.METADATA)
        self.tracker = Tracker(CONTRACT, self.database, Changes())
        self.stalled = Stalled(CONTRACT, self.database, Changes(), list, up_to_date, STALLED_AFTER_S, self.clock)

    async def see(self, event: Message, style: str = CHOREOGRAPHED, *, at_ms: int = 0) -> None:
        """An event as the broker stored it so many milliseconds after the first one."""
        stored_us = FIRST_US + at_ms * 1000
        delivery = Delivery(event.DESCRIPTOR.full_name, event.SerializeToString(), style, "", 1, 1, stored_us)
        await self.tracker.handle(delivery)

    async def see_all(self, order: Order, names: list[str], *, from_ms: int = 0) -> None:
        """Events a millisecond apart."""
        for at_ms, name in enumerate(names, from_ms):
            await self.see(an_event(name, order), at_ms=at_ms)

    async def see_dead(self, order: Order, name: str, service: str, *, at_ms: int, id: int = 1) -> None:
        """A dead letter of an event that was stored a moment before."""
        event = an_event(name, order)
        letter = DeadLetter(
            service=service,
            event=event.DESCRIPTOR.full_name,
            style=CHOREOGRAPHED,
            body=event.SerializeToString(),
            reason="SOME_REASON",
            message="it was too much",
            deliveries=12,
            sequence=7,
            stored_us=FIRST_US + (at_ms - DEAD) * 1000,
            replay="",
            id=id,
            died_us=FIRST_US + at_ms * 1000,
        )
        await self.tracker.read_dead_letter(letter)

    async def find_stalled(self, *, at_ms: int) -> int:
        """A look for stalled sagas."""
        self.clock.time_us = FIRST_US + at_ms * 1000
        return await self.stalled.mark()

    async def saga(self, order: Order) -> Journal | None:
        """As the tables have it."""
        return await self.database.run(lambda tx: store.load(tx, order.order_id))

    async def known(self, order: Order) -> Journal:
        """One that is there."""
        saga = await self.saga(order)
        assert saga is not None
        return saga

    async def all_rows(self) -> list[list[Any]]:
        """Every row of every table, as it lies there."""

        def read(tx: Connection) -> list[list[Any]]:
            return [[tuple(row) for row in tx.execute(sql.select(t).order_by(*t.primary_key))] for t in TABLES]

        return await self.database.run(read)

    async def forget_all(self) -> None:
        """Leaves the tables empty."""
        await self.database.run(lambda tx: [tx.execute(sql.delete(table)) for table in TABLES])

    async def picture(self, order: Order, *, at_ms: int = 0) -> api.Saga:
        """As GetSaga shows it."""
        self.clock.time_us = FIRST_US + at_ms * 1000
        return await Picture(CONTRACT, self.database, STALLED_AFTER_S, self.clock).of(await self.known(order))
