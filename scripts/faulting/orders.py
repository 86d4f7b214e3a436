"""The orders that run into a fault: in all styles, one in five refused by somebody, one in seven cancelled."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc.aio

from console import orders
from console.client import MeshClient
from scripts.customers import CALL_S, ENDED, REFUSED, cancel, end_of, patiently, right_ends
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, PlaceOrderRequest

SKU = "faults"
PIECES: dict[str, Any] = {"sku": SKU, "token": "tok_visa", "country": "DE", "customer": "faults"}
STYLES = tuple(style for style in Coordination.values() if style)
REFUSED_EVERY, CANCELLED_EVERY = 5, 7
# After the last fault; a stalled order is healed in less.
ENDS_WITHIN_S = 180.0


class Orders:
    """All orders of one run. They come as they are let come, a bounded number at a time."""

    def __init__(self, count: int, at_once: int, client: Callable[[], MeshClient], rng: random.Random) -> None:
        self.count = count
        self.under_way = 0
        self.acknowledged = 0
        self.ended = 0
        self.ends: Counter[str] = Counter()  # by status
        self.verdicts: Counter[str] = Counter()  # of cancellations
        self.delays_s: list[float] = []  # from the first try at placing to the end, of each
        self.faults: list[str] = []
        self._client = client
        self._rng = rng
        self._given = 0
        self._let = asyncio.Semaphore(0)
        self._room = asyncio.Semaphore(at_once)

    def let_come(self, count: int) -> int:
        """Lets so many more come, as far as there are any; how many."""
        more = min(count, self.count - self._given)
        for _ in range(more):
            self._let.release()
        self._given += more
        return more

    async def run(self) -> None:
        """Places all and follows each to its end. What goes wrong with one is told in `faults`."""
        stock = SetStockRequest(sku=SKU, on_hand=2 * self.count)
        await patiently(lambda: self._client().inventory.SetStock(stock, timeout=CALL_S))
        await asyncio.gather(*(self._one(number) for number in range(self.count)))

    async def _one(self, number: int) -> None:
        await self._let.acquire()
        async with self._room:
            self.under_way += 1
            await self._from_placing_to_end(number)
            self.under_way -= 1

    async def _from_placing_to_end(self, number: int) -> None:
        refused = number % REFUSED_EVERY == 0
        refusal = REFUSED[number // REFUSED_EVERY % len(REFUSED)] if refused else {}
        order = orders.an_order(**{**PIECES, **refusal})
        began = time.monotonic()
        try:
            verdict = await self._place(order, STYLES[number % len(STYLES)])
        except grpc.aio.AioRpcError as error:
            told = f"{error.code().name}: {error.details()}"
            self.faults.append(f"order {order.order_id}: its customer was told {told}")
            return
        status = await end_of(self._client, order.order_id, within_s=ENDS_WITHIN_S)
        if status not in (right := right_ends(refused=refused, verdict=verdict)):
            wanted = " or ".join(_short(one) for one in right)
            told = f", cancelled {verdict}" if verdict else ""
            self.faults.append(f"order {order.order_id}: {_short(status)}{told}, and should be {wanted}")
        if status in ENDED:
            self.ended += 1
            self.ends[_short(status)] += 1
            self.delays_s.append(time.monotonic() - began)

    async def _place(self, order: Order, style: Coordination.ValueType) -> str:
        """Places one, and perhaps cancels it; what its customer was told of that."""
        cancelled = self._rng.random() < 1 / CANCELLED_EVERY
        request = PlaceOrderRequest(order=order, coordination=style)
        await patiently(lambda: self._client().orders.PlaceOrder(request, timeout=CALL_S), within_s=ENDS_WITHIN_S)
        self.acknowledged += 1
        if not cancelled:
            return ""
        verdict = await cancel(self._client, order, within_s=ENDS_WITHIN_S)
        self.verdicts[verdict] += 1
        return verdict


def _short(status: OrderStatus.ValueType) -> str:
    return OrderStatus.Name(status).removeprefix("ORDER_STATUS_")
