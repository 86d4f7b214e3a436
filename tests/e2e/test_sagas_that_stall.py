"""A participant is frozen: sagas of both styles that wait for it are found, say so, and go on when it is back."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from console.client import MeshClient
from ensemble.orchestrator.v1.orchestrator_pb2 import GetSagaRequest, Saga, SagaStatus, StepStatus, WatchSagaRequest
from scripts.customers import patiently
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination
from tests.builders import an_order
from tests.e2e.business import ended, place, set_stock, settled_books
from tests.harness import RunningMesh, check_logs, ensemble, eventually, running_mesh

STYLES = (Coordination.COORDINATION_ORCHESTRATED, Coordination.COORDINATION_CHOREOGRAPHED)
RUNNING, STALLED = SagaStatus.SAGA_STATUS_RUNNING, SagaStatus.SAGA_STATUS_STALLED


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A mesh that takes two seconds for long, and heals nothing by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENSEMBLE_STALLED_AFTER_S", "2")
        patch.setenv("ENSEMBLE_HEALS_MAX", "0")
        with running_mesh(tmp_path_factory.mktemp("impatient")) as running:
            yield running
            logs = running.logs()
    check_logs(logs)


@pytest.fixture
async def client(impatient: RunningMesh) -> AsyncIterator[MeshClient]:
    async with MeshClient(impatient.settings) as connected:
        yield connected


async def test_sagas_that_wait_for_a_frozen_service_are_found_and_go_on_by_themselves(
    impatient: RunningMesh, client: MeshClient
) -> None:
    await set_stock(client, "sku-1", 100)
    orders = [an_order() for _ in STYLES]
    impatient.kill("payments", signal.SIGSTOP)
    try:
        for order, style in zip(orders, STYLES, strict=True):
            await place(client, order, style)
        assert all(await asyncio.gather(*(_is_told(client, order) for order in orders)))
        listed = await eventually(lambda: _all_listed(impatient, orders), every_s=0.2, what="both in the list")
        killed = impatient.kill("orchestrator")  # the tracker, too
        await eventually(lambda: _replaced(impatient, killed), what="another orchestrator in its place")
        sagas = await eventually(lambda: _both_late(client, orders), every_s=0.2, what="both late there")
        shown = await asyncio.to_thread(ensemble, "saga", "get", orders[1].order_id, data=impatient.data)
    finally:
        impatient.kill("payments", signal.SIGCONT)
    assert [one["status"] for one in listed] == ["SAGA_STATUS_RUNNING", "SAGA_STATUS_STALLED"]
    assert [saga.status for saga in sagas] == [RUNNING, STALLED]
    for saga, style in zip(sagas, ("has not answered", "has not answered OrderPlaced"), strict=True):
        assert saga.waits_for[0].startswith(f"payments.AuthorizePayment {style}")
        planned = {s.method.rpartition(".")[2] for s in saga.steps if s.status == StepStatus.STEP_STATUS_PLANNED}
        assert planned == {"ConfirmOrder", "CapturePayment", "DispatchShipment", "CompleteOrder"}
    assert "stalled: no progress for 2 s: payments.AuthorizePayment has not answered OrderPlaced" in shown.stdout
    assert "ConfirmOrder  waits for PaymentAuthorized" in shown.stdout

    for order in orders:
        assert await ended(client, order.order_id) == OrderStatus.ORDER_STATUS_COMPLETED
    both = [await eventually(lambda o=order: _ended(client, o), what="the saga's end") for order in orders]  # type: ignore[misc]
    assert [saga.stalled_reason or saga.late for saga in both] == ["", ""]
    assert {step.method for step in both[0].steps} == {step.method for step in both[1].steps}
    assert await _listed(impatient, orders) == []
    assert (await settled_books(impatient.data)).faults == []


async def _is_told(client: MeshClient, order: Order) -> bool:
    """Whether somebody who watches is told that the saga is late, without asking again."""

    async def known() -> bool:
        return not (await _get(client, order)).late

    await eventually(known, what="a saga that is not late yet")
    async for update in client.orchestrator.WatchSaga(WatchSagaRequest(saga_id=order.order_id), timeout=20):
        if update.saga.late:
            return True
    return False


async def _all_listed(mesh: RunningMesh, orders: list[Order]) -> list[dict[str, Any]]:
    found = await _listed(mesh, orders)
    return found if len(found) == len(orders) else []


async def _listed(mesh: RunningMesh, orders: list[Order]) -> list[dict[str, Any]]:
    """What `ensemble saga list --stalled` has of these orders, in their order."""
    said = await asyncio.to_thread(ensemble, "saga", "list", "--stalled", "--json", data=mesh.data)
    assert said.returncode == 0, said.stderr
    sagas = {saga["saga_id"]: saga for saga in json.loads(said.stdout)["sagas"]}
    return [sagas[order.order_id] for order in orders if order.order_id in sagas]


async def _replaced(mesh: RunningMesh, killed: int) -> bool:
    return mesh.pid_of("orchestrator") not in (0, killed)


async def _get(client: MeshClient, order: Order) -> Saga:
    request = GetSagaRequest(saga_id=order.order_id)
    # A call that is under way when its orchestrator is killed is broken off, and nobody calls again by itself.
    return (await patiently(lambda: client.orchestrator.GetSaga(request, timeout=10))).saga


async def _both_late(client: MeshClient, orders: list[Order]) -> list[Saga]:
    found = [await _get(client, order) for order in orders]
    return found if all(saga.late for saga in found) else []


async def _ended(client: MeshClient, order: Order) -> Saga | None:
    found = await _get(client, order)
    return found if found.HasField("ended") else None
