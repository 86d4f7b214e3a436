"""The whole shop in this process: five participants, an orchestrator, and a bus that brings each event at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any

import sqlalchemy as sql
from google.protobuf.message import Message

from console.audit import Books, books_of
from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED, Envelope
from mesh import virtual_time
from mesh.clock import LoopClock
from mesh.contract import Contract, Method, service_name
from orchestrator.participants import Answer
from orchestrator.testing.kit import EPOCH_US
from orchestrator.testing.local_engine import LocalEngine, new_database
from orchestrator.workflow import Workflows, registered
from orchestrator.workflows import fulfil_order
from services.inventory.service import InventoryService
from services.notifications.service import NotificationsService
from services.orders.service import OrdersService
from services.orders.tables import ORDERS
from services.participant.local import LocalParticipant
from services.participant.steps import Trigger
from services.payments.service import PaymentsService
from services.shipping.service import ShippingService
from shop.inventory.v1.inventory_pb2 import ReleaseStockRequest, SetStockRequest
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order

SERVICERS = (OrdersService, InventoryService, PaymentsService, ShippingService, NotificationsService)
CONTRACT = Contract.of_packages("shop")
PROCESS = "fulfil-order"


class Shop:
    """Its databases are in memory, and stay when it is at rest."""

    def __init__(self) -> None:
        made = [LocalParticipant(servicer(), publisher=self) for servicer in SERVICERS]
        self.services = {service_name(one.participant.service.full_name): one for one in made}
        self.journal = new_database()
        self._engine: LocalEngine
        self._under_way: set[asyncio.Task[None]] = set()
        self.now_us = EPOCH_US

    def run(self, orchestrated: list[Order], choreographed: list[Order], released: list[Order]) -> None:
        """Fulfils orders to their ends. Of those that are `released` the stock is given back before it is reserved."""
        with virtual_time.runner() as runner:
            runner.run(self._run(orchestrated, choreographed, released))

    async def _run(self, orchestrated: list[Order], choreographed: list[Order], released: list[Order]) -> None:
        assert fulfil_order  # registers the workflow
        self._engine = LocalEngine(CONTRACT, Workflows(registered()), self, self.journal, LoopClock(EPOCH_US))
        await self.services["inventory"].ask("SetStock", SetStockRequest(sku="sku-1", on_hand=100))
        for order in released:
            await self.services["inventory"].ask("ReleaseStock", ReleaseStockRequest(order=order))
        for order in choreographed:
            await self.publish(Envelope.starting(OrderPlaced(order=order), method="PlaceOrder", source="test"))
        for order in orchestrated:
            await self._engine.start(PROCESS, OrderPlaced(order=order))
            await self._engine.comes_to_rest(order.order_id)
        while self._under_way:
            await asyncio.gather(*self._under_way)
        for service in self.services.values():
            await service.flush()
        await self._engine.close()

    async def ask(self, method: Method, request: bytes, *_: Any) -> Answer:
        """As orchestrator.participants.Participants.ask."""
        service = self.services[service_name(method.service)]
        answer = await service.raw(method.name, method.request_class.FromString(request))
        return Answer(response=answer) if isinstance(answer, bytes) else Answer(refusal=answer)  # type: ignore[arg-type]

    async def publish(self, envelope: Envelope) -> None:
        """Brings an event to all who follow it, and to the tracker."""
        task = asyncio.create_task(self._deliver(envelope))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _deliver(self, envelope: Envelope) -> None:
        delivery = Delivery(envelope.event, envelope.body, envelope.style, envelope.replay, 1, 1)
        for service in self.services.values():
            if envelope.subject in service.participant.reactor.subjects():
                await service.participant.reactor.handle(delivery)
        if envelope.style == CHOREOGRAPHED:
            await self._engine.publish(CONTRACT.events[envelope.event].message_class.FromString(envelope.body))

    @property
    def connections(self) -> dict[str, sql.Connection]:
        """By the names of the parts."""
        databases = {name: service.database for name, service in self.services.items()}
        return {name: one.connection for name, one in {**databases, "orchestrator": self.journal}.items()}  # type: ignore[attr-defined]

    def tracking_number(self, order_id: str) -> str:
        """Of an order's parcel."""
        return str(self._ask("orders", sql.select(ORDERS.c.tracking_number).where(ORDERS.c.order_id == order_id)))

    def _ask(self, part: str, query: sql.Select[Any]) -> Any:
        with self._looking():
            return self.connections[part].execute(query).scalar_one()

    def books(self, without: str = "") -> Books:
        """As they stand; without those of one part."""
        with self._looking():
            connections = {name: one for name, one in self.connections.items() if name != without}
            return books_of(connections, self.now_us, CONTRACT)

    def faults_after(self, part: str, change: sql.Executable) -> list[str]:
        """What is wrong once a part's database was changed by hand. The change is undone."""
        return self.books_after(part, change).faults

    def books_after(
        self, part: str, *changes: sql.Executable, also: Mapping[str, Iterable[sql.Executable]] = MappingProxyType({})
    ) -> Books:
        """The books once some parts' databases were changed by hand. The changes are undone."""
        with self._looking():
            for name, ones in ((part, changes), *also.items()):
                for one in ones:
                    assert self.connections[name].execute(one).rowcount, f"changed nothing: {one}"
            return books_of(self.connections, self.now_us, CONTRACT)

    def books_after_call(self, part: str, method: str, request: Message) -> Books:
        """The books once a part was called by hand. What it did is undone."""
        service = self.services[part]
        with self._looking():
            known = service.method(method)
            handler = getattr(service.servicer, method)
            service.participant.steps.perform(self.connections[part], known, handler, request, Trigger())
            return books_of(self.connections, self.now_us, CONTRACT)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        with ExitStack() as undoing:
            for connection in self.connections.values():
                undoing.callback(connection.begin().rollback)
            yield
