"""What further replicas of every participant cost, and bring, on PostgreSQL.

floor          the client makes the four calls itself, spread over the replicas; they write their ledgers
saga           it asks an orchestrator to
choreography   the shop's way forward by events; the replicas of a service share its consumer

On one machine all replicas share its cores: what more of them cost is seen (processor time for each order, locks that
are waited for), what they bring on cores of their own is not.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import click
import nats

from mesh.channel import connect
from scripts.benchmarks.calls import naked, sagas
from scripts.benchmarks.chain import ANSWERS, an_order
from scripts.benchmarks.endings import Endings, choreographed_subject
from scripts.benchmarks.parts import Parts, temporary_folder
from scripts.benchmarks.plan import Plan, planned, run
from scripts.benchmarks.session import Session, session
from scripts.benchmarks.turns import Subject
from shop.orders.v1.events_pb2 import OrderPlaced
from tests import postgres

COUNTS = (1, 2)


@click.command()
@planned(64)
@click.option(
    "--replicas",
    "counts",
    type=click.IntRange(1, 8),
    multiple=True,
    default=COUNTS,
    show_default=True,
    help="How many replicas every participant has; may be given more than once.",
)
def replicas(plan: Plan, counts: tuple[int, ...]) -> None:
    """One and two replicas of every participant, on a PostgreSQL in memory that is started for it."""
    if postgres.binary("initdb") is None:
        raise click.ClickException(postgres.HOW_TO_GET_IT)
    with (
        temporary_folder() as folder,
        session(plan, folder, x="replicas") as running,
        postgres.running_server() as server,
    ):
        running.head(["PostgreSQL in memory, without syncs: what counts is processor time, not the disk"])
        for count in counts:
            (folder / str(count)).mkdir()
            with Parts(folder / str(count), database_url=server.fresh_database()) as parts:
                parts.watch("postgres", server.pid)
                run(_measure(running, parts, count))


async def _measure(running: Session, parts: Parts, count: int) -> None:
    addresses = parts.participants("ledger", ANSWERS, replicas=count)
    orchestrator = parts.orchestrator("orchestrator", addresses)
    async with AsyncExitStack() as stack:
        client = await nats.connect(parts.nats_url)
        stack.push_async_callback(client.close)
        endings = Endings(client, choreographed_subject)
        await endings.listen()

        async def choreography() -> None:
            await endings.run(OrderPlaced(order=an_order()))

        subjects = [
            Subject("floor", await stack.enter_async_context(naked(addresses, connect))),
            Subject("saga", await stack.enter_async_context(sagas(orchestrator))),
            Subject("choreography", choreography),
        ]
        await running.measure(subjects, parts, {"replicas": count})
