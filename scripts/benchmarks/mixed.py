"""What both styles cost at once, on the same participants, beside the same done by hand.

floor   four processes by hand (scripts.benchmarks.relay): every other order is the four calls of the chain, naked; the
        others go by events
mixed   four participants with the real machinery, whose handlers do nothing: every other order is a saga of an
        orchestrator, which makes the four calls; the others are choreographed. The orchestrator's tracker follows the
        choreographed ones, as it does in every mesh

It takes turns by order, so each style has half of what is in flight when it begins, and half of what ends. Half of the
orders are quick and half are not: the p50 lies somewhere between the two, and says less than the throughput.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import click

from scripts.benchmarks.calls import naked, sagas
from scripts.benchmarks.chain import ANSWERS, an_order
from scripts.benchmarks.choreographed import both_ways
from scripts.benchmarks.parts import Parts, temporary_folder
from scripts.benchmarks.plan import Plan, planned, run
from scripts.benchmarks.session import Session, session
from scripts.benchmarks.turns import Subject
from shop.orders.v1.events_pb2 import OrderPlaced

Once = Callable[[], Awaitable[object]]


@click.command()
@planned()
def mixed(plan: Plan) -> None:
    """Half of the orders orchestrated, half choreographed, at once: by hand, and with the real machinery."""
    with temporary_folder() as folder, session(plan, folder) as running, Parts(folder) as parts:
        run(_measure(running, parts))


async def _measure(running: Session, parts: Parts) -> None:
    by_hand, participants = (parts.participants(module, ANSWERS) for module in ("relay", "ledger"))
    async with AsyncExitStack() as stack:
        by_events = await stack.enter_async_context(both_ways(parts.nats_url))
        by_calls = {
            "floor": await stack.enter_async_context(naked(by_hand)),
            "choreography": await stack.enter_async_context(sagas(parts.orchestrator("orchestrator", participants))),
        }

        async def event(name: str) -> None:
            await by_events[name].run(OrderPlaced(order=an_order()))

        subjects = [
            Subject(title, in_turn(by_calls[name], partial(event, name)))
            for title, name in (("floor", "floor"), ("mixed", "choreography"))
        ]
        await running.measure(subjects, parts, {"styles": "half and half"})


def in_turn(*each: Once) -> Once:
    """Does one of these and then the next, whoever calls."""
    turns = itertools.cycle(each)

    async def once() -> None:
        await next(turns)()

    return once
