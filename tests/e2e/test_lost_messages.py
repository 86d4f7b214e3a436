"""The broker loses what only those had to read who stood still. (In the middle of all orders: `scripts/faults`.)"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import nats
import pytest
from nats.js import JetStreamContext

from console.client import MeshClient
from ensemble.orchestrator.v1.orchestrator_pb2 import HandOverRequest, ListSagasRequest, Style
from shop.notifications.v1.notifications_pb2 import ListNotificationsRequest
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, GetOrderRequest
from tests.builders import an_order
from tests.e2e.business import ended, mixed, place, set_stock, settled_books
from tests.harness import RunningMesh, check_logs, eventually, running_mesh

STYLES = [Coordination.Value(f"COORDINATION_{style}") for style in ("CHOREOGRAPHED", "HYBRID", "ORCHESTRATED")]


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A mesh that is impatient with stalled orders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENSEMBLE_STALLED_AFTER_S", "2")
        patch.setenv("ENSEMBLE_ACK_WAIT_S", "2")
        patch.setenv("ENSEMBLE_EVENTS_MAX", "8")  # more than that a stopped service has not got in its hands
        with running_mesh(tmp_path_factory.mktemp("lossy")) as running:
            yield running
            logs = running.logs()
    check_logs(logs)


@asynccontextmanager
async def jetstream(mesh: RunningMesh) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(mesh.file.nats_url)
    yield connection.jetstream()
    await connection.close()


async def purge_the_stream(mesh: RunningMesh) -> None:
    async with jetstream(mesh) as js:
        before = await js.stream_info("EVENTS")
        assert before.state.messages > 8
        await js.purge_stream("EVENTS")
        after = await js.stream_info("EVENTS")
        assert after.state.first_seq > before.state.last_seq, "nothing is left that was there"


async def test_ends_that_were_not_read_of_before_the_loss_are_read_of_after_it(own_mesh: RunningMesh) -> None:
    orders = mixed(20, customer_id="customer-told-late")
    readers = {"notifications": "notifications", "orchestrator": "tracker"}
    async with MeshClient(own_mesh.settings) as client, jetstream(own_mesh) as js:
        await set_stock(client, "sku-1", 1_000_000)
        for name, durable in readers.items():
            own_mesh.kill(name, signal.SIGSTOP)
            await js.delete_consumer("EVENTS", durable)  # or the broker would send them what they have asked for
        try:
            await asyncio.gather(*(place(client, order, STYLES[0]) for order in orders))
            await asyncio.gather(*(ended(client, order.order_id) for order in orders))
            await purge_the_stream(own_mesh)
        finally:
            for name in readers:
                own_mesh.kill(name, signal.SIGCONT)
        ids = {order.order_id for order in orders}

        async def all_told() -> bool:
            requests = [ListNotificationsRequest(order_id=id) for id in ids]
            told = await asyncio.gather(*(client.notifications.ListNotifications(one, timeout=5) for one in requests))
            sagas = (await client.orchestrator.ListSagas(ListSagasRequest(page_size=1000), timeout=5)).sagas
            seen = {saga.saga_id for saga in sagas if saga.HasField("ended")}
            return ids <= seen and all(len(one.notifications) == 1 for one in told)

        await eventually(all_told, every_s=0.2)
    assert (await settled_books(own_mesh.data)).faults == []


async def test_an_order_whose_hand_over_is_lost_before_orders_reads_of_it_ends_too(own_mesh: RunningMesh) -> None:
    order = an_order(customer_id="customer-given")
    async with MeshClient(own_mesh.settings) as client, jetstream(own_mesh) as js:
        await set_stock(client, "sku-1", 1_000_000)
        for name in ("shipping", "orders"):
            if name == "orders":  # once the saga is under way, at the orchestrator
                await place(client, order, STYLES[2])
            own_mesh.kill(name, signal.SIGSTOP)
            await js.delete_consumer("EVENTS", name)  # or the broker would send it what it has asked for
        try:
            request = HandOverRequest(saga_id=order.order_id)
            given = (await client.orchestrator.HandOver(request, timeout=5)).saga
            assert given.style == Style.STYLE_CHOREOGRAPHED
            await js.purge_stream("EVENTS")
        finally:
            for name in ("shipping", "orders"):
                own_mesh.kill(name, signal.SIGCONT)
        assert await ended(client, order.order_id, within_s=30) == OrderStatus.ORDER_STATUS_COMPLETED
        state = (await client.orders.GetOrder(GetOrderRequest(order_id=order.order_id), timeout=5)).state
        assert state.coordination_taken == STYLES[0]
    assert (await settled_books(own_mesh.data)).faults == []
