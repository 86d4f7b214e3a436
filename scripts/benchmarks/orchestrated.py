"""What an orchestrated chain of four calls costs, beside the same four calls naked.

floor   one client calls the participants, one after the other, by generated stubs on plain channels; nothing of it
        is durable but what the participants write
saga    the same client asks RunSaga of an orchestrator, whose workflow makes the same calls by the same stubs

Both run against the same processes, in turns, so that what shakes the machine shakes both; ratios are taken of
neighbours. Participants are `noop` (they answer with a constant) or `ledger` (the real machinery around handlers
that do nothing).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import grpc.aio
import uvloop
from google.protobuf import any_pb2

from ensemble.orchestrator.v1.orchestrator_pb2 import RunSagaRequest, SagaStatus
from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from scripts.benchmarks import machine, parts
from scripts.benchmarks.chain import ANSWERS, PROCESS, Chain, an_order
from scripts.benchmarks.figures import Figures, ratio
from scripts.benchmarks.load import Round, TooShort, measure
from shop.orders.v1.events_pb2 import OrderPlaced

PARTICIPANTS = ("noop", "ledger")
IN_FLIGHT = (1, 16, 64, 256)
ROUNDS = 5
SECONDS = 1.5
QUICK_ROUNDS = 1
QUICK_SECONDS = 0.3
# The server of the orchestrator and its engine both take 1,024.
IN_FLIGHT_MAX = 1024

AIM_THROUGHPUT = 0.70  # of the floor's, noop, at 64 at a time
AIM_P50 = 1.6  # times the floor's, noop, at 1 at a time


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    in_flight: tuple[int, ...]
    rounds: int
    seconds: float


@dataclass(frozen=True)
class Pair:
    """Floor and saga at one number in flight, round by round."""

    participants: str
    in_flight: int
    floor: list[Round]
    saga: list[Round]

    def to_json(self, where: str) -> Iterator[dict[str, object]]:
        """As `--json` prints them."""
        for subject, rounds in (("floor", self.floor), ("saga", self.saga)):
            yield {
                "subject": subject,
                "participants": self.participants,
                "in_flight": self.in_flight,
                **Figures.of(rounds).to_json(),
                "rounds": len(rounds),
                "machine": where,
            }

    def text(self) -> Iterator[str]:
        """For people."""
        for subject, rounds in (("floor", self.floor), ("saga", self.saga)):
            yield f"{self.participants:<6} {self.in_flight:>4}  {subject:<5} {Figures.of(rounds).text()}"
        throughput = ratio([one.per_second for one in self.saga], [one.per_second for one in self.floor])
        p50 = ratio([one.p50_ms for one in self.saga], [one.p50_ms for one in self.floor])
        yield f"{'':13}saga / floor: throughput {throughput.text(2)}, p50 {p50.text(2)}{self._aim()}"

    def _aim(self) -> str:
        if self.participants != "noop":
            return ""
        aims = {64: f"   (aim: throughput at least {AIM_THROUGHPUT})", 1: f"   (aim: p50 at most {AIM_P50})"}
        return aims.get(self.in_flight, "")


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
def orchestrated(
    as_json: bool, quick: bool, rounds: int | None, seconds: float | None, in_flight: tuple[int, ...]
) -> None:
    """Four calls, naked and as a saga, with noop and with ledger participants."""
    plan = Plan(
        in_flight=in_flight or IN_FLIGHT,
        rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
        seconds=seconds or (QUICK_SECONDS if quick else SECONDS),
    )
    try:
        _measure_all(plan, as_json)
    except (parts.PartFailed, TooShort, Incomplete, grpc.aio.AioRpcError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _measure_all(plan: Plan, as_json: bool) -> None:
    with parts.temporary_folder() as folder:
        where = machine.describe(folder)
        print(where, file=sys.stderr if as_json else sys.stdout, flush=True)

        def show(pair: Pair) -> None:
            lines = map(json.dumps, pair.to_json(where)) if as_json else pair.text()
            print("\n".join(lines), flush=True)

        for participants in PARTICIPANTS:
            _measure_with(participants, folder / participants, plan, show)


def _measure_with(participants: str, folder: Path, plan: Plan, show: Callable[[Pair], None]) -> None:
    folder.mkdir()
    with ExitStack() as stack:
        nats_url = stack.enter_context(parts.running_broker(folder))
        addresses = stack.enter_context(parts.running_participants(participants, list(ANSWERS), folder, nats_url))
        orchestrator = stack.enter_context(parts.running_orchestrator(folder, nats_url, addresses))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_measure_pairs(participants, addresses, orchestrator, plan, show))


async def _measure_pairs(
    participants: str, addresses: dict[str, str], orchestrator: str, plan: Plan, show: Callable[[Pair], None]
) -> None:
    async with _channels(addresses) as channels, _channels({"orchestrator": orchestrator}) as to_orchestrator:
        floor = Chain(channels.__getitem__)
        orchestrator_stub = OrchestratorServiceStub(to_orchestrator["orchestrator"])

        async def naked() -> None:
            await floor.run(an_order())

        async def saga() -> None:
            await _run_saga(orchestrator_stub)

        for in_flight in plan.in_flight:
            pair = Pair(participants, in_flight, [], [])
            for _ in range(plan.rounds):
                pair.floor.append(await measure(naked, in_flight=in_flight, seconds=plan.seconds))
                pair.saga.append(await measure(saga, in_flight=in_flight, seconds=plan.seconds))
            show(pair)


async def _run_saga(orchestrator: OrchestratorServiceStub) -> None:
    packed = any_pb2.Any()
    packed.Pack(OrderPlaced(order=an_order()))
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
