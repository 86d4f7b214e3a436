"""Every order is driven by orchestrator and choreography at once, while customers cancel some of them.

The saga is started and the starting event published at the same moment; one order in five is refused, by each
participant in turn; every third is cancelled at a random moment about its pivot, by CancelOrder and by CancelSaga in
turn. What must hold afterwards: whoever was told that an order is cancelled finds it compensated, whoever was told that
it is too late finds it completed; orchestrator and orders agree on the end of each; and the books are exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from console import audit, orders
from console.client import MeshClient
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from eventbus.bus import EventBus, Unpublished
from eventbus.envelope import Envelope
from mesh.addresses import Addresses
from mesh.backoff import Backoff
from mesh.settings import Settings
from scripts.customers import (
    CALL_S,
    IN_TIME,
    PATIENCE_S,
    REFUSED,
    TOO_LATE,
    UNDECIDED,
    cancel,
    end_of,
    patiently,
    right_ends,
)
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, GetOrderRequest

PROCESS = "fulfil-order"
SKU = "duel"
PIECES: dict[str, Any] = {"sku": SKU, "token": "tok_visa", "country": "DE"}

REFUSED_EVERY, CANCELLED_EVERY = 5, 3
# About how long an order takes to its pivot where twenty run at once: half of the cancellations come in time.
CANCELLED_WITHIN_S = 0.3

_VERDICTS = {
    api.CancelVerdict.CANCEL_VERDICT_CANCELLED: IN_TIME,
    api.CancelVerdict.CANCEL_VERDICT_TOO_LATE: TOO_LATE,
    api.CancelVerdict.CANCEL_VERDICT_UNSPECIFIED: UNDECIDED,
}


@dataclass
class Report:
    """What became of the orders."""

    orders: int = 0
    seconds: float = 0.0
    first: Counter[str] = field(default_factory=Counter)  # who came first to the order's row, by style
    ends: Counter[str] = field(default_factory=Counter)  # by status
    cancellations: Counter[str] = field(default_factory=Counter)  # by verdict
    faults: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}


async def duel(mesh: MeshClient, settings: Settings, count: int, *, at_once: int, seed: int = 0) -> Report:
    """Runs `count` duels, so many at once, on a running mesh, and audits its books once all has settled."""
    report, rng, room = Report(orders=count), random.Random(seed), asyncio.Semaphore(at_once)
    await mesh.inventory.SetStock(SetStockRequest(sku=SKU, on_hand=2 * count), timeout=CALL_S)
    began = time.monotonic()
    async with _connected(settings) as bus:

        async def one(number: int) -> None:
            async with room:
                await _Duel(mesh, bus, number, rng).run(report)

        await asyncio.gather(*(one(number) for number in range(count)))
    report.seconds = round(time.monotonic() - began, 1)
    report.faults += (await audit.settled(settings, PATIENCE_S)).faults
    return report


class _Duel:
    """One order."""

    def __init__(self, mesh: MeshClient, bus: EventBus, number: int, rng: random.Random) -> None:
        self._mesh = mesh
        self._bus = bus
        self._refused = number % REFUSED_EVERY == 0
        self._by_saga = number % 2 == 0
        self._cancelled_after_s = rng.uniform(0, CANCELLED_WITHIN_S) if number % CANCELLED_EVERY == 0 else None
        refusal = REFUSED[number // REFUSED_EVERY % len(REFUSED)] if self._refused else {}
        self._order = orders.an_order(**{**PIECES, **refusal}, customer="duellist")

    async def run(self, report: Report) -> None:
        _, _, verdict = await asyncio.gather(self._start_saga(), self._publish(), self._cancel_some_time())
        status = await end_of(lambda: self._mesh, self._order.order_id)
        order_id = self._order.order_id
        found = await self._mesh.orders.GetOrder(GetOrderRequest(order_id=order_id), timeout=CALL_S)
        report.first[_short(Coordination.Name(found.state.coordination_taken))] += 1
        report.ends[_short(OrderStatus.Name(status))] += 1
        if verdict:
            report.cancellations[verdict] += 1
        if status not in right_ends(refused=self._refused, verdict=verdict):
            said = f", cancelled {verdict}" if verdict else ""
            how = "refused" if self._refused else "not refused"
            report.faults.append(f"order {order_id}: {how}{said}, and {OrderStatus.Name(status)}")

    async def _start_saga(self) -> None:
        request = api.StartSagaRequest(process=PROCESS)
        request.input.Pack(OrderPlaced(order=self._order))
        await patiently(lambda: self._mesh.orchestrator.StartSaga(request, timeout=CALL_S))

    async def _publish(self) -> None:
        event = OrderPlaced(order=self._order)
        for delay_s in Backoff().delays():
            try:
                await self._bus.publish(Envelope.starting(event, method="scripts.duel", source="duel"))
                return
            except Unpublished:
                await asyncio.sleep(delay_s)

    async def _cancel_some_time(self) -> str:
        if self._cancelled_after_s is None:
            return ""
        await asyncio.sleep(self._cancelled_after_s)
        if self._by_saga:
            saga = api.CancelSagaRequest(saga_id=self._order.order_id)
            answer = await patiently(lambda: self._mesh.orchestrator.CancelSaga(saga, timeout=CALL_S))
            return _VERDICTS[answer.verdict]
        return await cancel(lambda: self._mesh, self._order)


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[EventBus]:
    bus = EventBus(Addresses(settings).nats_url(), "duel")
    await bus.run()
    try:
        yield bus
    finally:
        await bus.close()


def _short(name: str) -> str:
    return name.rpartition("_")[2]
