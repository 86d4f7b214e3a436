"""A participant that is away or overloaded costs its sagas time, and the participant few calls."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from mesh.addresses import Addresses
from mesh.errors import Overloaded
from mesh.server import Binding, Server
from mesh.settings import MESSAGE_BYTES_MAX, Settings
from orchestrator.participants import Answer, Indefinite, Participants
from shop.inventory.v1 import inventory_pb2 as inventory
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import CONTRACT

METHOD = CONTRACT.methods["shop.inventory.v1.InventoryService.ReserveStock"]
SERVICE = inventory.DESCRIPTOR.services_by_name["InventoryService"]
REQUEST = inventory.ReserveStockRequest(order=an_order()).SerializeToString()
RESPONSE = inventory.ReserveStockResponse(reservation_id="r-1").SerializeToString()
SAGAS = 1000


class Inventory:
    """A participant whose process comes and goes, at one address."""

    def __init__(self) -> None:
        self.calls = 0
        self.answer: status_pb2.Status | bytes = RESPONSE
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.address = "127.0.0.1:0"
        self._server: Server | None = None

    async def start(self) -> None:
        self._server = Server(self.address, calls_max=SAGAS, drain_s=0)
        self._server.add(SERVICE, [Binding(METHOD.descriptor, self._serve)])
        await self._server.start()
        self.address = self._server.address

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def _serve(self, request: Any, context: Any) -> Any:
        self.calls += 1
        await self.goes_on.wait()
        return self.answer


class Asked:
    """What sagas that call one participant are told, all together."""

    def __init__(
        self, participants: Participants, count: int, timeout_s: float | None = None, request: bytes = REQUEST
    ) -> None:
        self.failures: list[str] = []
        self.pauses: list[str] = []
        self.tasks = [
            asyncio.create_task(participants.ask(METHOD, request, timeout_s, self.failures.append, self.pauses.append))
            for _ in range(count)
        ]

    async def are_paused(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.pauses) < count:  # noqa: ASYNC110  # several tell, and nobody is told of each
                await asyncio.sleep(0.01)

    async def answers(self) -> list[Answer]:
        async with asyncio.timeout(20):
            return await asyncio.gather(*self.tasks)


@pytest.fixture
async def shop() -> AsyncIterator[Inventory]:
    shop = Inventory()
    await shop.start()
    yield shop
    await shop.stop()


@pytest.fixture
async def participants(shop: Inventory) -> AsyncIterator[Participants]:
    participants = Participants(Addresses(Settings(addresses={"inventory": shop.address})), 5.0)
    yield participants
    await participants.close()


async def test_a_thousand_sagas_wait_for_a_dead_participant_at_the_cost_of_probes(
    participants: Participants, shop: Inventory
) -> None:
    await shop.stop()
    sagas = Asked(participants, SAGAS)
    await sagas.are_paused(SAGAS)
    failures, began = len(sagas.failures), _cpu_s()
    await asyncio.sleep(2)
    # Those who were on their way when it opened have failed once; since then there is one probe a timeout.
    assert failures <= SAGAS + 5
    assert len(sagas.failures) - failures <= 3
    assert _cpu_s() - began < 0.2
    assert len(sagas.pauses) == SAGAS
    assert sagas.pauses[-1].startswith("paused: inventory does not answer (UNAVAILABLE: ")
    for task in sagas.tasks:
        task.cancel()
    await asyncio.gather(*sagas.tasks, return_exceptions=True)


async def test_when_it_is_back_all_of_them_go_on_at_once(participants: Participants, shop: Inventory) -> None:
    await shop.stop()
    sagas = Asked(participants, SAGAS)
    await sagas.are_paused(SAGAS)
    await asyncio.sleep(0.5)
    await shop.start()
    began = asyncio.get_running_loop().time()
    assert await sagas.answers() == [Answer(RESPONSE)] * SAGAS
    # About a second, of which half may pass until gRPC connects; the rest is room for a slow machine.
    assert asyncio.get_running_loop().time() - began < 5
    assert shop.calls == SAGAS


async def test_a_participant_that_refuses_connections_for_a_moment_costs_that_moment(
    participants: Participants, shop: Inventory
) -> None:
    sagas = Asked(participants, 50)
    await sagas.answers()
    await shop.stop()
    sagas = Asked(participants, 50)
    await shop.start()
    assert await sagas.answers() == [Answer(RESPONSE)] * 50


async def test_an_overloaded_participant_is_called_by_nobody_until_it_said(
    participants: Participants, shop: Inventory
) -> None:
    shop.answer = Overloaded("busy", 0.5).status("shop.inventory.v1")
    loop = asyncio.get_running_loop()
    began = loop.time()
    first = Asked(participants, 1)
    await first.are_paused(1)
    shop.answer = RESPONSE
    others = Asked(participants, 100)
    await asyncio.sleep(0.3)
    assert shop.calls == 1
    await asyncio.gather(first.answers(), others.answers())
    assert 0.5 <= loop.time() - began < 5
    assert first.failures == ["RESOURCE_EXHAUSTED: busy"]
    assert others.failures == []
    assert others.pauses == ["paused: inventory is overloaded (RESOURCE_EXHAUSTED: busy)"] * 100


async def test_a_request_too_large_for_the_wire_needs_a_person_and_pauses_nobody(
    participants: Participants, shop: Inventory
) -> None:
    huge = Asked(participants, 1, request=bytes(MESSAGE_BYTES_MAX + 1))
    with pytest.raises(Indefinite, match=f"has {MESSAGE_BYTES_MAX + 1} bytes; a message of the mesh has"):
        await huge.answers()
    sagas = Asked(participants, 10)
    assert (await sagas.answers(), sagas.pauses) == ([Answer(RESPONSE)] * 10, [])


async def test_a_participant_that_hangs_is_probed_until_it_goes_on(participants: Participants, shop: Inventory) -> None:
    shop.goes_on.clear()
    sagas = Asked(participants, 20, timeout_s=0.2)
    await sagas.are_paused(20)
    assert sagas.pauses[0].startswith("paused: inventory does not answer (DEADLINE_EXCEEDED: ")
    reached = shop.calls
    await asyncio.sleep(0.5)
    assert shop.calls - reached <= 4  # one at a time, of 0.2 s each
    shop.goes_on.set()
    assert await sagas.answers() == [Answer(RESPONSE)] * 20


async def test_a_cancelled_saga_does_not_keep_the_probe_from_the_others(
    participants: Participants, shop: Inventory
) -> None:
    await shop.stop()
    sagas = Asked(participants, 50)
    await sagas.are_paused(50)
    for task in sagas.tasks[:-1]:  # the probe among them, whoever it is
        task.cancel()
    await shop.start()
    async with asyncio.timeout(5):
        assert await sagas.tasks[-1] == Answer(RESPONSE)


@pytest.mark.parametrize("code", ["INTERNAL", "UNKNOWN", "CANCELLED", "UNIMPLEMENTED"])
async def test_an_error_that_somebody_answered_opens_no_circuit(
    participants: Participants, shop: Inventory, code: str
) -> None:
    shop.answer = status_pb2.Status(code=grpc.StatusCode[code].value[0], message="broken")
    sagas = Asked(participants, 20)
    await asyncio.sleep(0.3)
    assert (len(sagas.failures) >= 20, sagas.pauses) == (True, [])
    for task in sagas.tasks:
        task.cancel()
    await asyncio.gather(*sagas.tasks, return_exceptions=True)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
