"""A server with two tiny services, and raw calls to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.errors import Overloaded, Refused
from mesh.server import Binding, Server, bind
from shop.notifications.v1 import notifications_pb2 as notifications
from shop.notifications.v1.notifications_pb2_grpc import NotificationsServiceServicer

NOTIFICATIONS: ServiceDescriptor = notifications.DESCRIPTOR.services_by_name["NotificationsService"]
ORCHESTRATOR: ServiceDescriptor = api.DESCRIPTOR.services_by_name["OrchestratorService"]
LIST = "/shop.notifications.v1.NotificationsService/ListNotifications"
NOTIFY = "/shop.notifications.v1.NotificationsService/NotifyCustomer"
WATCH = "/ensemble.orchestrator.v1.OrchestratorService/WatchSaga"

SECRET = "postgresql://user:password=hunter2@db"


class TinyNotifications(NotificationsServiceServicer):
    """Does what the order's id says."""

    def __init__(self) -> None:
        self.admits = True
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    def admit_ListNotifications(self) -> None:
        if not self.admits:
            raise Overloaded("full", 0.5)

    async def ListNotifications(self, request: Any, context: Any) -> Any:
        if request.order_id == "fails":
            raise RuntimeError(SECRET)
        if request.order_id == "refuses":
            raise Refused("OUT_OF_STOCK", "only 2 left", sku="sku-1")
        if request.order_id == "talks":
            raise Refused("TOO_LONG", "x" * 20_000)
        if request.order_id == "waits":
            self.begun.set()
            await self.go_on.wait()
        one = notifications.Notification(order_id=request.order_id)
        return notifications.ListNotificationsResponse(notifications=[one])

    async def NotifyCustomer(self, request: Any, context: Any) -> Any:
        return notifications.NotifyCustomerResponse(notification_id="n-1")


class TinyOrchestrator:
    """Streams the saga for ever, or fails after the first state."""

    async def WatchSaga(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield api.WatchSagaResponse(saga=api.Saga(saga_id=request.saga_id))
        if request.saga_id == "fails":
            raise RuntimeError(SECRET)
        await asyncio.Event().wait()


class Serving:
    """A server that runs, its servicer, and a channel to it."""

    def __init__(self, server: Server, servicer: TinyNotifications, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.servicer = servicer
        self.channel = channel

    def raw(self, path: str, data: bytes) -> Any:
        """A call of bytes for bytes, as any client may send."""
        return self.channel.unary_unary(path)(data, timeout=5)

    def list(self, order_id: str) -> Any:
        return self.raw(LIST, notifications.ListNotificationsRequest(order_id=order_id).SerializeToString())

    def watch(self, saga_id: str) -> Any:
        request = api.WatchSagaRequest(saga_id=saga_id).SerializeToString()
        return self.channel.unary_stream(WATCH)(request, timeout=5)


@asynccontextmanager
async def serving(calls_max: int = 16) -> AsyncIterator[Serving]:
    servicer = TinyNotifications()
    server = Server("127.0.0.1:0", calls_max=calls_max, drain_s=0)
    server.add(NOTIFICATIONS, bind(servicer, NOTIFICATIONS))
    watching = [method for method in ORCHESTRATOR.methods if method.name == "WatchSaga"]
    server.add(ORCHESTRATOR, [Binding(method, TinyOrchestrator().WatchSaga) for method in watching])
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Serving(server, servicer, channel)
    finally:
        await server.stop()


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """The error of a call that has to fail."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call succeeded")
