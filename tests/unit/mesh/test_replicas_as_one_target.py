"""Replicas behind one target: calls spread over all, and a replica that stops costs none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.channel import connect
from mesh.errors import IN_DOUBT
from mesh.server import Server, bind
from shop.notifications.v1 import notifications_pb2 as notifications
from shop.notifications.v1.notifications_pb2_grpc import NotificationsServiceServicer, NotificationsServiceStub
from tests.unit.mesh.serving import NOTIFICATIONS

LIMIT_S = 10.0
LIST = notifications.ListNotificationsRequest(order_id="o-1")


class Replica(NotificationsServiceServicer):
    """Answers, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.server = Server("127.0.0.1:0", calls_max=64, drain_s=2)
        self.server.add(NOTIFICATIONS, bind(self, NOTIFICATIONS))

    async def ListNotifications(self, request: Any, context: Any) -> Any:
        self.calls += 1
        await asyncio.sleep(0.001)  # so that some calls are under way when a server stops
        return notifications.ListNotificationsResponse()


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[Replica, Replica]]:
    made = (Replica(), Replica())
    for replica in made:
        await replica.server.start()
    yield made
    for replica in made:
        await replica.server.stop()


def target(replicas: tuple[Replica, ...]) -> str:
    return f"ipv4:{','.join(replica.server.address for replica in replicas)}"


async def both_answer(stub: Any, replicas: tuple[Replica, ...]) -> None:
    """Calls until every replica has answered: a channel connects to them one after the other."""
    async with asyncio.timeout(LIMIT_S):
        while not all(replica.calls for replica in replicas):
            await stub.ListNotifications(LIST, timeout=5, wait_for_ready=True)


async def test_calls_are_spread_evenly(replicas: tuple[Replica, Replica]) -> None:
    async with connect(target(replicas)) as channel:
        stub = NotificationsServiceStub(channel)
        await both_answer(stub, replicas)
        before = [replica.calls for replica in replicas]
        await asyncio.gather(*(stub.ListNotifications(LIST, timeout=5) for _ in range(40)))
        assert [replica.calls - count for replica, count in zip(replicas, before, strict=True)] == [20, 20]


async def test_a_replica_that_stops_under_load_fails_no_call_that_is_tried_again(
    replicas: tuple[Replica, Replica],
) -> None:
    stopping, staying = replicas
    outcomes: Counter[grpc.StatusCode] = Counter()
    stop_calling = asyncio.Event()

    async def call_on(stub: Any) -> None:
        while not stop_calling.is_set():
            try:
                await stub.ListNotifications(LIST, timeout=5)
                outcomes[grpc.StatusCode.OK] += 1
            except grpc.aio.AioRpcError as error:
                outcomes[error.code()] += 1
                assert await stub.ListNotifications(LIST, timeout=5, wait_for_ready=True) is not None

    async with connect(target(replicas)) as channel:
        stub = NotificationsServiceStub(channel)
        await both_answer(stub, replicas)
        callers = [asyncio.create_task(call_on(stub)) for _ in range(16)]
        async with asyncio.timeout(LIMIT_S):
            await stopping.server.stop()
            alone = staying.calls
            while staying.calls < alone + 100:  # noqa: ASYNC110  # and goes on answering by itself
                await asyncio.sleep(0.01)
        stop_calling.set()
        await asyncio.gather(*callers)
    assert set(outcomes) <= {grpc.StatusCode.OK, *IN_DOUBT}, "what a client has no reason to try again"
