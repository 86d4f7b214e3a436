"""Load on a mesh: as much as it can take, or so much a second whatever it can take; and what became of it.

When an order ended its own service has written down, so nobody has to watch thousands of them while they run.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import sqlalchemy as sql
import uuid_utils

from console import orders
from console.client import MeshClient
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh import errors
from mesh.databases import open_read_only
from mesh.percentile import percentile
from mesh.settings import Settings
from orchestrator.journal import GOING
from orchestrator.tables import SAGAS
from services.orders.tables import ENDED, OPEN, ORDERS
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from shop.orders.v1.orders_pb2 import Coordination, PlaceOrderRequest

PROCESS = "fulfil-order"
CALL_S = 10.0
LOOK_EVERY_S = 0.02
# Until a load has filled the mesh, and ends come as fast as they will.
RAMP_S = 4.0
SKU = "overload"
P99 = 0.99

# What an overloaded part says.
SHED = "RESOURCE_EXHAUSTED with RetryInfo"

_COUNT = sql.select(sql.func.count())
_OPEN_ORDERS = _COUNT.select_from(ORDERS).where(ORDERS.c.status.in_(OPEN))
_OPEN_SAGAS = _COUNT.select_from(SAGAS).where(SAGAS.c.process == PROCESS, SAGAS.c.status.in_(GOING))

Call = Callable[[Order], Awaitable[Any]]
Way = Callable[[MeshClient], Call]


def _place(style: Coordination.ValueType) -> Way:
    def way(mesh: MeshClient) -> Call:
        place = mesh.orders.PlaceOrder
        return lambda order: place(PlaceOrderRequest(order=order, coordination=style), timeout=CALL_S)

    return way


def _start(mesh: MeshClient) -> Call:
    start = mesh.orchestrator.StartSaga

    def call(order: Order) -> Awaitable[Any]:
        request = api.StartSagaRequest(process=PROCESS)
        request.input.Pack(OrderPlaced(order=order))
        return start(request, timeout=CALL_S)

    return call


# How an order comes into the mesh.
WAYS: dict[str, Way] = {
    "PlaceOrder, orchestrated": _place(Coordination.COORDINATION_ORCHESTRATED),
    "PlaceOrder, choreographed": _place(Coordination.COORDINATION_CHOREOGRAPHED),
    "StartSaga": _start,
}


@dataclass
class Loaded:
    """What became of a load."""

    began_s: float = field(default_factory=time.time)
    seconds: float = 0.0  # with RAMP_S at the beginning, of which nothing is counted
    sent: int = 0
    accepted: dict[str, float] = field(default_factory=dict)  # when each was sent, by order id
    answers_s: list[float] = field(default_factory=list)  # how long the answer to each of these took
    turned_away: Counter[str] = field(default_factory=Counter)  # by what was answered
    delays_s: list[float] = field(default_factory=list)  # from sending to the end, of those that ended
    ended: int = 0  # while the load went on

    @property
    def goodput(self) -> float:
        """Orders a second that ended while the load went on, whenever they came."""
        return self.ended / (self.seconds - RAMP_S)

    def text(self) -> str:
        """A line."""
        return (
            f"{self.sent / self.seconds:.0f}/s came, {len(self.accepted)} accepted, {self.goodput:.0f}/s ended; "
            f"p99 {percentile(self.answers_s, P99) * 1e3:.0f} ms to the answer, "
            f"{percentile(self.delays_s, P99):.2f} s to the end; "
            f"turned away: {dict(self.turned_away)}"
        )


class Loader:
    """Sends orders to one mesh in one way.

    It runs on the processors that the mesh runs on, so it takes as little of them as it can: what does not change is
    made once, and an answer that has come before is not read again.
    """

    def __init__(self, mesh: MeshClient, settings: Settings, way: Way) -> None:
        self._call = way(mesh)
        self._orders = open_read_only(settings, "orders")
        self._sagas = open_read_only(settings, "orchestrator")
        self._order = orders.an_order(sku=SKU, token="tok_visa", country="DE")
        self._order.order_id = ""
        self._answers: dict[tuple[grpc.StatusCode, str | bytes], str] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def as_much_as_it_takes(self, seconds: float, at_once: int) -> Loaded:
        """Keeps so many orders open, one coming for each that ends."""
        loaded = Loaded()
        while time.time() < loaded.began_s + seconds:
            for _ in range(at_once - await asyncio.to_thread(self._open) - len(self._sending)):
                self._send(loaded)
            await asyncio.sleep(LOOK_EVERY_S)
        return await self._rest(loaded)

    async def at_a_rate(self, seconds: float, per_second: float) -> Loaded:
        """Sends so many a second, whatever becomes of them."""
        loaded = Loaded()
        while (elapsed_s := time.time() - loaded.began_s) < seconds:
            for _ in range(int(elapsed_s * per_second) - loaded.sent):
                self._send(loaded)
            await asyncio.sleep(LOOK_EVERY_S)
        return await self._rest(loaded)

    async def at_rest(self, within_s: float) -> bool:
        """Whether every order has ended, within a while."""
        deadline_s = time.monotonic() + within_s
        while await asyncio.to_thread(self._open):
            if time.monotonic() > deadline_s:
                return False
            await asyncio.sleep(0.2)
        return True

    def ends(self, loaded: Loaded) -> None:
        """Reads when the orders of a load ended; for when all have."""
        from_s, until_s = loaded.began_s + RAMP_S, loaded.began_s + loaded.seconds
        ended = sql.select(ORDERS.c.order_id, ORDERS.c.updated_us).where(ORDERS.c.status.in_(ENDED))
        with self._orders.connect() as connection:
            for order_id, ended_us in connection.execute(ended):
                loaded.ended += from_s < ended_us / 1e6 < until_s
                if (sent_s := loaded.accepted.get(order_id, 0)) > from_s:
                    loaded.delays_s.append(ended_us / 1e6 - sent_s)

    def close(self) -> None:
        """Lets go of the databases."""
        self._orders.dispose()
        self._sagas.dispose()

    def _open(self) -> int:
        """How many are on their way; of a saga that waits for its turn orders knows nothing yet."""
        with self._orders.connect() as of_orders, self._sagas.connect() as of_sagas:
            return max(
                int(of_orders.execute(_OPEN_ORDERS).scalar_one()), int(of_sagas.execute(_OPEN_SAGAS).scalar_one())
            )

    def _send(self, loaded: Loaded) -> None:
        loaded.sent += 1
        task = asyncio.create_task(self._one(loaded))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _one(self, loaded: Loaded) -> None:
        order, sent_s = Order(order_id=str(uuid_utils.uuid7())), time.time()
        order.MergeFrom(self._order)
        try:
            await self._call(order)
        except grpc.aio.AioRpcError as error:
            loaded.turned_away[self._answer(error)] += 1
        else:
            loaded.accepted[order.order_id] = sent_s
            if sent_s > loaded.began_s + RAMP_S:
                loaded.answers_s.append(time.time() - sent_s)

    def _answer(self, error: grpc.aio.AioRpcError) -> str:
        details = dict(error.trailing_metadata() or ()).get(errors.STATUS_DETAILS_KEY, "")
        if (key := (error.code(), details)) not in self._answers:
            told = errors.retry_delay_s(errors.status_of(error)) is not None
            self._answers[key] = f"{error.code().name}{' with RetryInfo' if told else ''}"
        return self._answers[key]

    async def _rest(self, loaded: Loaded) -> Loaded:
        loaded.seconds = time.time() - loaded.began_s
        await asyncio.gather(*self._sending)
        return loaded
