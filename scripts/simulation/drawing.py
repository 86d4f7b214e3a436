"""The plan of a seed.

Faults come in swarms (Groce et al., "Swarm Testing", ISSTA 2012): each seed first chooses which kinds of faults there
are at all, and then draws from those. Runs with few kinds go deep where one with all of them would only thrash.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from orchestrator.__main__ import TRACKER
from scripts.simulation.plan import ACTS, BROKER, ORCHESTRATOR, PARTS, STYLES, Act, Fault, Item, Placed, Plan
from scripts.simulation.scenarios import scenario
from services import SERVICES

# Everything that is planned begins within so many seconds.
WINDOW_S = 6.0
LASTS_MAX_S = 8.0
ORDERS_MAX = 4
FAULTS_MAX = 8
ACTS_MAX = 3
# Of the seeds.
SCENARIOS = 0.1


def _any_part(rng: random.Random) -> str:
    return rng.choice(PARTS)


def _link(rng: random.Random) -> str:
    """One way between two parts that talk to each other."""
    callee = rng.choice(PARTS)
    caller = "orders" if callee == ORCHESTRATOR else ORCHESTRATOR
    pair = rng.choice([(caller, callee), (callee, caller), ("customer", "orders"), ("orders", "customer")])
    return ">".join(pair)


def _consumer(rng: random.Random) -> str:
    return rng.choice([*SERVICES, TRACKER])


def _broker(_: random.Random) -> str:
    return BROKER


# Each kind of fault, and where it can be.
FAULTS: dict[str, Callable[[random.Random], str]] = {
    "crash": _any_part,  # SIGKILL at an await
    "pause": _any_part,
    "restart": _any_part,  # SIGTERM
    "loss": lambda _: "network",
    "held up": lambda _: "network",
    "slow": _any_part,
    "partition": _link,
    "disk full": _any_part,
    "answers of commits lost": _any_part,
    "broker killed": _broker,
    "broker loses power": _broker,  # and with it what it has not synced
    "broker disk full": _broker,
    "broker disk empty": _broker,
    "events purged": _broker,
    "stream deleted": _broker,
    "consumer deleted": _consumer,
    "connection to the broker cut": _any_part,
    "partition from the broker": _any_part,
    "publishes lost": _broker,
    "answers to publishes lost": _broker,
    "deliveries lost": _broker,
    "acks lost": _broker,
    "delivered twice": _broker,
    "deliveries late": _broker,
}


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    orders = [_order(rng, number) for number in range(rng.randint(1, ORDERS_MAX))]
    acts = [_act(rng, orders) for _ in range(rng.randint(0, ACTS_MAX))]
    if rng.random() < 0.7:  # all on one order, on which then more than one works at the same time
        acts = [
            replace(act, number=orders[0].number, at_s=round(orders[0].at_s + rng.expovariate(30), 4)) for act in acts
        ]
    kinds = rng.sample(list(FAULTS), rng.choice((1, 2, 3, 5, 8)))
    busy = [order.at_s for order in orders] + [act.at_s for act in acts]
    faults = [_fault(rng, rng.choice(kinds), busy) for _ in range(rng.randint(0, FAULTS_MAX))]
    return Plan(
        seed=seed,
        orchestrators=rng.choice((1, 1, 2)),
        replicas=rng.choice(("", "", *SERVICES)),
        sync_every_s=rng.choice((0.0, 0.0, 2.0)),
        items=(*orders, *acts, *faults, *_scenario(seed)),
    )


def _scenario(seed: int) -> tuple[Item, ...]:
    rng = random.Random(f"scenario {seed}")  # of its own, so that all others keep their plans
    return scenario(rng) if rng.random() < SCENARIOS else ()


def _order(rng: random.Random, number: int) -> Placed:
    articles = tuple((sku, rng.randint(1, 3)) for sku in rng.sample(("sku-1", "sku-2", "sku-3"), rng.randint(1, 2)))
    return Placed(
        at_s=_moment(rng) / 2,
        number=number,
        style=rng.choice(STYLES),
        by_event=rng.random() < 0.1,
        articles=articles,
        token=rng.choice(("tok_visa",) * 6 + ("tok_declined", "tok_insufficient_funds")),
        country="AQ" if rng.random() < 0.1 else "CH",
    )


def _act(rng: random.Random, orders: list[Placed]) -> Act:
    order = rng.choice(orders)
    return Act(
        round(order.at_s + rng.choice((rng.expovariate(50), rng.expovariate(1))), 4), rng.choice(ACTS), order.number
    )


def _fault(rng: random.Random, kind: str, busy: list[float]) -> Fault:
    """Most faults find something under way: an order takes some tens of milliseconds."""
    at_s = rng.choice(busy) + rng.expovariate(30) if rng.random() < 0.7 else _moment(rng)
    for_s = min(rng.choice((rng.expovariate(1 / 2.0), rng.uniform(3.0, 6.0))), LASTS_MAX_S)
    return Fault(round(at_s, 4), kind, FAULTS[kind](rng), round(for_s, 3), round(rng.random(), 3))


def _moment(rng: random.Random) -> float:
    """Many things happen close to the beginning."""
    return round(min(rng.choice((rng.expovariate(20), rng.expovariate(1), rng.uniform(0, WINDOW_S))), WINDOW_S), 4)
