"""Three orchestrators on one PostgreSQL: killed, paused, asked about each other's sagas, started again one by one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any
from uuid import uuid4

import grpc.aio
import pytest

from console.client import MeshClient
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from orchestrator.journal import COMPENSATED, COMPLETED, RUNNING
from shop.inventory.v1.inventory_pb2 import GetStockRequest
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, ListOrdersRequest, PlaceOrderRequest
from shop.payments.v1.payments_pb2 import GetAccountRequest
from tests.builders import an_order
from tests.e2e.business import ENDED, ended, expected, mixed, run_all, set_stock, settled_books
from tests.e2e.several import Tables, all_serve, at, end_of, ends_of, paused, run, start_all
from tests.harness import RunningMesh, check_logs, ensemble, eventually, running_mesh
from tests.postgres import PostgresServer

REPLICAS = {"orchestrator": 3, "inventory": 2, "payments": 2}
# The design's limit is five seconds; the rest is for a machine that is busy with other things.
MOVED_WITHIN_S = 8.0
# Between two replicas of a rolling restart: a channel looks for one that it lost every 0.6 s (mesh.channel), and until
# then knows only the next one to go. What Kubernetes calls minReadySeconds.
APART_S = 1.0
# The promise to those who watch is a second.
TOLD_WITHIN_S = 3.0
# Between the calls of one client: the processes that start need the machine, too.
ORDER_EVERY_S, READ_EVERY_S = 0.2, 0.05

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[RunningMesh]:
    data = tmp_path_factory.mktemp("several")
    with running_mesh(data, database_url=postgres_server.fresh_database(), replicas=REPLICAS) as running:
        yield running
        logs = running.logs()
    check_logs(logs)


@pytest.fixture
async def client(several: RunningMesh) -> AsyncIterator[MeshClient]:
    """A client of all replicas. Afterwards the mesh is whole again, and its books are exact."""
    async with MeshClient(several.settings) as connected:
        await set_stock(connected, "sku-1", 1_000_000)
        yield connected
        await all_serve(several)
        books = await settled_books(several.data, database_url=several.database_url)
        assert books.faults == []


@pytest.fixture
def tables(several: RunningMesh) -> Iterator[Tables]:
    opened = Tables(several.settings)
    yield opened
    opened.close()


@pytest.mark.parametrize("restarted", [False, True], ids=["which stays dead", "which is started again"])
async def test_the_sagas_of_a_killed_orchestrator_go_on_elsewhere(
    several: RunningMesh, client: MeshClient, tables: Tables, restarted: bool, record_property: Record
) -> None:
    """The supervisor is paused where nobody is to start it again."""
    orders = mixed(20)
    supervisor = contextlib.nullcontext() if restarted else paused(several.file.supervisor_pid)
    with supervisor:
        with paused(several.pid_of("shipping")):  # so that they are under way
            async with at(several.address_of("orchestrator-2")) as second:
                await start_all(second, orders)
            (dead,) = tables.owners(orders)
            began = time.monotonic()
            several.kill("orchestrator-2")

            async def moved() -> bool:
                return not tables.owners(orders) & {dead, None}

            await eventually(moved, within_s=MOVED_WITHIN_S, what="another owner")
            record_property("moved_s", round(time.monotonic() - began, 2))
        async with at(several.address_of("orchestrator")) as first:
            assert await ends_of(first, orders) == {"COMPLETED", "COMPENSATED"}


async def test_an_orchestrator_that_wakes_up_after_its_lease_does_no_harm_and_goes_on(
    several: RunningMesh, client: MeshClient, tables: Tables
) -> None:
    orders = mixed(20)
    async with at(several.address_of("orchestrator")) as zombie, at(several.address_of("orchestrator-3")) as other:
        with paused(several.pid_of("shipping")):
            await start_all(zombie, orders)
            (asleep,) = tables.owners(orders)
            assert asleep

            async def held() -> bool:
                return tables.seen(orders, "BookShipment")

            await eventually(held, what="the journal of how far all have come")
            with paused(several.pid_of("orchestrator")):

                async def moved() -> bool:
                    return not tables.owners(orders) & {asleep, None}

                await eventually(moved, within_s=MOVED_WITHIN_S, what="another owner")
                several.kill("shipping", signal.SIGCONT)
                assert await ends_of(other, orders) == {"COMPLETED", "COMPENSATED"}
                written = await last_words(tables, orders)

        async def awake() -> bool:
            return tables.leases().get(asleep, 0) > (time.time() + 1) * 1e6

        await eventually(awake, what="a heartbeat after the pause")
        assert await ends_of(zombie, orders) == {"COMPLETED", "COMPENSATED"}
        more = mixed(20)
        await start_all(zombie, more)  # after which all that it knew of the others is written, or will not be
        assert await ends_of(zombie, more) == {"COMPLETED", "COMPENSATED"}
        assert tables.journals(orders) == written


async def test_an_orchestrator_answers_for_a_saga_that_another_one_runs(
    several: RunningMesh, client: MeshClient, tables: Tables
) -> None:
    order = an_order()
    get = api.GetSagaRequest(saga_id=order.order_id)
    async with at(several.address_of("orchestrator-2")) as runs, at(several.address_of("orchestrator-3")) as asked:
        with paused(several.pid_of("shipping")):
            await start_all(runs, [order])
            owners = tables.owners([order])
            assert (await asked.GetSaga(get, timeout=5)).saga.status == RUNNING
            listed = await asked.ListSagas(api.ListSagasRequest(status=RUNNING), timeout=5)
            assert order.order_id in {saga.saga_id for saga in listed.sagas}
            watching = asyncio.create_task(end_of(asked, order.order_id))
            running = asyncio.create_task(run(asked, order))  # it was started: the same saga, which stays where it is
            await start_all(asked, [order])
            assert tables.owners([order]) == owners
        ended_as = await end_of(runs, order.order_id)
        began = time.monotonic()
        assert (await watching).status == COMPLETED
        assert (await running).status == COMPLETED
        assert time.monotonic() - began < TOLD_WITHIN_S
        assert (await asked.GetSaga(get, timeout=5)).saga == ended_as


async def test_a_cancellation_is_taken_by_the_orchestrator_that_is_asked(
    several: RunningMesh, client: MeshClient, tables: Tables
) -> None:
    order = an_order()
    async with at(several.address_of("orchestrator-2")) as ran, at(several.address_of("orchestrator-3")) as asked:
        with paused(several.pid_of("shipping")):
            await start_all(ran, [order])
            (before,) = tables.owners([order])
            cancelled = await asked.CancelSaga(api.CancelSagaRequest(saga_id=order.order_id), timeout=10)
            assert cancelled.verdict == api.CANCEL_VERDICT_CANCELLED
            assert not tables.owners([order]) & {before, None}
        assert (await end_of(asked, order.order_id)).status == COMPENSATED
        written = await last_words(tables, [order])
        assert before
        await beats(tables, before)
        await beats(tables, before)  # whose first one told it that the saga is not its own any more
        assert tables.journals([order]) == written
        assert (await end_of(ran, order.order_id)).status == COMPENSATED


async def test_a_rolling_restart_fails_no_order_and_no_call(several: RunningMesh, client: MeshClient) -> None:
    """Clients here try nothing again: a call that fails is a failed call."""
    flow = Flow(client)
    async with asyncio.TaskGroup() as group:
        for work in flow.all():
            group.create_task(work)
        for number in (1, 2, 3):
            names = [name if number == 1 else f"{name}-{number}" for name, n in REPLICAS.items() if number <= n]
            pids = {name: several.kill(name, signal.SIGTERM) for name in names}
            await eventually(functools.partial(replaced, several, pids), within_s=60, what="others in their places")
            await all_serve(several)
            await asyncio.sleep(APART_S)
        flow.stopping = True
    assert flow.failures == []
    assert set(flow.ends) == {"COMPLETED", "COMPENSATED"}
    assert flow.calls > 100
    for name, count in REPLICAS.items():
        for number in range(count):
            assert f"{name} stops" in several.log_of(f"{name}-{number + 1}" if number else name)


async def test_a_killed_and_a_drained_replica_of_a_service_cost_no_order(
    several: RunningMesh, client: MeshClient
) -> None:
    parts = {part.name: part.pid for part in several.file.parts}
    assert {"inventory", "inventory-2", "payments", "payments-2"} < set(parts)
    running = [
        asyncio.create_task(run_all(client, mixed(30), Coordination.Value(f"COORDINATION_{style}"), at_once=6))
        for style in ("ORCHESTRATED", "CHOREOGRAPHED")
    ]
    await asyncio.wait(running, timeout=0.5)
    assert not any(task.done() for task in running), "the replicas were to go in the middle"
    several.kill("inventory-2")
    several.kill("payments", signal.SIGTERM)
    assert [await task for task in running] == [expected(30)] * 2

    async def replaced() -> bool:
        now = {part.name: part.pid for part in several.file.parts}
        return all(now[name] not in (0, parts[name]) for name in ("inventory-2", "payments"))

    await eventually(replaced, what="other processes in their places")
    assert "payments stops" in several.log_of("payments")
    audit = ensemble("audit", "--json", "--database", several.database_url, data=several.data)
    assert audit.returncode == 0, audit.stdout
    assert ensemble("audit", data=several.data).returncode == 1, "there are no SQLite files"


async def test_a_database_server_that_is_started_again_costs_no_order(
    several: RunningMesh, client: MeshClient, postgres_server: PostgresServer
) -> None:
    batches = {"ORCHESTRATED": mixed(30), "CHOREOGRAPHED": mixed(30)}
    ids = {order.order_id for orders in batches.values() for order in orders}
    running = [
        asyncio.create_task(run_all(client, orders, Coordination.Value(f"COORDINATION_{style}"), at_once=6))
        for style, orders in batches.items()
    ]

    async def some_have_ended() -> bool:
        page = await client.orders.ListOrders(ListOrdersRequest(page_size=100), timeout=5)
        return sum(state.order.order_id in ids and state.status in ENDED for state in page.orders) >= 10

    await eventually(some_have_ended, what="the first ends")
    assert not any(task.done() for task in running), "the server was to go in the middle"
    await asyncio.to_thread(postgres_server.end, signal.SIGQUIT)
    await asyncio.to_thread(postgres_server.start)
    assert [await task for task in running] == [expected(30)] * 2


async def last_words(tables: Tables, orders: list[Order]) -> list[tuple[Any, ...]]:
    """What is written of sagas that have ended, once all of it is."""

    async def written() -> bool:
        return tables.owners(orders) == {None}

    await eventually(written, what="the writing of what has ended")
    return tables.journals(orders)


async def beats(tables: Tables, owner: str) -> None:
    """Returns after another heartbeat of an orchestrator."""
    last = tables.leases().get(owner, 0)

    async def again() -> bool:
        return tables.leases().get(owner, 0) > last

    await eventually(again, what="a heartbeat")


async def replaced(mesh: RunningMesh, pids: Mapping[str, int]) -> bool:
    return all(mesh.pid_of(name) not in (0, pid) for name, pid in pids.items())


class Flow:
    """Orders in all styles, and reads of what is started again, one after the other in several tasks."""

    def __init__(self, client: MeshClient) -> None:
        self._client = client
        self.stopping = False
        self.calls = 0
        self.failures: list[str] = []
        self.ends: Counter[str] = Counter()

    def all(self) -> list[Coroutine[Any, Any, None]]:
        orders = [self._orders(style) for style in Coordination.values() if style]
        stock = functools.partial(self._client.inventory.GetStock, GetStockRequest(sku="sku-1"), timeout=5)
        account = functools.partial(self._client.payments.GetAccount, GetAccountRequest(customer_id="c"), timeout=5)
        sagas = functools.partial(self._client.orchestrator.ListSagas, api.ListSagasRequest(page_size=1), timeout=5)
        return orders + [self._reads(read) for read in (stock, account, sagas)]

    async def _orders(self, style: Coordination.ValueType) -> None:
        for order in itertools.cycle(mixed(5)):
            if self.stopping:
                break
            order.order_id = uuid4().hex
            request = PlaceOrderRequest(order=order, coordination=style)
            if await self._call(functools.partial(self._client.orders.PlaceOrder, request, timeout=10)):
                status = await ended(self._client, order.order_id)
                self.ends[OrderStatus.Name(status).removeprefix("ORDER_STATUS_")] += 1
            await asyncio.sleep(ORDER_EVERY_S)

    async def _reads(self, read: Callable[[], Awaitable[object]]) -> None:
        while not self.stopping:
            await self._call(read)
            await asyncio.sleep(READ_EVERY_S)

    async def _call(self, call: Callable[[], Awaitable[object]]) -> bool:
        self.calls += 1
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            self.failures.append(f"{error.code().name}: {error.details()}")
            return False
        return True
