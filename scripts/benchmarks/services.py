"""How the cost of a process grows with its services: a line of 2, 4 and 8, each of which sets off the next.

floor          the client calls them itself, one after the other; they write their ledgers
saga           it asks an orchestrator to
choreography   it publishes the first event and waits for the last; the orchestrator's tracker follows

All three run against the same participants. The line's contracts are written and generated for the run
(scripts.benchmarks.line).
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import click
import nats

from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from scripts.benchmarks.calls import connected, run_saga
from scripts.benchmarks.chain import an_order
from scripts.benchmarks.endings import Endings, choreographed_subject
from scripts.benchmarks.line import Line, import_from
from scripts.benchmarks.parts import Parts, temporary_folder
from scripts.benchmarks.plan import Plan, planned, run
from scripts.benchmarks.session import Session, session
from scripts.benchmarks.turns import Subject

LENGTHS = (2, 4, 8)


@click.command()
@planned(64)
@click.option(
    "--services",
    "lengths",
    type=click.IntRange(1, 64),
    multiple=True,
    default=LENGTHS,
    show_default=True,
    help="How many services the line has; may be given more than once.",
)
def services(plan: Plan, lengths: tuple[int, ...]) -> None:
    """A line of services, each of which sets off the next: by calls, as a saga, and by events."""
    with temporary_folder() as folder, session(plan, folder, x="services") as running:
        import_from(folder)
        for line in map(Line, lengths):
            line.generate(folder)
            (folder / "parts" / line.name).mkdir(parents=True)
            with Parts(folder / "parts" / line.name, contracts=line.name, import_path=folder) as parts:
                run(_measure(running, parts, line))


async def _measure(running: Session, parts: Parts, line: Line) -> None:
    addresses = parts.participants("hop", line.services)
    orchestrator = parts.orchestrator("orchestrator", addresses, module="hop")
    first, last = (line.module(service, "pb2") for service in (line.services[0], line.services[-1]))
    async with AsyncExitStack() as stack:
        channels = await stack.enter_async_context(connected({**addresses, "orchestrator": orchestrator}))
        client = await nats.connect(parts.nats_url)
        stack.push_async_callback(client.close)
        endings = Endings(client, choreographed_subject, last.Passed)
        await endings.listen()
        orchestrator_stub = OrchestratorServiceStub(channels["orchestrator"])
        calls = line.calls(channels.__getitem__)

        async def saga() -> None:
            await run_saga(orchestrator_stub, line.name, first.Begun(order=an_order()))

        async def choreography() -> None:
            await endings.run(first.Begun(order=an_order()))

        subjects = [Subject("floor", lambda: calls(an_order())), Subject("saga", saga)]
        await running.measure([*subjects, Subject("choreography", choreography)], parts, {"services": line.length})
