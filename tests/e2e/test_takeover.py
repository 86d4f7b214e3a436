"""Either style finishes what the other began, over the real processes: asked to, and by itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import grpc.aio
import pytest

from console.client import MeshClient
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import Coordination, GetOrderRequest, OrderState
from tests.builders import an_order
from tests.e2e.business import ended, expected, mixed, place, set_stock, settled_books
from tests.e2e.several import all_serve, paused
from tests.harness import RunningMesh, eventually

HYBRID, ORCHESTRATED = Coordination.COORDINATION_HYBRID, Coordination.COORDINATION_ORCHESTRATED
BY_EVENTS = Coordination.COORDINATION_CHOREOGRAPHED
# The promise is five seconds; the rest is for a machine that is busy with other things.
MOVED_WITHIN_S = 15.0

Record = Callable[[str, object], None]


@pytest.fixture(autouse=True)
async def exact_books(mesh: RunningMesh, client: MeshClient) -> AsyncIterator[None]:
    """The mesh is whole, and afterwards its books are exact."""
    await set_stock(client, "sku-1", 1_000_000)
    await all_serve(mesh)

    async def answers() -> bool:
        order = an_order()
        await place(client, order, HYBRID)
        return (await state_of(client, order)).coordination_taken == ORCHESTRATED

    await eventually(answers, what="an orchestrator that the orders service finds")
    yield
    assert (await settled_books(mesh.data, within_s=60)).faults == []


@contextlib.contextmanager
def gone(mesh: RunningMesh, name: str) -> Iterator[None]:
    """Kills a part, or the broker, and lets nobody start it again meanwhile."""
    with paused(mesh.file.supervisor_pid):
        mesh.kill(name)
        yield


@contextlib.contextmanager
def asleep(mesh: RunningMesh, name: str) -> Iterator[None]:
    with paused(mesh.pid_of(name)):
        yield


async def state_of(client: MeshClient, order: Order) -> OrderState:
    return (await client.orders.GetOrder(GetOrderRequest(order_id=order.order_id), timeout=5)).state


async def all_placed(client: MeshClient, orders: list[Order], style: Coordination.ValueType) -> None:
    await asyncio.gather(*(place(client, order, style) for order in orders))


async def all_taken_by(client: MeshClient, orders: list[Order], side: Coordination.ValueType) -> float:
    """Returns how many seconds it took until the last of the orders was the other side's."""
    began = time.monotonic()

    async def taken() -> bool:
        states = await asyncio.gather(*(state_of(client, order) for order in orders))
        return {state.coordination_taken for state in states} == {side}

    await eventually(taken, within_s=MOVED_WITHIN_S, what="the takeover of all orders")
    return time.monotonic() - began


async def ends(client: MeshClient, orders: list[Order]) -> Counter[str]:
    found = await asyncio.gather(*(ended(client, order.order_id) for order in orders))
    return Counter(OrderStatus.Name(status).removeprefix("ORDER_STATUS_") for status in found)


async def saga_of(client: MeshClient, order: Order) -> api.Saga:
    return (await client.orchestrator.GetSaga(api.GetSagaRequest(saga_id=order.order_id), timeout=5)).saga


@pytest.mark.parametrize("away", [gone, asleep], ids=["killed", "paused"])
async def test_hybrid_orders_in_the_middle_are_taken_over_from_an_orchestrator_that_is(
    mesh: RunningMesh, client: MeshClient, away: Callable[[RunningMesh, str], contextlib.AbstractContextManager[None]],
    record_property: Record,
) -> None:  # fmt: skip
    orders = mixed(50)
    with contextlib.ExitStack() as shipping:
        shipping.enter_context(paused(mesh.pid_of("shipping")))  # so that they are under way
        await all_placed(client, orders, HYBRID)
        states = await asyncio.gather(*(state_of(client, order) for order in orders))
        assert {state.coordination_taken for state in states} == {ORCHESTRATED}
        with away(mesh, "orchestrator"):
            shipping.close()
            taken_s = await all_taken_by(client, orders, BY_EVENTS)
            record_property("taken_s", round(taken_s, 2))
            assert await ends(client, orders) == expected(len(orders))


