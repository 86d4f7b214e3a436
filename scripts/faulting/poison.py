"""Bad input on both transports: all of scripts.faulting.corpus, again and again, beside orders that are right."""

from __future__ import annotations

import asyncio
from collections import Counter

from console.client import MeshClient
from eventbus.bus import EventBus
from mesh.addresses import Addresses
from mesh.settings import Settings
from scripts.customers import CALL_S, COMPLETED, end_of, patiently
from scripts.faulting.corpus import asking, calls, events, frames
from scripts.faulting.corpus.samples import good_order
from scripts.faulting.fault import Fault
from scripts.faulting.ground import Ground, Stuck
from scripts.faulting.memory import grown, resident_mib
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import Coordination, PlaceOrderRequest

CALLS, CONNECTIONS, MESSAGES = "bad calls", "bad connections", "bad messages"


class Poison(Fault):
    """Each input has a name; one of which something else becomes than must is told by it."""

    name = "poison"
    does = "bad input on both transports, of every kind to every method and every event"
    proof = (CALLS, CONNECTIONS, MESSAGES)
    orders_each = 50
    orders_short = 0  # tests/e2e/test_poison.py gives all of it to a mesh that others use, too

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        settings = Settings(data=ground.place.data)
        before: dict[str, float] = {}
        async for _ in ground.moments(self.orders_each):
            order = await an_order_that_completed(ground.client)
            given, wrong = await give_all(settings, order)
            ground.counts.update(given)
            ground.faults += wrong
            before = before or await asyncio.to_thread(resident_mib, ground.mesh)
        after = await asyncio.to_thread(resident_mib, ground.mesh)
        ground.faults += grown(before, after)


async def give_all(settings: Settings, order: Order) -> tuple[Counter[str], list[str]]:
    """Gives the whole corpus to a mesh: how much of it there was, and of which something else became than must.

    `order` is one that completed by choreography.
    """
    addresses = Addresses(settings)
    asked = [*calls.calls(order), *asking.questions(order)]
    wrong = await calls.give(addresses.of, asked)
    sent = list(frames.frames())
    wrong += await frames.give(addresses.of, "inventory", sent)
    published = events.events(order)
    bus = EventBus(addresses.nats_url(), "poison")
    await bus.run()
    try:
        wrong += await events.give(bus, published)
    finally:
        await bus.close()
    return Counter({CALLS: len(asked), CONNECTIONS: len(sent), MESSAGES: len(published)}), wrong


async def an_order_that_completed(mesh: MeshClient) -> Order:
    """One by choreography, about which everything has been told; raises Stuck."""
    order = good_order()
    stock = SetStockRequest(sku=order.lines[0].sku, on_hand=1000)
    request = PlaceOrderRequest(order=order, coordination=Coordination.COORDINATION_CHOREOGRAPHED)
    await patiently(lambda: mesh.inventory.SetStock(stock, timeout=CALL_S))
    await patiently(lambda: mesh.orders.PlaceOrder(request, timeout=CALL_S))
    if await end_of(lambda: mesh, order.order_id) != COMPLETED:
        raise Stuck(f"order {order.order_id}, of which nothing was wrong, does not complete")
    return order
