"""What an orchestrated chain of four calls costs, beside the same four calls naked.

floor   one client calls the participants, one after the other, by generated stubs on plain channels; nothing of it
        is durable but what the participants write
saga    the same client asks RunSaga of an orchestrator, whose workflow makes the same calls by the same stubs

Both run against the same processes. Participants are `noop` (they answer with a constant) or `ledger` (the real
machinery around handlers that do nothing).
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import click

from mesh.databases import sqlite_path
from mesh.settings import Settings
from scripts.benchmarks import history as past
from scripts.benchmarks.calls import naked, sagas
from scripts.benchmarks.chain import ANSWERS
from scripts.benchmarks.parts import Parts, temporary_folder
from scripts.benchmarks.plan import Plan, planned, run
from scripts.benchmarks.session import Session, session
from scripts.benchmarks.turns import Subject

PARTICIPANTS = ("noop", "ledger")
ORCHESTRATOR = "orchestrator"
# Of noop participants, by the number in flight.
AIMS = {64: "   (aim: throughput at least 0.70)", 1: "   (aim: p50 at most 1.6)"}


@click.command()
@planned()
@click.option(
    "--history",
    type=click.IntRange(0, 10_000_000),
    default=0,
    help="Measures, with noop participants, also an orchestrator that has run so many sagas before.",
)
def orchestrated(plan: Plan, history: int) -> None:
    """Four calls, naked and as a saga, with noop and with ledger participants."""
    with temporary_folder() as folder, session(plan, folder) as running:
        for module in PARTICIPANTS:
            (folder / module).mkdir()
            with Parts(folder / module) as parts:
                run(_measure(running, parts, module, history if module == "noop" else 0))


async def _measure(running: Session, parts: Parts, module: str, history: int) -> None:
    addresses = parts.participants(module, ANSWERS)
    orchestrators = {0: parts.orchestrator(ORCHESTRATOR, addresses)}
    if history:
        orchestrators[history] = await _with_history(parts, addresses, history)
    async with AsyncExitStack() as stack:
        subjects = [Subject("floor", await stack.enter_async_context(naked(addresses)))]
        for count, address in orchestrators.items():
            subjects.append(Subject("saga", await stack.enter_async_context(sagas(address)), count))
        await running.measure(subjects, parts, {"participants": module}, AIMS if module == "noop" else None)


async def _with_history(parts: Parts, addresses: dict[str, str], count: int) -> str:
    """Lets an orchestrator run one saga, copies what it wrote of it once it has stopped, and starts it again."""
    name = f"{ORCHESTRATOR}-with-history"
    async with sagas(parts.orchestrator(name, addresses)) as run_one:
        saga_id = await run_one()
    parts.end(name)
    past.multiply(sqlite_path(Settings(data=parts.folder / name), ORCHESTRATOR), saga_id, count)
    return parts.orchestrator(name, addresses)
