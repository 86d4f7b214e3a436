"""The orchestrator, as the orders service asks it. One that is not there, or takes too long, raises Unavailable."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from mesh.addresses import UnknownAddress
from mesh.errors import NotFound, Overloaded, Unavailable, retry_delay_s, status_of
from services.participant import Surroundings
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order

if TYPE_CHECKING:  # the generated stubs have their async form for type checkers only
    from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceAsyncStub

PROCESS = "fulfil-order"

T = TypeVar("T")


class Orchestrator:
    """Starts, reads, takes and gives the sagas of orders. Raises Unavailable, Overloaded and NotFound."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._channel: grpc.aio.Channel | None = None

    async def start(self, order: Order, timeout_s: float) -> api.Saga:
        """Starts an order's saga, durably; as it stands where it was started before, by whichever side."""
        request = api.StartSagaRequest(process=PROCESS)
        request.input.Pack(OrderPlaced(order=order))
        return (await _answer(self._stub().StartSaga(request, timeout=timeout_s))).saga

    async def get(self, order_id: str, timeout_s: float) -> api.Saga:
        """The saga as it stands."""
        return (await _answer(self._stub().GetSaga(api.GetSagaRequest(saga_id=order_id), timeout=timeout_s))).saga

    async def adopt(self, order_id: str, timeout_s: float) -> api.Saga:
        """Lets it drive a choreographed saga."""
        return (await _answer(self._stub().Adopt(api.AdoptRequest(saga_id=order_id), timeout=timeout_s))).saga

    async def hand_over(self, order_id: str, timeout_s: float) -> api.Saga:
        """Lets it give a saga to choreography."""
        return (await _answer(self._stub().HandOver(api.HandOverRequest(saga_id=order_id), timeout=timeout_s))).saga

    def _stub(self) -> OrchestratorServiceAsyncStub:
        try:
            self._channel = self._channel or self._surroundings.channel("orchestrator")
        except UnknownAddress as error:
            raise Unavailable(str(error)) from None
        return OrchestratorServiceStub(self._channel)


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise Overloaded(
                "the orchestrator is busy; the order is recorded and will be started",
                retry_delay_s(status_of(error)) or 1.0,
            ) from None
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise NotFound(error.details() or "") from None
        raise Unavailable(f"the orchestrator does not answer ({error.code().name})") from None
