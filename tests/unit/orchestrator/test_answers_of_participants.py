"""Which answers are definite, which are asked for again, and which need a person (contracts.md, gRPC)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from mesh.addresses import Addresses
from mesh.backoff import Backoff
from mesh.errors import MeshError, Overloaded, Refused, StepCompensated, StepMismatch
from mesh.server import Binding, Server
from mesh.settings import Settings
from orchestrator import asking as module
from orchestrator.participants import Answer, Indefinite, Participants
from shop.inventory.v1 import inventory_pb2 as inventory
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import CONTRACT

METHOD = CONTRACT.methods["shop.inventory.v1.InventoryService.ReserveStock"]
REQUEST = inventory.ReserveStockRequest(order=an_order()).SerializeToString()
RESPONSE = inventory.ReserveStockResponse(reservation_id="r-1").SerializeToString()
DOMAIN = "shop.inventory.v1"


def bare(code: grpc.StatusCode) -> status_pb2.Status:
    return status_pb2.Status(code=code.value[0], message="as told")


class Shopkeeper:
    """An inventory that answers what it is told, one after the other, then OK."""

    def __init__(self) -> None:
        self.answers: list[status_pb2.Status | float] = []
        self.calls = 0

    async def answer(self, request: Any, context: Any) -> Any:
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else RESPONSE
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return RESPONSE
        return answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", Backoff(first_s=0.001, max_s=0.002))
    monkeypatch.setattr(module, "PAUSE", Backoff(first_s=0.001, max_s=0.002))


@pytest.fixture
def shopkeeper() -> Shopkeeper:
    return Shopkeeper()


@pytest.fixture
async def participants(shopkeeper: Shopkeeper) -> AsyncIterator[Participants]:
    server = Server("127.0.0.1:0", calls_max=8, drain_s=0)
    server.add(
        inventory.DESCRIPTOR.services_by_name["InventoryService"], [Binding(METHOD.descriptor, shopkeeper.answer)]
    )
    await server.start()
    participants = Participants(Addresses(Settings(addresses={"inventory": server.address})), 5.0)
    yield participants
    await participants.close()
    await server.stop()


def nobody(_: str) -> None:
    """Hears nothing."""


async def ask(participants: Participants, timeout_s: float | None = None) -> tuple[Answer, list[str]]:
    failures: list[str] = []
    async with asyncio.timeout(10):
        return await participants.ask(METHOD, REQUEST, timeout_s, failures.append, nobody), failures


async def test_ok_is_done(participants: Participants) -> None:
    assert await ask(participants) == (Answer(response=RESPONSE), [])


@pytest.mark.parametrize(
    "refusal",
    [Refused("OUT_OF_STOCK", sku="sku-1").status(DOMAIN), StepCompensated("the step").status(DOMAIN)],
    ids=["business", "tombstone"],
)
async def test_a_refusal_is_definite_and_keeps_its_details(
    participants: Participants, shopkeeper: Shopkeeper, refusal: status_pb2.Status
) -> None:
    shopkeeper.answers = [refusal]
    assert await ask(participants) == (Answer(refusal=refusal), [])
    assert shopkeeper.calls == 1


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL"])
async def test_what_is_in_doubt_is_asked_for_again(
    participants: Participants, shopkeeper: Shopkeeper, code: str
) -> None:
    shopkeeper.answers = [bare(grpc.StatusCode[code])] * 3
    assert await ask(participants) == (Answer(response=RESPONSE), [f"{code}: as told"] * 3)


async def test_an_error_in_doubt_is_no_refusal_even_with_a_reason(
    participants: Participants, shopkeeper: Shopkeeper
) -> None:
    shopkeeper.answers = [MeshError("broken", reason="INTERNAL").status(DOMAIN)]
    answer, failures = await ask(participants)
    assert (answer.refusal, len(failures)) == (None, 1)


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNIMPLEMENTED"])
async def test_overload_and_a_rolling_deployment_pause_the_saga(
    participants: Participants, shopkeeper: Shopkeeper, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", None)  # a pause has delays of its own
    shopkeeper.answers = [bare(grpc.StatusCode[code])] * 3
    assert await ask(participants) == (Answer(response=RESPONSE), [f"{code}: as told"] * 3)


async def test_an_overloaded_participant_is_not_asked_before_it_said(
    participants: Participants, shopkeeper: Shopkeeper
) -> None:
    shopkeeper.answers = [Overloaded("busy", 0.15).status(DOMAIN)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await ask(participants)
    assert loop.time() - began >= 0.15


@pytest.mark.parametrize(
    "answer",
    [
        StepMismatch("the step").status(DOMAIN),
        bare(grpc.StatusCode.FAILED_PRECONDITION),
        bare(grpc.StatusCode.ABORTED),
        bare(grpc.StatusCode.ALREADY_EXISTS),
        bare(grpc.StatusCode.INVALID_ARGUMENT),
        bare(grpc.StatusCode.NOT_FOUND),
        bare(grpc.StatusCode.PERMISSION_DENIED),
        bare(grpc.StatusCode.UNAUTHENTICATED),
        bare(grpc.StatusCode.OUT_OF_RANGE),
        bare(grpc.StatusCode.DATA_LOSS),
    ],
    ids=lambda status: f"{grpc.StatusCode(next(c.value for c in grpc.StatusCode if c.value[0] == status.code)).name}",
)
async def test_any_other_error_needs_a_person(
    participants: Participants, shopkeeper: Shopkeeper, answer: status_pb2.Status
) -> None:
    shopkeeper.answers = [answer]
    with pytest.raises(Indefinite) as caught:
        await ask(participants)
    assert (caught.value.answer, shopkeeper.calls) == (answer, 1)


async def test_an_invalid_request_needs_a_person(participants: Participants) -> None:
    empty = inventory.ReserveStockRequest().SerializeToString()
    with pytest.raises(Indefinite, match="INVALID_ARGUMENT"):
        await participants.ask(METHOD, empty, None, nobody, nobody)


async def test_a_method_that_is_not_served_yet_is_waited_for(participants: Participants) -> None:
    release = CONTRACT.methods["shop.inventory.v1.InventoryService.ReleaseStock"]
    failed = asyncio.Event()
    call = asyncio.create_task(participants.ask(release, REQUEST, None, lambda _: failed.set(), nobody))
    await asyncio.wait_for(failed.wait(), 5)
    assert not call.done()
    call.cancel()


async def test_an_answer_that_is_late_is_in_doubt(participants: Participants, shopkeeper: Shopkeeper) -> None:
    shopkeeper.answers = [5.0]
    answer, failures = await ask(participants, timeout_s=0.1)
    assert answer.response == RESPONSE
    assert failures[0].startswith("DEADLINE_EXCEEDED")


@pytest.mark.parametrize("addresses", [{}, {"inventory": "127.0.0.1:1"}], ids=["unknown", "nobody listens"])
async def test_a_participant_that_is_not_there_is_waited_for(addresses: dict[str, str], tmp_path: Any) -> None:
    participants = Participants(Addresses(Settings(data=tmp_path, addresses=addresses)), 1.0)
    failures: list[str] = []
    twice = asyncio.Event()

    def failed(text: str) -> None:
        failures.append(text)
        if len(failures) == 2:
            twice.set()

    call = asyncio.create_task(participants.ask(METHOD, REQUEST, None, failed, nobody))
    await asyncio.wait_for(twice.wait(), 5)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await participants.close()
