"""The shop's real participants, which count the effects that they commit; made once, and emptied for each trial."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sql
from google.protobuf.message import Message
from google.rpc import status_pb2

from mesh import errors
from mesh.contract import Contract, Method, service_name
from mesh.inline_database import InlineDatabase
from orchestrator.participants import Answer, Indefinite
from services.inventory.service import InventoryService
from services.inventory.tables import STOCK, set_on_hand
from services.orders.service import OrdersService
from services.orders.tables import ORDERS
from services.participant.local import LocalParticipant, tables_of
from services.participant.outbox import Publisher
from services.participant.participant import LEDGER, service_of
from services.participant.reactor import Reactor
from services.participant.step import Step
from services.payments.service import PaymentsService
from services.payments.tables import AUTHORIZATIONS
from services.shipping.service import ShippingService
from services.shipping.tables import BOOKINGS

SERVICERS = (OrdersService, InventoryService, PaymentsService, ShippingService)
ON_HAND = 10

# A row for each run of a handler that was committed. No key: that there are no two of a step is to be seen, not forced.
_METADATA = sql.MetaData()
_EFFECTS = sql.Table(
    "effects",
    _METADATA,
    sql.Column("saga_id", sql.String(64), nullable=False),
    sql.Column("method", sql.String(255), nullable=False),
    sql.Column("nth", sql.Integer, nullable=False),  # over all services
)
_numbers = itertools.count()

# Made once: thousands of trials use them.
_ADD_EFFECT = _EFFECTS.insert()
_ALL_EFFECTS, _ALL_ROWS = sql.select(_EFFECTS).order_by(_EFFECTS.c.nth), sql.select(LEDGER)
_ALL_STOCK, _ALL_ORDERS = sql.select(STOCK), sql.select(ORDERS)
_ALL_MONEY, _ALL_PARCELS = sql.select(AUTHORIZATIONS), sql.select(BOOKINGS)

SagaStep = tuple[str, str]  # saga id, and the method's short name


@dataclass(frozen=True)
class Books:
    """All that the shop knows."""

    effects: list[SagaStep]  # in the order in which they came about
    ledgers: dict[SagaStep, str]  # states
    reserved: int
    orders: dict[str, int]  # statuses, by order id
    money: dict[str, str]  # states, by order id
    parcels: dict[str, str]
    tracking: dict[str, tuple[str, str]]  # a parcel's number as orders and as shipping knows it
    unpublished: int


class CountedShop:
    """Orders, inventory, payments and shipping, with databases in memory. Outlives the event loops that use it."""

    def __init__(self, publisher: Publisher | None = None) -> None:
        """Events go to `publisher`; where none is given, nowhere."""
        self._services: dict[str, LocalParticipant] = {}
        self._deletes: dict[str, list[sql.Delete]] = {}
        for servicer in SERVICERS:
            made = _counting(servicer)
            database = InlineDatabase(*tables_of(made), _METADATA)
            name = service_name(service_of(servicer))
            self._services[name] = LocalParticipant(made, database, publisher)
            metadatas = (*tables_of(made), _METADATA)
            self._deletes[name] = [table.delete() for metadata in metadatas for table in metadata.sorted_tables]

    async def empty(self) -> None:
        """Forgets everything; `ON_HAND` pieces of sku-1 are in stock."""
        await self.flush()
        for name, service in self._services.items():
            await service.database.run(partial(_execute, self._deletes[name]))
        await self._services["inventory"].database.run(lambda tx: tx.execute(set_on_hand("sku-1", ON_HAND)))

    def reactors(self) -> dict[str, Reactor]:
        """What takes the events in, by the service's name."""
        return {name: one.participant.reactor for name, one in self._services.items()}

    async def flush(self) -> None:
        """Returns once nothing is being published any more."""
        for service in self._services.values():
            await service.flush()

    async def perform(self, method: Method, request: bytes) -> Answer:
        """Does a step, as the service does that a call has reached; raises Indefinite."""
        try:
            received = method.request_class.FromString(request)
            answer = await self._services[service_name(method.service)].raw(method.name, received)
        except errors.MeshError as error:
            raise Indefinite(error.status(method.service.rpartition(".")[0])) from error
        if isinstance(answer, bytes):
            return Answer(response=answer)
        assert isinstance(answer, status_pb2.Status)
        return Answer(refusal=answer)

    async def books(self) -> Books:
        """As they stand, once nothing is being published any more."""
        await self.flush()
        ledgers = await self._rows(_ALL_ROWS)
        effects = sorted(await self._rows(_ALL_EFFECTS), key=lambda row: row.nth)
        stock, *_ = await self._rows(_ALL_STOCK, "inventory")
        assert stock.on_hand + stock.reserved == ON_HAND
        orders = await self._rows(_ALL_ORDERS, "orders")
        parcels = {row.order_id: row for row in await self._rows(_ALL_PARCELS, "shipping")}
        tracking = {one.order_id: one.tracking_number for one in orders}
        return Books(
            effects=[(row.saga_id, row.method) for row in effects],
            ledgers={(row.saga_id, row.method.rpartition(".")[2]): str(row.state) for row in ledgers},
            reserved=stock.reserved,
            orders={row.order_id: row.status for row in orders},
            money={row.order_id: row.state for row in await self._rows(_ALL_MONEY, "payments")},
            parcels={order_id: row.state for order_id, row in parcels.items()},
            tracking={key: (tracking.get(key, ""), row.tracking_number) for key, row in parcels.items()},
            unpublished=sum(row.due is not None for row in ledgers),
        )

    async def _rows(self, select: sql.Select[Any], *services: str) -> list[sql.Row[Any]]:
        found: list[sql.Row[Any]] = []
        for name in services or self._services:
            found += await self._services[name].database.run(lambda tx: list(tx.execute(select)))
        return found


def _execute(statements: list[sql.Delete], tx: sql.Connection) -> None:
    for statement in statements:
        tx.execute(statement)


def _counting(servicer: type[Any]) -> object:
    """A servicer whose handlers write down, in their own transactions, that they ran."""
    contract = Contract([service_of(servicer)])
    names = [method.name for method in contract.methods.values() if method.participates]
    counted = {name: _counted(name, getattr(servicer, name)) for name in names}
    return type(f"Counting{servicer.__name__}", (servicer,), counted)()


def _counted(name: str, handler: Callable[..., Message]) -> Callable[..., Message]:
    def handle(self: object, request: Message, step: Step) -> Message:
        response = handler(self, request, step)
        step.tx.execute(_ADD_EFFECT, {"saga_id": step.saga_id, "method": name, "nth": next(_numbers)})
        return response

    return handle
