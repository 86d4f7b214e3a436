"""The broker loses what it was given, in the middle of two hundred orders: replay from the ledgers heals all of them.

Each fault is made while payments is stopped and every order waits for it, so that what is lost was needed.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import nats
import pytest
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo

from console.client import MeshClient
from ensemble.orchestrator.v1.orchestrator_pb2 import HandOverRequest, ListSagasRequest, Style
from shop.notifications.v1.notifications_pb2 import ListNotificationsRequest
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import CancelOrderRequest, Coordination, GetOrderRequest, ListOrdersRequest
from tests.builders import an_order
from tests.e2e.business import ENDED, ended, expected, mixed, place, set_stock, settled_books, status_of
from tests.harness import RunningMesh, check_logs, eventually, running_mesh

ORDERS = 200
PENDING = OrderStatus.ORDER_STATUS_PENDING
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


async def delete_the_consumer(mesh: RunningMesh) -> None:
    async with jetstream(mesh) as js:
        before = await js.consumer_info("EVENTS", "payments")
        assert before.num_pending or before.num_ack_pending
        assert await js.delete_consumer("EVENTS", "payments")
        mesh.kill("payments", signal.SIGCONT)

        async def anew() -> ConsumerInfo | None:
            try:
                return await js.consumer_info("EVENTS", "payments")
            except NatsError:
                return None

        after = await eventually(anew, what="a new consumer")
        assert after is not None
        assert after.created > before.created


async def purge_the_stream(mesh: RunningMesh) -> None:
    async with jetstream(mesh) as js:
        before = await js.stream_info("EVENTS")
        assert before.state.messages > 8
        await js.purge_stream("EVENTS")
        after = await js.stream_info("EVENTS")
        assert after.state.first_seq > before.state.last_seq, "nothing is left that was there"


async def empty_the_disk(mesh: RunningMesh) -> None:
    async with jetstream(mesh) as js:
        before = await js.stream_info("EVENTS")
    killed = mesh.kill("nats-server", signal.SIGSTOP)
    shutil.rmtree(mesh.data / "nats" / "jetstream")
    mesh.kill("nats-server")

    async def replaced() -> bool:
        return mesh.pid_of("nats-server") not in (0, killed)

    await eventually(replaced, what="another broker")
    async with jetstream(mesh) as js:

        async def anew() -> StreamInfo | None:
            try:
                return await js.stream_info("EVENTS")
            except NatsError:
                return None

        after = await eventually(anew, what="the stream to be made anew")
    assert after is not None
    assert after.created > before.created
    assert after.state.last_seq < before.state.last_seq


@pytest.mark.parametrize(
    "lose", [delete_the_consumer, purge_the_stream, empty_the_disk], ids=lambda fault: fault.__name__
)
async def test_two_hundred_orders_end_though_the_broker_loses_what_they_wait_for(
    own_mesh: RunningMesh, lose: Callable[[RunningMesh], Awaitable[None]]
) -> None:
    orders = mixed(ORDERS, customer_id=f"customer-{lose.__name__}")
    async with MeshClient(own_mesh.settings) as client:
        await set_stock(client, "sku-1", 1_000_000)
        own_mesh.kill("payments", signal.SIGSTOP)
        try:
            await asyncio.gather(*(place(client, order, STYLES[n % 3]) for n, order in enumerate(orders)))
            cancelled = await cancel_some(client, orders)
            assert await open_orders(client, orders) == ORDERS, "it is to happen in the middle"
            await lose(own_mesh)
        finally:
            own_mesh.kill("payments", signal.SIGCONT)
        ends = await asyncio.gather(*(ended(client, order.order_id) for order in orders))
        counted = Counter(OrderStatus.Name(end).removeprefix("ORDER_STATUS_") for end in ends)
        turned = sum(n % 5 != 0 for n in cancelled)  # which nobody would have refused
        assert turned
        assert counted == expected(ORDERS) + Counter(COMPENSATED=turned) - Counter(COMPLETED=turned)
        books = await settled_books(own_mesh.data)
        assert (books.faults, books.in_flight) == ([], [])


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


async def cancel_some(client: MeshClient, orders: list[Order]) -> list[int]:
    """Cancels some of those that go by events, so that a few are on their way back; which."""
    some = [n for n in range(0, 60, 6) if await status_of(client, orders[n].order_id) == PENDING]
    for n in some:
        await client.orders.CancelOrder(CancelOrderRequest(order=orders[n]), timeout=5)
    return some


async def open_orders(client: MeshClient, orders: list[Order]) -> int:
    ids = {order.order_id for order in orders}
    page = await client.orders.ListOrders(ListOrdersRequest(page_size=1000), timeout=5)
    return sum(state.order.order_id in ids and state.status not in ENDED for state in page.orders)
