"""The shop's services over a network that takes its time and loses answers, all in virtual time and from a seed."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from mesh.contract import Method, service_name
from mesh.inline_database import InlineDatabase
from orchestrator.participants import Answer
from services.inventory.service import InventoryService
from services.orders.service import OrdersService
from services.participant.local import LocalParticipant
from services.payments.service import PaymentsService
from services.shipping.service import ShippingService
from shop.inventory.v1.inventory_pb2 import GetStockRequest
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import GetOrderRequest
from shop.payments.v1.payments_pb2 import GetAccountRequest

# What a call takes each way, on average. An order takes some thirty of these.
HOP_S = 0.01
LOST = 0.05  # of the answers


def in_memory(_: Path, *schemas: Any) -> Any:
    """A database for an EngineBench in virtual time."""
    return InlineDatabase(*schemas)


class FarShop:
    """The shop's services, over a network that takes its time and loses answers."""

    def __init__(self, seed: int) -> None:
        servicers = (OrdersService, InventoryService, PaymentsService, ShippingService)
        made = [LocalParticipant(servicer()) for servicer in servicers]
        self._services = {service_name(one.participant.service.full_name): one for one in made}
        self._rng = random.Random(seed)
        self.open = asyncio.Event()  # while it is not set, no call arrives
        self.open.set()

    async def ask(self, method: Method, request: bytes, timeout_s: float | None, on_failure: Any, *_: Any) -> Answer:
        """As orchestrator.participants.Participants.ask."""
        while True:
            await self.hop()
            await self.open.wait()
            service = self._services[service_name(method.service)]
            answer = await service.raw(method.name, method.request_class.FromString(request))
            await self.hop()
            if self._rng.random() >= LOST:
                return Answer(response=answer) if isinstance(answer, bytes) else Answer(refusal=answer)  # type: ignore[arg-type]
            on_failure("UNAVAILABLE: the answer was lost")

    async def hop(self, hops: float = 1) -> None:
        await asyncio.sleep(self._rng.expovariate(1 / (HOP_S * hops)))

    async def call(self, service: str, method: str, request: Any) -> Any:
        return await self._services[service].ask(method, request)

    async def effects(self, order: Order) -> tuple[int, int, int, int]:
        """Money captured, open and voided, and the order's status. Each order has a customer of its own."""
        account = await self.call("payments", "GetAccount", GetAccountRequest(customer_id=order.customer_id))
        captured, open_, voided = 0, 0, 0
        for one in account.balances:
            captured, open_, voided = one.captured.units, one.open.units, one.voided.units
        state = (await self.call("orders", "GetOrder", GetOrderRequest(order_id=order.order_id))).state
        return captured, open_, voided, state.status

    async def reserved(self) -> tuple[int, int]:
        """What is on hand and reserved of the article."""
        stock = (await self.call("inventory", "GetStock", GetStockRequest(sku="sku-1"))).stock
        return stock.on_hand, stock.reserved

    async def close(self) -> None:
        for service in self._services.values():
            await service.close()
