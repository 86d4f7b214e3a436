"""One service as a process: what it published late, how it ends, and what it says when it cannot start."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from eventbus_bench import Desk, MortalBroker, an_envelope, connected
from grpc_health.v1 import health_pb2, health_pb2_grpc
from participant_process import ServiceProcess, running_service

from mesh.channel import connect
from shop.inventory.v1.inventory_pb2 import (
    GetStockRequest,
    ReleaseStockRequest,
    ReleaseStockResponse,
    SetStockRequest,
    Stock,
)
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.harness import Broker, eventually

RESERVED = "shop.inventory.v1.StockReserved"
RELEASED = "shop.inventory.v1.StockReleased"


@pytest.fixture
async def channel() -> AsyncIterator[list[grpc.aio.Channel]]:
    """Collects channels to be closed."""
    channels: list[grpc.aio.Channel] = []
    yield channels
    for one in channels:
        await one.close()


async def stub_of(service: ServiceProcess, channels: list[grpc.aio.Channel]) -> InventoryServiceStub:
    channels.append(grpc.aio.insecure_channel(await service.address()))
    return InventoryServiceStub(channels[-1])


async def arrived(channel: grpc.aio.Channel) -> None:
    """Returns once the service has the calls made before: it answers a later one of the same connection."""
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)


async def choreograph(mortal: MortalBroker, order: Order) -> None:
    """Lets an order's OrderPlaced reach inventory, so that its saga is choreographed there."""
    async with connected(mortal.url) as bus:
        body = OrderPlaced(order=order).SerializeToString()
        await bus.publish(an_envelope("shop.orders.v1.OrderPlaced", saga_id=order.order_id, body=body))
        await published(bus, RESERVED)


async def published(bus: object, event: str) -> None:
    desk = Desk(bus)  # type: ignore[arg-type]
    desk.event = event

    async def stored() -> bool:
        return await desk.stored() == 1

    await eventually(stored, what=event)


@pytest.mark.parametrize("killed", [False, True], ids=["by the same process", "by the next one, after kill -9"])
async def test_an_event_committed_while_the_broker_was_away_is_published_when_it_is_back(
    tmp_path: Path, mortal: MortalBroker, channel: list[grpc.aio.Channel], killed: bool
) -> None:
    order = an_order()
    with running_service("inventory", tmp_path / "data", ENSEMBLE_NATS_URL=mortal.url) as service:
        stub = await stub_of(service, channel)
        await stub.SetStock(SetStockRequest(sku="sku-1", on_hand=5))
        await choreograph(mortal, order)
        mortal.kill()
        assert await stub.ReleaseStock(ReleaseStockRequest(order=order), timeout=5) == ReleaseStockResponse()
        if not killed:
            mortal.start()
            async with connected(mortal.url) as bus:
                await published(bus, RELEASED)
            return
    with running_service("inventory", tmp_path / "data", ENSEMBLE_NATS_URL=mortal.url) as service:
        await service.address()  # it serves without a broker
        mortal.start()
        async with connected(mortal.url) as bus:
            await published(bus, RELEASED)


async def test_sigterm_says_not_serving_and_lets_a_call_in_flight_finish(
    tmp_path: Path, broker: Broker, channel: list[grpc.aio.Channel]
) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL=broker.url) as service:
        stub = await stub_of(service, channel)
        states = health_pb2_grpc.HealthStub(channel[-1]).Watch(health_pb2.HealthCheckRequest())
        assert (await states.read()).status == health_pb2.HealthCheckResponse.SERVING
        lock = sqlite3.connect(tmp_path / "databases" / "inventory.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")  # a call that writes waits for this
        call = stub.SetStock(SetStockRequest(sku="sku-1", on_hand=5))
        await arrived(channel[-1])
        service.popen.send_signal(signal.SIGTERM)
        assert (await states.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not call.done()
        lock.execute("ROLLBACK")
        lock.close()
        assert (await call).stock == Stock(sku="sku-1", on_hand=5)
        states.cancel()
        assert await service.ended(within_s=10) == 0


async def test_an_idle_service_ends_within_two_seconds_though_the_mesh_watches_its_health(
    tmp_path: Path, broker: Broker, channel: list[grpc.aio.Channel]
) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL=broker.url) as service:
        channel.append(connect(await service.address()))
        await InventoryServiceStub(channel[-1]).GetStock(GetStockRequest(sku="sku-1"))
        service.popen.send_signal(signal.SIGTERM)
        assert await service.ended(within_s=2) == 0


async def test_a_second_sigterm_ends_it_at_once(
    tmp_path: Path, broker: Broker, channel: list[grpc.aio.Channel]
) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL=broker.url, ENSEMBLE_DRAIN_S="30") as service:
        stub = await stub_of(service, channel)
        lock = sqlite3.connect(tmp_path / "databases" / "inventory.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        call = stub.SetStock(SetStockRequest(sku="sku-1", on_hand=5))
        await arrived(channel[-1])
        service.popen.send_signal(signal.SIGTERM)

        async def stops() -> bool:
            return any("inventory stops" in line for line in service.lines)

        await eventually(stops)
        began = time.monotonic()
        service.popen.send_signal(signal.SIGTERM)
        assert await service.ended(within_s=1) == 1
        assert time.monotonic() - began < 1
        call.cancel()
        lock.close()


async def test_the_end_of_standard_input_ends_it(tmp_path: Path, broker: Broker) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL=broker.url) as service:
        await service.address()
        assert service.popen.stdin is not None
        service.popen.stdin.close()
        assert await service.ended(within_s=5) == 0


async def test_sigterm_ends_it_though_the_broker_was_never_there(tmp_path: Path) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL=Broker(tmp_path).url) as service:
        await service.address()
        service.popen.send_signal(signal.SIGTERM)
        assert await service.ended(within_s=5) == 0
