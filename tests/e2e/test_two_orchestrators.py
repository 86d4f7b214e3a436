"""Leases off, with real processes: two orchestrators with a journal of their own each drive the same orders.

The second one has a broker of its own, for the tracker's durable consumer is the first one's. Orchestrated sagas need
none.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from console.client import MeshClient
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.addresses import Addresses
from orchestrator.journal import COMPENSATED, COMPLETED
from services import SERVICES
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.e2e.business import mixed, set_stock, settled_books
from tests.e2e.several import at, run, start_all
from tests.harness import RunningMesh, eventually, running_broker

if TYPE_CHECKING:
    from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceAsyncStub

AT_ONCE = 10
VERDICTS = {api.CANCEL_VERDICT_CANCELLED: COMPENSATED, api.CANCEL_VERDICT_TOO_LATE: COMPLETED}
SERVES = re.compile(r"serves on (127\.0\.0\.1:\d+)")


@pytest.fixture
async def second(mesh: RunningMesh, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a second orchestrator over the services of the mesh."""
    log = tmp_path / "orchestrator.log"

    async def serves() -> str:
        found = SERVES.search(log.read_text())
        return found[1] if found else ""

    with running_orchestrator(mesh, tmp_path, log):
        yield await eventually(serves, what="a second orchestrator")
    assert "Traceback" not in log.read_text()


@contextmanager
def running_orchestrator(mesh: RunningMesh, data: Path, log: Path) -> Iterator[None]:
    addresses = Addresses(mesh.settings)
    with running_broker(data / "nats") as broker, log.open("wb") as output:
        environment = {
            **os.environ,
            "ENSEMBLE_DATA": str(data),
            "ENSEMBLE_NATS_URL": broker.url,
            "ENSEMBLE_ADDRESSES": json.dumps({name: addresses.of(name) for name in SERVICES}),
        }
        command = [sys.executable, "-P", "-m", "orchestrator"]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


async def test_two_orchestrators_drive_the_same_orders_as_one_does(
    mesh: RunningMesh, client: MeshClient, second: str
) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    orders = mixed(60, customer_id="driven-twice")
    async with at(mesh.address_of("orchestrator")) as one, at(second) as other:
        ends = await of_all(orders, lambda order: end(one, other, order))
    assert Counter(ends) == {COMPLETED: 48, COMPENSATED: 12}
    books = await settled_books(mesh.data)
    assert books.faults == []
    assert books.money_nanos["driven-twice EUR"]["captured"] == 48 * 10 * 10**9


async def test_a_cancellation_at_one_of_two_orchestrators_binds_both(
    mesh: RunningMesh, client: MeshClient, second: str
) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    orders = [an_order(customer_id="cancelled-once") for _ in range(40)]
    rng = random.Random(1)
    async with at(mesh.address_of("orchestrator")) as one, at(second) as other:

        async def cancelled(order: Order) -> int:
            await start_all(other, [order])
            ending = asyncio.create_task(end(one, other, order))
            await asyncio.sleep(rng.uniform(0, 0.1))  # of which some come before the pivot, and some after it
            verdict = (await other.CancelSaga(api.CancelSagaRequest(saga_id=order.order_id), timeout=10)).verdict
            assert (
                await ending
                == {api.CANCEL_VERDICT_CANCELLED: COMPENSATED, api.CANCEL_VERDICT_TOO_LATE: COMPLETED}[verdict]
            )
            return await ending

        ends = Counter(await of_all(orders, cancelled))
    assert set(ends) == {COMPLETED, COMPENSATED}, "the cancellations were to race the pivot"
    books = await settled_books(mesh.data)
    assert books.faults == []
    assert books.money_nanos["cancelled-once EUR"]["captured"] == ends[COMPLETED] * 10 * 10**9


async def of_all(orders: list[Order], work: Callable[[Order], Awaitable[int]]) -> list[int]:
    """The ends of orders, so many at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(order: Order) -> int:
        async with room:
            return await work(order)

    return await asyncio.gather(*map(one, orders))


async def end(one: OrchestratorServiceAsyncStub, other: OrchestratorServiceAsyncStub, order: Order) -> int:
    """How an order ends that both run at the same time."""
    first, second = await asyncio.gather(run(one, order), run(other, order))
    assert first.status == second.status
    return first.status
