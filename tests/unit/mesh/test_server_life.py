"""A server says how it is, what it serves, and when it has too much to do."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mesh import errors
from mesh.channel import connect
from mesh.server import RETRY_AFTER_S, Server
from shop.notifications.v1.notifications_pb2 import ListNotificationsRequest
from shop.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from tests.unit.mesh.serving import NOTIFICATIONS, Serving, failure, serving

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def waiting_call(server: Serving) -> asyncio.Task[bytes]:
    """A call that the server has begun and not answered."""

    async def call() -> bytes:
        return await server.list("waits")

    task = asyncio.create_task(call())
    async with asyncio.timeout(5):
        await server.servicer.begun.wait()
    return task


async def test_more_calls_than_a_server_admits_are_told_when_to_try_again() -> None:
    async with serving(calls_max=1) as server:
        waiting = await waiting_call(server)
        error = await failure(server.list("o-1"))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        status = errors.status_of(error)
        info = errors.error_info_of(status)
        assert info is not None
        assert info.reason == "OVERLOADED"
        assert errors.retry_delay_s(status) == RETRY_AFTER_S
        server.servicer.go_on.set()
        await waiting


async def test_a_place_is_free_again_after_an_answer_or_an_error() -> None:
    async with serving(calls_max=1) as server:
        for order_id in ("o-1", "fails", "refuses", "o-2", "not valid"):
            if order_id.startswith("o-"):
                assert await server.list(order_id)
            else:
                assert (await failure(server.list(order_id))).code() != grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_place_is_free_again_after_its_caller_gave_up() -> None:
    async with serving(calls_max=1) as server:
        waiting = await waiting_call(server)
        waiting.cancel()
        await asyncio.wait([waiting])
        async with asyncio.timeout(5):
            while True:  # the server hears of it a moment later
                try:
                    assert await server.list("o-1")
                    break
                except grpc.aio.AioRpcError as error:
                    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017  # any other is a fault


async def test_open_streams_take_no_places() -> None:
    async with serving(calls_max=1) as server:
        streams = [server.watch(f"saga-{number}") for number in range(3)]
        for stream in streams:
            assert await stream.read()
        assert await server.list("o-1")
        waiting = await waiting_call(server)
        assert await server.watch("saga-4").read()  # and a server without a place opens streams
        waiting.cancel()


async def test_health_is_serving_between_start_and_stop() -> None:
    async with serving() as server:
        health = health_pb2_grpc.HealthStub(server.channel)
        for name in ("", NOTIFICATIONS.full_name):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        server.server._drain_s = 5
        watching = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watching.read()).status == SERVING
        stopping = asyncio.create_task(server.server.stop())
        async with asyncio.timeout(5):
            assert (await watching.read()).status == NOT_SERVING
            await stopping


async def test_a_stop_lets_a_call_under_way_finish_and_refuses_new_ones() -> None:
    async with serving() as server:
        server.server._drain_s = 5
        waiting = await waiting_call(server)
        stopping = asyncio.create_task(server.server.stop())
        health = health_pb2_grpc.HealthStub(server.channel)
        async with asyncio.timeout(5):
            while True:  # until the stop has begun
                try:
                    await health.Check(health_pb2.HealthCheckRequest(), timeout=1)
                except grpc.aio.AioRpcError:
                    break
        assert not waiting.done()
        server.servicer.go_on.set()
        assert await waiting
        async with asyncio.timeout(5):
            await stopping


async def test_a_server_that_stops_fails_no_call_of_clients_that_watch_its_health() -> None:
    calls, failures, over = 0, [], asyncio.Event()

    async def call_on() -> None:
        nonlocal calls
        request = ListNotificationsRequest(order_id="o-1")
        while not over.is_set():
            calls += 1
            try:
                await NotificationsServiceStub(channel).ListNotifications(request, timeout=5)
            except grpc.aio.AioRpcError as error:
                failures.append(f"{error.code().name}: {error.details()}")
            await asyncio.sleep(0)

    async with serving() as stays:
        for _ in range(3):
            over.clear()
            async with serving() as goes, connect(f"ipv4:{goes.server.address},{stays.server.address}") as channel:
                goes.server._drain_s = 5
                await channel.channel_ready()
                callers = [asyncio.create_task(call_on()) for _ in range(8)]
                await asyncio.sleep(0.1)
                await goes.server.stop()
                over.set()
                await asyncio.gather(*callers)
    assert failures == []
    assert calls > 100


async def test_an_open_stream_does_not_hold_up_a_stop() -> None:
    async with serving() as server:
        server.server._drain_s = 30
        stream = server.watch("saga-1")
        assert await stream.read()
        async with asyncio.timeout(5):
            await server.server.stop()
        await failure(stream.read())


async def test_reflection_lists_the_services() -> None:
    async with serving() as server:
        reflection = reflection_pb2_grpc.ServerReflectionStub(server.channel)
        answers = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await answers.read()
        assert {service.name for service in answer.list_services_response.service} == {
            "shop.notifications.v1.NotificationsService",
            "ensemble.orchestrator.v1.OrchestratorService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    async with serving() as server:
        second = Server(server.server.address, calls_max=1, drain_s=0)
        with pytest.raises(OSError, match=rf"cannot listen on {server.server.address}"):
            await second.start()


async def test_the_mesh_own_channel_reaches_a_server_with_health() -> None:
    async with serving() as server, connect(server.server.address) as channel:
        stub = NotificationsServiceStub(channel)
        request = ListNotificationsRequest(order_id="o-1")
        response = await stub.ListNotifications(request, timeout=5, wait_for_ready=True)
        assert [one.order_id for one in response.notifications] == ["o-1"]
