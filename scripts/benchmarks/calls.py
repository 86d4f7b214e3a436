"""A client of an orchestration: makes the calls of the chain itself, or asks an orchestrator to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import Message

from ensemble.orchestrator.v1.orchestrator_pb2 import RunSagaRequest, SagaStatus
from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from scripts.benchmarks.chain import PROCESS, Chain, an_order
from scripts.benchmarks.load import Incomplete
from scripts.benchmarks.parts import START_S
from shop.orders.v1.events_pb2 import OrderPlaced

if TYPE_CHECKING:
    from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceAsyncStub

Connect = Callable[[str], grpc.aio.Channel]


@asynccontextmanager
async def naked(
    addresses: Mapping[str, str], connect: Connect = grpc.aio.insecure_channel
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """What makes the four calls, one after the other."""
    async with connected(addresses, connect) as channels:
        chain = Chain(channels.__getitem__)

        async def once() -> None:
            await chain.run(an_order())

        yield once


@asynccontextmanager
async def sagas(address: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """What asks the orchestrator at this address for them; gives the saga's id, raises Incomplete."""
    async with connected({"orchestrator": address}) as channels:
        orchestrator = OrchestratorServiceStub(channels["orchestrator"])

        async def once() -> str:
            return await run_saga(orchestrator, PROCESS, OrderPlaced(order=an_order()))

        yield once


async def run_saga(orchestrator: OrchestratorServiceAsyncStub, process: str, event: Message) -> str:
    """Asks for one, which the event starts, and waits for its end; gives its id, raises Incomplete."""
    packed = any_pb2.Any()
    packed.Pack(event)
    answer = await orchestrator.RunSaga(RunSagaRequest(process=process, input=packed))
    if answer.saga.status != SagaStatus.SAGA_STATUS_COMPLETED:
        raise Incomplete(f"saga {answer.saga.saga_id} ended as {SagaStatus.Name(answer.saga.status)}")
    return answer.saga.saga_id


@asynccontextmanager
async def connected(
    addresses: Mapping[str, str], connect: Connect = grpc.aio.insecure_channel
) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """Channels that are connected, plain ones unless told otherwise."""
    channels = {name: connect(address) for name, address in addresses.items()}
    try:
        async with asyncio.timeout(START_S):
            await asyncio.gather(*(channel.channel_ready() for channel in channels.values()))
        yield channels
    finally:
        await asyncio.gather(*(channel.close() for channel in channels.values()))
