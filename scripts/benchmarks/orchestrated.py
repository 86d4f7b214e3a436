"""What an orchestrated chain of four calls costs, beside the same four calls naked.

floor   one client calls the participants, one after the other, by generated stubs on plain channels; nothing of it
        is durable but what the participants write
saga    the same client asks RunSaga of an orchestrator, whose workflow makes the same calls by the same stubs

Both run against the same processes. Participants are `noop` (they answer with a constant) or `ledger` (the real
machinery around handlers that do nothing).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import grpc.aio
from google.protobuf import any_pb2

from ensemble.orchestrator.v1.orchestrator_pb2 import RunSagaRequest, SagaStatus
from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from mesh.databases import sqlite_path
from mesh.settings import Settings
from scripts.benchmarks import history as past
from scripts.benchmarks import parts
from scripts.benchmarks.chain import ANSWERS, PROCESS, Chain, an_order
from scripts.benchmarks.load import Incomplete, TooShort
from scripts.benchmarks.plan import Plan, Show, planned, run
from scripts.benchmarks.turns import Subject, take_turns
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order

if TYPE_CHECKING:
    from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceAsyncStub

PARTICIPANTS = ("noop", "ledger")
# Of noop participants, by the number in flight.
AIMS = {64: "   (aim: throughput at least 0.70)", 1: "   (aim: p50 at most 1.6)"}


@click.command()
@planned
@click.option(
    "--history",
    type=click.IntRange(0, 10_000_000),
    default=0,
    help="Measures, with noop participants, also an orchestrator that has run so many sagas before.",
)
def orchestrated(plan: Plan, history: int) -> None:
    """Four calls, naked and as a saga, with noop and with ledger participants."""
    try:
        with parts.temporary_folder() as folder:
            show = plan.begin(folder)
            for participants in PARTICIPANTS:
                _measure_with(participants, folder / participants, plan, history, show)
    except (parts.PartFailed, TooShort, Incomplete, grpc.aio.AioRpcError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _measure_with(participants: str, folder: Path, plan: Plan, history: int, show: Show) -> None:
    folder.mkdir()
    with ExitStack() as stack:
        nats_url = stack.enter_context(parts.running_broker(folder))
        addresses = stack.enter_context(parts.running_participants(participants, list(ANSWERS), folder, nats_url))
        orchestrators = {0: folder / "orchestrator"}
        if history and participants == "noop":
            orchestrators[history] = folder / "orchestrator-with-history"
            _make_history(orchestrators[history], history, nats_url, addresses)
        running = {
            before: stack.enter_context(parts.running_orchestrator(data, nats_url, addresses))
            for before, data in orchestrators.items()
        }
        run(_measure_running(participants, addresses, running, plan, show))


async def _measure_running(
    participants: str, addresses: dict[str, str], orchestrators: dict[int, str], plan: Plan, show: Show
) -> None:
    async with AsyncExitStack() as stack:
        floor = Chain((await stack.enter_async_context(_channels(addresses))).__getitem__)

        async def naked() -> None:
            await floor.run(an_order())

        subjects = [Subject("floor", 0, naked)]
        for history, address in orchestrators.items():
            channels = await stack.enter_async_context(_channels({"orchestrator": address}))
            stub = OrchestratorServiceStub(channels["orchestrator"])
            subjects.append(Subject("saga", history, partial(_run_a_saga, stub)))
        for in_flight in plan.in_flight:
            common = {"participants": participants}
            turns = await take_turns(
                subjects, common=common, in_flight=in_flight, rounds=plan.rounds, seconds=plan.seconds
            )
            show(turns, AIMS.get(in_flight, "") if participants == "noop" else "")


def _make_history(data: Path, count: int, nats_url: str, addresses: dict[str, str]) -> None:
    """Lets an orchestrator run one saga, and copies what it wrote of it once it has stopped."""
    order = an_order()

    async def one(address: str) -> None:
        async with _channels({"orchestrator": address}) as channels:
            await _run_saga(OrchestratorServiceStub(channels["orchestrator"]), order)

    with parts.running_orchestrator(data, nats_url, addresses) as address:
        run(one(address))
    past.multiply(sqlite_path(Settings(data=data), "orchestrator"), order.order_id, count)


async def _run_a_saga(orchestrator: OrchestratorServiceAsyncStub) -> None:
    await _run_saga(orchestrator, an_order())


async def _run_saga(orchestrator: OrchestratorServiceAsyncStub, order: Order) -> None:
    packed = any_pb2.Any()
    packed.Pack(OrderPlaced(order=order))
    answer = await orchestrator.RunSaga(RunSagaRequest(process=PROCESS, input=packed))
    if answer.saga.status != SagaStatus.SAGA_STATUS_COMPLETED:
        raise Incomplete(f"saga {answer.saga.saga_id} ended as {SagaStatus.Name(answer.saga.status)}")


@asynccontextmanager
async def _channels(addresses: dict[str, str]) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """Plain channels, with gRPC's own defaults, that are connected."""
    channels = {name: grpc.aio.insecure_channel(address) for name, address in addresses.items()}
    try:
        async with asyncio.timeout(parts.START_S):
            await asyncio.gather(*(channel.channel_ready() for channel in channels.values()))
        yield channels
    finally:
        await asyncio.gather(*(channel.close() for channel in channels.values()))
