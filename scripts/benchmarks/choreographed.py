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

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
import nats
import nats.errors
from google.protobuf.message import Message
from nats.js import JetStreamContext

from eventbus import envelope
from eventbus.streams import EVENTS
from scripts.benchmarks import parts, relay
from scripts.benchmarks.alike import Unlike, carried, check_alike
from scripts.benchmarks.chain import ANSWERS, an_order
from scripts.benchmarks.endings import Endings
from scripts.benchmarks.load import Incomplete, TooShort
from scripts.benchmarks.plan import Plan, Show, planned, run
from scripts.benchmarks.turns import Subject, take_turns
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
@planned
@click.option(
    "--sync",
    type=click.Choice(list(SYNC_INTERVALS)),
    default="always",
    show_default=True,
    help="When the broker syncs to disk: before it acknowledges, or as nats-server is shipped, every two minutes.",
)
def choreographed(plan: Plan, sync: str) -> None:
    """The shop's way forward by events: by hand in nats-py, and by participants with ledgers."""
    try:
        with parts.temporary_folder() as folder:
            _measure(folder, plan, sync, plan.begin(folder))
    except (parts.PartFailed, TooShort, Incomplete, Unlike, nats.errors.Error, OSError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from None


def _measure(folder: Path, plan: Plan, sync: str, show: Show) -> None:
    with ExitStack() as stack:
        nats_url = stack.enter_context(parts.running_broker(folder, sync_interval=SYNC_INTERVALS[sync]))
        for module in ("relay", "ledger"):
            stack.enter_context(parts.running_participants(module, list(ANSWERS), folder / module, nats_url))
        run(_measure_running(nats_url, plan, sync, show))


async def _measure_running(nats_url: str, plan: Plan, sync: str, show: Show) -> None:
    client = await nats.connect(nats_url)
    try:
        both = {"floor": Endings(client, relay.subject), "choreography": Endings(client, _subject)}
        for endings in both.values():
            await endings.listen()
        await _check(client.jetstream(), both)
        for way, first in FIRST.items():
            subjects = [Subject(name, 0, partial(_once, endings, first)) for name, endings in both.items()]
            for in_flight in plan.in_flight:
                turns = await take_turns(
                    subjects,
                    common={"way": way, "sync": sync},
                    in_flight=in_flight,
                    rounds=plan.rounds,
                    seconds=plan.seconds,
                )
                show(turns, AIMS.get(in_flight, ""))
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


def _subject(event: type[Message]) -> str:
    return envelope.subject(envelope.CHOREOGRAPHED, event.DESCRIPTOR.full_name)
