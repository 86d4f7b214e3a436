"""What the shop's way forward costs as a choreography, beside the same one by hand.

floor          four processes in nats-py that hand on events (scripts.benchmarks.relay); nothing of it is durable but
               what the broker stores
choreography   four participants with the real machinery (ledger, joins, outbox), whose handlers do nothing

Both meet the same nats-server, each in a stream of its own with the same settings, carry the same messages over the
same hops (one order is sent both ways and compared before anything is measured), and are asked by the same client:
from before it publishes the first event until it has the last. There is no orchestrator, and so no tracker.
Two ways are measured:

order   OrderPlaced … OrderCompleted: eight steps, seven events after the first, at five hops of depth, with a join
tail    OrderConfirmed … OrderCompleted: the last three steps of it, one after the other
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import click
import nats
from nats.js import JetStreamContext

from eventbus import envelope
from eventbus.streams import EVENTS
from scripts.benchmarks import relay
from scripts.benchmarks.alike import carried, check_alike
from scripts.benchmarks.chain import ANSWERS, an_order
from scripts.benchmarks.endings import Endings, choreographed_subject
from scripts.benchmarks.parts import Parts, temporary_folder
from scripts.benchmarks.plan import Plan, planned, run
from scripts.benchmarks.session import Session, session
from scripts.benchmarks.turns import Subject
from shop.orders.v1.events_pb2 import OrderConfirmed, OrderPlaced

FIRST: dict[str, Callable[[], OrderPlaced | OrderConfirmed]] = {
    "order": lambda: OrderPlaced(order=an_order()),
    "tail": lambda: OrderConfirmed(order=an_order()),
}
# When JetStream syncs to disk: as our configuration has it, and as nats-server is shipped.
SYNC_INTERVALS = {"always": "always", "shipped": "2m"}

# By the number in flight.
AIMS = {64: "   (aim: throughput at least 0.60)"}


@click.command()
@planned()
@click.option(
    "--sync",
    type=click.Choice(list(SYNC_INTERVALS)),
    default="always",
    show_default=True,
    help="When the broker syncs to disk: before it acknowledges, or as nats-server is shipped, every two minutes.",
)
def choreographed(plan: Plan, sync: str) -> None:
    """The shop's way forward by events: by hand in nats-py, and by participants with ledgers."""
    with (
        temporary_folder() as folder,
        session(plan, folder) as running,
        Parts(folder, sync_interval=SYNC_INTERVALS[sync]) as parts,
    ):
        run(_measure(running, parts, sync))


async def _measure(running: Session, parts: Parts, sync: str) -> None:
    for module in ("relay", "ledger"):
        parts.participants(module, ANSWERS)
    async with both_ways(parts.nats_url) as both:
        for way, first in FIRST.items():
            subjects = [Subject(name, partial(_once, endings, first)) for name, endings in both.items()]
            await running.measure(subjects, parts, {"way": way, "sync": sync}, AIMS)


@asynccontextmanager
async def both_ways(nats_url: str) -> AsyncIterator[dict[str, Endings]]:
    """A client of the floor, and one of the choreography. One order has gone both ways; raises Unlike."""
    client = await nats.connect(nats_url)
    try:
        both = {"floor": Endings(client, relay.subject), "choreography": Endings(client, choreographed_subject)}
        for endings in both.values():
            await endings.listen()
        await _check(client.jetstream(), both)
        yield both
    finally:
        await client.close()


async def _check(jetstream: JetStreamContext, both: dict[str, Endings]) -> None:
    """Sends the same order both ways before anything is measured; raises Unlike."""
    placed = OrderPlaced(order=an_order())
    for endings in both.values():
        await endings.run(placed)
    check_alike(
        await carried(jetstream, relay.STREAM, f"{relay.SUBJECTS}."),
        await carried(jetstream, EVENTS, envelope.subject(envelope.CHOREOGRAPHED, "")),
    )


async def _once(endings: Endings, first: Callable[[], OrderPlaced | OrderConfirmed]) -> None:
    await endings.run(first())
