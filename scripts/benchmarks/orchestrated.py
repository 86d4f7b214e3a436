"""What an orchestrated chain of four calls costs, beside the same four calls naked.

floor   one client calls the participants, one after the other, by generated stubs on plain channels; nothing of it
        is durable but what the participants write
saga    the same client asks RunSaga of an orchestrator, whose workflow makes the same calls by the same stubs

Both run against the same processes. Participants are `noop` (they answer with a constant) or `ledger` (the real
machinery around handlers that do nothing).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc.aio
import uvloop
from google.protobuf import any_pb2

from ensemble.orchestrator.v1.orchestrator_pb2 import RunSagaRequest, SagaStatus
from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from mesh import machine
from mesh.databases import sqlite_path
from mesh.lifecycle import spare_the_collector
from mesh.settings import Settings
from scripts.benchmarks import history as past
from scripts.benchmarks import parts
from scripts.benchmarks.chain import ANSWERS, PROCESS, Chain, an_order
from scripts.benchmarks.load import TooShort
from scripts.benchmarks.turns import Subject, Turns, take_turns
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order

if TYPE_CHECKING:
    from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceAsyncStub

PARTICIPANTS = ("noop", "ledger")
IN_FLIGHT, QUICK_IN_FLIGHT = (1, 16, 64, 256), (1, 16)
ROUNDS, QUICK_ROUNDS = 5, 1
SECONDS, QUICK_SECONDS = 1.5, 0.3
# As many sagas as an orchestrator runs at once, and as many calls as it serves, unless told otherwise.
IN_FLIGHT_MAX = 1024

# Of noop participants, by the number in flight.
AIMS = {64: "   (aim: throughput at least 0.70)", 1: "   (aim: p50 at most 1.6)"}


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    in_flight: tuple[int, ...]
    rounds: int
    seconds: float
    history: int  # finished sagas of a further orchestrator; 0: there is none


Show = Callable[[Turns], None]


class Incomplete(Exception):
    """A saga did not end as completed."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One object a line; nothing else on standard output.")
@click.option("--quick", is_flag=True, help="A smoke test of a few seconds; its figures say little.")
@click.option("--rounds", type=click.IntRange(1, 1000), help=f"How often each is measured (default {ROUNDS}).")
@click.option("--seconds", type=click.FloatRange(0.05, 600), help=f"How long each time (default {SECONDS}).")
@click.option(
    "--in-flight",
    type=click.IntRange(1, IN_FLIGHT_MAX),
    multiple=True,
    help=f"How many at a time; may be given more than once (default {', '.join(map(str, IN_FLIGHT))}).",
)
@click.option(
    "--history",
    type=click.IntRange(0, 10_000_000),
    default=0,
    help="Measures, with noop participants, also an orchestrator that has run so many sagas before.",
)
def orchestrated(
    as_json: bool,
    quick: bool,
    rounds: int | None,
    seconds: float | None,
    in_flight: tuple[int, ...],
    history: int,
) -> None:
    """Four calls, naked and as a saga, with noop and with ledger participants."""
    plan = Plan(
        in_flight=in_flight or (QUICK_IN_FLIGHT if quick else IN_FLIGHT),
        rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
        seconds=seconds or (QUICK_SECONDS if quick else SECONDS),
        history=history,
    )
    try:
        _measure_all(plan, as_json)
    except (parts.PartFailed, TooShort, Incomplete, grpc.aio.AioRpcError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _measure_all(plan: Plan, as_json: bool) -> None:
    spare_the_collector()  # as the parts do, so that the client is no slower than they are
    with parts.temporary_folder() as folder:
        where = machine.describe(folder)
        print(where, file=sys.stderr if as_json else sys.stdout, flush=True)

        def show(turns: Turns) -> None:
            aim = AIMS.get(turns.in_flight, "") if turns.participants == "noop" else ""
            as_lines = (json.dumps(one | {"machine": where}) for one in turns.to_json())
            print("\n".join(as_lines if as_json else turns.lines(aim)), flush=True)

        for participants in PARTICIPANTS:
            _measure_with(participants, folder / participants, plan, show)


def _measure_with(participants: str, folder: Path, plan: Plan, show: Show) -> None:
    folder.mkdir()
    with ExitStack() as stack:
        nats_url = stack.enter_context(parts.running_broker(folder))
        addresses = stack.enter_context(parts.running_participants(participants, list(ANSWERS), folder, nats_url))
        orchestrators = {0: folder / "orchestrator"}
        if plan.history and participants == "noop":
            orchestrators[plan.history] = folder / "orchestrator-with-history"
            _make_history(orchestrators[plan.history], plan.history, nats_url, addresses)
        running = {
            history: stack.enter_context(parts.running_orchestrator(data, nats_url, addresses))
            for history, data in orchestrators.items()
        }
        _run(_measure_running(participants, addresses, running, plan, show))


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
            show(
                await take_turns(
                    subjects, participants=participants, in_flight=in_flight, rounds=plan.rounds, seconds=plan.seconds
                )
            )


def _make_history(data: Path, count: int, nats_url: str, addresses: dict[str, str]) -> None:
    """Lets an orchestrator run one saga, and copies what it wrote of it once it has stopped."""
    order = an_order()

    async def one(address: str) -> None:
        async with _channels({"orchestrator": address}) as channels:
            await _run_saga(OrchestratorServiceStub(channels["orchestrator"]), order)

    with parts.running_orchestrator(data, nats_url, addresses) as address:
        _run(one(address))
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


def _run(work: Coroutine[Any, Any, None]) -> None:
    """On a loop like that of every part of the mesh."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