async def test_hybrid_orders_that_wait_for_a_dead_broker_are_taken_over_by_the_orchestrator(
    mesh: RunningMesh, client: MeshClient, record_property: Record
) -> None:
    orders = [an_order() for _ in range(10)]
    with contextlib.ExitStack() as shipping:
        shipping.enter_context(paused(mesh.pid_of("shipping")))
        with asleep(mesh, "orchestrator"):
            await all_placed(client, orders, HYBRID)
            states = await asyncio.gather(*(state_of(client, order) for order in orders))
            assert {state.coordination_taken for state in states} == {BY_EVENTS}
            stack = contextlib.ExitStack()
            stack.enter_context(gone(mesh, "nats-server"))
        with stack:
            shipping.close()
            record_property("taken_s", round(await all_taken_by(client, orders, ORCHESTRATED), 2))
            assert await ends(client, orders) == {"COMPLETED": 10}


@pytest.mark.parametrize("refused", [False, True], ids=["on the way forward", "on the way back"])
async def test_sagas_are_handed_over_and_adopted_in_the_middle(
    mesh: RunningMesh, client: MeshClient, refused: bool
) -> None:
    orders = [an_order(payment_token="tok_declined" if refused else "tok_visa") for _ in range(4)]
    half = len(orders) // 2
    with paused(mesh.pid_of("shipping")):
        await all_placed(client, orders[:half], ORCHESTRATED)
        await all_placed(client, orders[half:], BY_EVENTS)
        for order in orders[:half]:
            request = api.HandOverRequest(saga_id=order.order_id)
            saga = (await client.orchestrator.HandOver(request, timeout=10)).saga
            assert saga.style == api.STYLE_CHOREOGRAPHED
        for order in orders[half:]:
            await eventually(lambda: adopted(client, order), what="the tracker's sight of its start")  # noqa: B023  # awaited here
    assert await ends(client, orders) == {"COMPENSATED" if refused else "COMPLETED": len(orders)}

    async def told() -> bool:
        return all([(await saga_of(client, order)).HasField("ended") for order in orders])

    await eventually(told, what="the sagas' ends")


async def test_what_was_adopted_and_handed_over_stays_so_when_the_orchestrator_is_killed(
    mesh: RunningMesh, client: MeshClient
) -> None:
    kept, given = an_order(), an_order()
    with paused(mesh.pid_of("shipping")):
        await place(client, kept, BY_EVENTS)
        await place(client, given, ORCHESTRATED)
        await client.orchestrator.HandOver(api.HandOverRequest(saga_id=given.order_id), timeout=10)
        await eventually(lambda: adopted(client, kept), what="the tracker's sight of its start")
        mesh.kill("orchestrator")
    assert await ends(client, [kept, given]) == {"COMPLETED": 2}

    async def shown() -> list[int]:
        with contextlib.suppress(grpc.aio.AioRpcError):  # it is being started again
            sagas = [await saga_of(client, order) for order in (kept, given)]
            return [saga.style for saga in sagas if saga.HasField("ended")]
        return []

    async def agrees() -> bool:
        return await shown() == [api.STYLE_ORCHESTRATED, api.STYLE_CHOREOGRAPHED]

    await eventually(agrees, what="both sagas as what they were made")


async def adopted(client: MeshClient, order: Order) -> bool:
    with contextlib.suppress(grpc.aio.AioRpcError):  # the tracker may not have seen its start yet
        request = api.AdoptRequest(saga_id=order.order_id)
        return bool((await client.orchestrator.Adopt(request, timeout=5)).saga.style == api.STYLE_ORCHESTRATED)
    return False
