"""kill -9 at chosen points of a saga: a real process, real participants, a real broker. (All points: tests/unit.)"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest

from console.client import MeshClient
from ensemble.orchestrator.v1.orchestrator_pb2 import GetSagaRequest, SagaStatus, StartSagaRequest
from mesh.ports import free_port
from mesh.settings import Settings
from services import SERVICES
from shop.orders.v1.events_pb2 import OrderPlaced
from tests.e2e.business import ledgers, refused_by, set_stock, settled_books
from tests.e2e.mortal_orchestrator import MORTAL_FILE
from tests.harness import RunningMesh, eventually

COMPLETED, COMPENSATED = SagaStatus.SAGA_STATUS_COMPLETED, SagaStatus.SAGA_STATUS_COMPENSATED
FORWARD = {"RecordOrder", "ReserveStock", "AuthorizePayment", "BookShipment", "ConfirmOrder"}
FORWARD |= {"CapturePayment", "DispatchShipment", "CompleteOrder"}
BACK = {"CancelOrder", "ReleaseStock", "VoidPayment", "CancelBooking", "CloseOrder"}


class MortalOrchestrator:
    """An orchestrator of its own, with a journal of its own, over the services and the broker of the shared mesh."""

    def __init__(self, mesh: RunningMesh, folder: Path) -> None:
        self._where = folder / "where"
        self._log = folder / "orchestrator.log"
        address = f"127.0.0.1:{free_port('127.0.0.1')}"
        addresses = {name: mesh.address_of(name) for name in SERVICES}
        self.settings = Settings(data=folder, addresses={**addresses, "orchestrator": address})
        self._environment = {
            **os.environ,
            "ENSEMBLE_DATA": str(folder),
            "ENSEMBLE_LISTEN": address,
            "ENSEMBLE_NATS_URL": mesh.file.nats_url,
            "ENSEMBLE_ADDRESSES": json.dumps(addresses),
            MORTAL_FILE: str(self._where),
        }
        self.start()

    def start(self) -> None:
        """Starts a process."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.mortal_orchestrator"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def dies_at(self, saga_id: str, point: str) -> None:
        """Says where to die."""
        self._where.write_text(f"{saga_id} {point}")

    async def died(self) -> None:
        """Returns once it has killed itself."""

        async def ended() -> int | None:
            return self._process.poll()

        assert await eventually(ended, what="its death") == -signal.SIGKILL, self._log.read_text()

    def end(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait(10)


@pytest.fixture(scope="module")
def orchestrator(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalOrchestrator]:
    running = MortalOrchestrator(mesh, tmp_path_factory.mktemp("mortal"))
    yield running
    running.end()


@pytest.fixture
async def engine(orchestrator: MortalOrchestrator) -> AsyncIterator[MeshClient]:
    async with MeshClient(orchestrator.settings) as connected:
        yield connected


@pytest.mark.parametrize(
    ("refuses", "point"),
    [
        ("", "call RecordOrder"),
        ("", "reply ReserveStock"),
        ("", "reply ConfirmOrder"),
        ("payments", "reply AuthorizePayment"),
        ("shipping", "reply CancelOrder"),
        ("payments", "call CloseOrder"),
    ],
)
async def test_a_process_that_is_killed_there_is_followed_by_one_that_ends_the_saga(
    mesh: RunningMesh,
    client: MeshClient,
    engine: MeshClient,
    orchestrator: MortalOrchestrator,
    refuses: str,
    point: str,
) -> None:
    await set_stock(client, "sku-1", 1_000_000)
    order = refused_by(refuses)
    orchestrator.dies_at(order.order_id, point)
    starting = StartSagaRequest(process="fulfil-order")
    starting.input.Pack(OrderPlaced(order=order))
    with contextlib.suppress(grpc.aio.AioRpcError):  # it may die before it answers; the start is durable by then
        await engine.orchestrator.StartSaga(starting, timeout=20, wait_for_ready=True)
    await orchestrator.died()
    orchestrator.start()

    async def ended() -> int:
        try:
            found = await engine.orchestrator.GetSaga(GetSagaRequest(saga_id=order.order_id), timeout=5)
        except grpc.aio.AioRpcError:
            return 0
        return found.saga.status if found.saga.status in (COMPLETED, COMPENSATED) else 0

    assert await eventually(ended, what="its end") == (COMPENSATED if refuses else COMPLETED)
    rows = {row for service in ledgers(mesh.data, order.order_id).values() for row in service}
    done = {method for method, _, state in rows if state == "DONE"} - {"NotifyCustomer"}
    assert done >= BACK if refuses else done == FORWARD
    assert (await settled_books(mesh.data)).faults == []
