"""Those who use the mesh of a simulation: they order, cancel, hand over and adopt, and note what they were told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.type.money_pb2 import Money

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from eventbus.bus import EventBus, Unpublished
from mesh.errors import IN_DOUBT
from scripts.simulation.plan import ORCHESTRATOR, Act, Placed
from scripts.simulation.promises import Promises
from scripts.simulation.world import World
from services.orders.starting import starting_event
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.order_pb2 import Address, Order, OrderLine
from shop.orders.v1.orders_pb2 import CancelOrderRequest, Coordination, PlaceOrderRequest
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub

# Of each article; some orders want more than there is.
STOCK = 4
PRICE = 7
PATIENCE_S = 3.0
AGAIN_S = 0.5
# Of the customers: at the first failure they are gone.
GIVE_UP = 0.2
# So often somebody tries to hand over or to adopt, or to cancel a saga that is not there yet.
TRIES = 4

_AGAIN = IN_DOUBT | {grpc.StatusCode.RESOURCE_EXHAUSTED}


class Customers:
    """All who are outside the mesh."""

    def __init__(self, world: World, rng: random.Random) -> None:
        channel = world.rpc.channel
        self.promises = Promises()
        self._orders: Any = OrdersServiceStub(channel(world.targets["orders"]))
        self._inventory: Any = InventoryServiceStub(channel(world.targets["inventory"]))
        self._orchestrator: Any = OrchestratorServiceStub(channel(world.targets[ORCHESTRATOR]))
        self._bus = EventBus("nats://broker", "customer", world.client("customer"))
        self._connecting: asyncio.Task[None] | None = None
        self._rng = rng

    async def stock_up(self) -> None:
        """Fills the shelves."""
        self._connecting = asyncio.create_task(self._bus.run(), name="the customers' connection to the broker")
        for sku in ("sku-1", "sku-2", "sku-3"):
            request = SetStockRequest(sku=sku, on_hand=STOCK)
            await self._insist(partial(self._inventory.SetStock, request, timeout=1))

    async def place(self, placed: Placed) -> None:
        """Places an order, and again until it is taken, or the customer has had enough."""
        order = order_of(placed)
        gives_up = self._rng.random() < GIVE_UP
        if placed.by_event:
            await self._publish(order)
            return
        request = PlaceOrderRequest(order=order, coordination=Coordination.Value(f"COORDINATION_{placed.style}"))
        if await self._insist(lambda: self._orders.PlaceOrder(request, timeout=PATIENCE_S), 1 if gives_up else 0):
            self.promises.placed.add(placed.order_id)

    async def act(self, act: Act, placed: Placed) -> None:
        """Does something to an order's saga; that there is none, or none any more, is an answer like others."""
        saga_id = placed.order_id
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "cancel by the orchestrator": lambda: self._orchestrator.CancelSaga(
                api.CancelSagaRequest(saga_id=saga_id), timeout=PATIENCE_S
            ),
            "hand over": lambda: self._orchestrator.HandOver(api.HandOverRequest(saga_id=saga_id), timeout=PATIENCE_S),
            "adopt": lambda: self._orchestrator.Adopt(api.AdoptRequest(saga_id=saga_id), timeout=PATIENCE_S),
        }
        if act.what == "cancel by the customer":
            await self._cancel(order_of(placed))
        else:
            await self._insist(calls[act.what], TRIES)

    async def _cancel(self, order: Order) -> None:
        try:
            request = CancelOrderRequest(order=order)
            await self._insist(lambda: self._orders.CancelOrder(request, timeout=PATIENCE_S))
            self.promises.cancelled.add(order.order_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            self.promises.confirmed.add(order.order_id)

    async def _publish(self, order: Order) -> None:
        """As a program with a connection to the broker and nothing else; what the broker loses, nobody knows of."""
        while True:
            try:
                return await self._bus.publish(starting_event(order))
            except Unpublished:
                await asyncio.sleep(AGAIN_S)

    async def _insist(self, call: Callable[[], Awaitable[Any]], tries_max: int = 0) -> Any:
        """Calls until there is a definite answer, which may be an error; None after so many tries, if any number."""
        tries = 0
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                tries += 1
                if tries == tries_max:
                    return None
                if error.code() not in _AGAIN and not (tries_max and error.code() in _NOT_NOW):
                    raise
            await asyncio.sleep(AGAIN_S * self._rng.uniform(0.5, 1.5))


# No such saga, or not in a state for this.
_NOT_NOW = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED}


def order_of(placed: Placed) -> Order:
    """The order as it travels."""
    lines = [
        OrderLine(sku=sku, quantity=count, unit_price=Money(currency_code="EUR", units=PRICE))
        for sku, count in placed.articles
    ]
    return Order(
        order_id=placed.order_id,
        customer_id=f"customer-{placed.number % 2}",
        lines=lines,
        total=Money(currency_code="EUR", units=PRICE * sum(count for _, count in placed.articles)),
        payment_token=placed.token,
        ship_to=Address(country_code=placed.country),
    )
