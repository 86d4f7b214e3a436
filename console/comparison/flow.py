"""Places orders in one style and follows each to its end, as a client sees it.

Of two kinds: so many at a time, as fast as they go (what a style can do), and at a steady pace whatever happens (what a
fault does to those who come meanwhile). A client here tries again where it is left in doubt, as clients do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

import grpc
import grpc.aio

from console.client import MeshClient
from console.orders import DEFAULT_SKU, ENDED, an_order
from mesh.errors import IN_DOUBT
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, PlaceOrderRequest, WatchOrderRequest

PLACE_TIMEOUT_S = 5.0
AGAIN_S = 0.2


@dataclass
class Sample:
    """One order. Times are in seconds since the flow began; None: it did not come to that."""

    order_id: str
    placed_s: float
    accepted_s: float | None = None
    ended_s: float | None = None
    status: str = ""

    @property
    def latency_s(self) -> float | None:
        """From the client's first try to the order's end."""
        return None if self.ended_s is None else self.ended_s - self.placed_s


class Flow:
    """Orders of one style."""

    def __init__(self, mesh: MeshClient, style: str, began: float) -> None:
        """`began` is the zero of its times, by time.monotonic()."""
        self._mesh = mesh
        self._style = Coordination.Value(f"COORDINATION_{style}")
        self._began = began
        self._tasks: set[asyncio.Task[None]] = set()
        self.samples: list[Sample] = []

    async def at_once(self, count: int, seconds: float, rest_s: float) -> None:
        """So many at a time, until the time is over and the last have ended. TimeoutError: they do not, in `rest_s`."""
        ends = time.monotonic() + seconds

        async def one_after_the_other() -> None:
            while time.monotonic() < ends:
                await self._one()

        try:
            async with asyncio.timeout(seconds + rest_s):
                await asyncio.gather(*(one_after_the_other() for _ in range(count)))
        except TimeoutError:
            raise TimeoutError(f"orders on a healthy mesh have not ended after {rest_s:.0f} s") from None

    async def at_a_pace(self, per_second: float, stop: asyncio.Event) -> None:
        """So many a second, whatever becomes of those before."""
        number = 0
        first = time.monotonic()
        while not stop.is_set():
            task = asyncio.create_task(self._one())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            number += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(first + number / per_second - time.monotonic()):
                    await stop.wait()

    async def rest(self, within_s: float) -> None:
        """Waits for those under way, so long at most; what has not ended then is not followed further."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=within_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self) -> None:
        order = an_order(sku=DEFAULT_SKU, token="tok_visa", country="DE")
        sample = Sample(order.order_id, self._now())
        self.samples.append(sample)
        await self._place(order)
        sample.accepted_s = self._now()
        sample.status = await self._end_of(order)
        sample.ended_s = self._now()

    async def _place(self, order: Order) -> None:
        while True:
            try:
                request = PlaceOrderRequest(order=order, coordination=self._style)
                await self._mesh.orders.PlaceOrder(request, timeout=PLACE_TIMEOUT_S)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() not in IN_DOUBT | {grpc.StatusCode.RESOURCE_EXHAUSTED}:
                    raise
            await asyncio.sleep(AGAIN_S)

    async def _end_of(self, order: Order) -> str:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for update in self._mesh.orders.WatchOrder(WatchOrderRequest(order_id=order.order_id)):
                    if update.state.status in ENDED:
                        return OrderStatus.Name(update.state.status).removeprefix("ORDER_STATUS_")
            await asyncio.sleep(AGAIN_S)

    def _now(self) -> float:
        return time.monotonic() - self._began
