"""A SIGKILL at every crash point of the engine: before each call leaves, and after each answer has come.

The supervisor stands still meanwhile, and one that kills itself stands in for the orchestrator, with its journal and at
its address. At each moment it drives one more saga to such a point, amid all that it has to do; another process follows
it. (Every write of the journal besides: tests/unit/orchestrator.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import sqlalchemy as sql

from console import orders
from console.supervisor import ORCHESTRATOR
from ensemble.orchestrator.v1.orchestrator_pb2 import GetSagaRequest, SagaStatus, StartSagaRequest
from mesh.databases import open_read_only
from mesh.settings import Settings
from scripts.customers import REFUSED, patiently
from scripts.faulting.fault import Fault
from scripts.faulting.ground import Ground, Stuck
from scripts.faulting.mortal_orchestrator import MORTAL_FILE
from scripts.faulting.orders import PIECES
from services import SERVICES
from services.participant.ledger import State
from services.participant.participant import LEDGER
from shop.orders.v1.events_pb2 import OrderPlaced

PROCESS = "fulfil-order"
FORWARD = frozenset(("RecordOrder", "ReserveStock", "AuthorizePayment", "BookShipment", "ConfirmOrder"))
FORWARD |= {"CapturePayment", "DispatchShipment", "CompleteOrder"}
BACK = frozenset(("CancelOrder", "ReleaseStock", "VoidPayment", "CancelBooking", "CloseOrder"))
METHODS = tuple(sorted(FORWARD | BACK))
SIDES = ("call", "reply")

CALL_S, START_S = 5.0, 30.0
ENDED = (SagaStatus.SAGA_STATUS_COMPLETED, SagaStatus.SAGA_STATUS_COMPENSATED)


class CrashPoints(Fault):
    """Of the way forward in a saga that nobody refuses, of the way back in one that somebody does."""

    name = "crash-points"
    does = (
        "the orchestrator is killed before a call leaves, or after an answer came, at each such point of a saga in turn"
    )
    proof = ("deaths before a call", "deaths after an answer", "sagas ended by the next process")
    orders_each = 10
    orders_short = 30

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        before, after = ([(side, one) for one in ground.rng.sample(METHODS, len(METHODS))] for side in SIDES)
        points = [point for both in zip(before, after, strict=True) for point in both]
        async with _running(ground) as mortal:
            async for number in ground.moments(self.orders_each):
                side, method = points[number % len(points)]
                await _die_at(ground, mortal, side, method)
                ground.counts["deaths before a call" if side == "call" else "deaths after an answer"] += 1


async def _die_at(ground: Ground, mortal: _Mortal, side: str, method: str) -> None:
    back = method in BACK
    order = orders.an_order(**{**PIECES, **(ground.rng.choice(REFUSED) if back else {})})
    mortal.dies_at(f"{order.order_id} {side} {method}")
    starting = StartSagaRequest(process=PROCESS)
    starting.input.Pack(OrderPlaced(order=order))
    with contextlib.suppress(grpc.aio.AioRpcError):  # it may die before it answers; the start is durable by then
        await ground.client.orchestrator.StartSaga(starting, timeout=START_S, wait_for_ready=True)
    await mortal.died(START_S)
    await mortal.start()

    async def ended() -> bool:
        request = GetSagaRequest(saga_id=order.order_id)
        found = await patiently(lambda: ground.client.orchestrator.GetSaga(request, timeout=CALL_S))
        return found.saga.status in ENDED

    await ground.until(ended, what=f"the end of a saga whose orchestrator died at {side} {method}")
    ground.counts["sagas ended by the next process"] += 1
    done = await asyncio.to_thread(_done, ground.books, order.order_id)
    if not (done >= BACK if back else done == FORWARD):
        ground.faults.append(
            f"order {order.order_id}: died at {side} {method}, and done were {', '.join(sorted(done))}"
        )


def _done(books: Settings, saga_id: str) -> set[str]:
    """The methods of a saga that all ledgers say are done, but for those of observers."""
    found = set()
    query = sql.select(LEDGER.c.method).where(LEDGER.c.saga_id == saga_id, LEDGER.c.state == State.DONE)
    for name in SERVICES:
        engine = open_read_only(books, name)
        with engine.connect() as connection:
            found |= {method.rpartition(".")[2] for method in connection.scalars(query)}
        engine.dispose()
    return found - {"NotifyCustomer"}


class _Mortal:
    """The processes of an orchestrator that kills itself, one after the other."""

    def __init__(self, ground: Ground) -> None:
        folder = ground.place.data.parent / "mortal"
        folder.mkdir(exist_ok=True)
        self._where = folder / "where"
        self._log = folder / "orchestrator.log"
        self._environment = {
            **ground.environment,
            "ENSEMBLE_DATA": str(ground.place.data),
            "ENSEMBLE_LISTEN": ground.mesh.address_of(ORCHESTRATOR),
            MORTAL_FILE: str(self._where),
        }
        self._process: subprocess.Popen[bytes]

    async def start(self) -> None:
        """Starts a process.

        By subprocess, which runs no handlers of gRPC's at a fork, as uvloop's way does: with that one start in ten,
        while calls were under way, ended with SIGSEGV before it logged anything.
        """
        with self._log.open("ab") as output:
            self._process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-m", "scripts.faulting.mortal_orchestrator"],
                env=self._environment,
                stdin=subprocess.PIPE,  # it ends by itself where this one is killed
                stdout=output,
                stderr=output,
            )

    def dies_at(self, point: str) -> None:
        """Says where to die next."""
        self._where.write_text(point)

    async def died(self, within_s: float) -> None:
        """Returns once it has killed itself; raises Stuck."""
        try:
            status = await asyncio.to_thread(self._process.wait, within_s)
        except subprocess.TimeoutExpired:
            raise Stuck(f"an orchestrator did not die at {self._where.read_text()}") from None
        if status != -signal.SIGKILL:
            raise Stuck(f"an orchestrator ended by itself, with status {status}; {self._log} says why")

    async def end(self) -> None:
        """Ends it."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)


@asynccontextmanager
async def _running(ground: Ground) -> AsyncIterator[_Mortal]:
    mortal = _Mortal(ground)
    supervisor = ground.mesh.supervisor_pid
    os.kill(supervisor, signal.SIGSTOP)
    pid = ground.send(ORCHESTRATOR, signal.SIGKILL)
    try:
        await mortal.start()
        yield mortal
    finally:
        await mortal.end()
        os.kill(supervisor, signal.SIGCONT)
        await ground.replaced(ORCHESTRATOR, pid)
