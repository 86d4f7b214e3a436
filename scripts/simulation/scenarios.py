"""Scenarios that a rule is about, and that chance alone meets in one seed of some thousands: one seed in ten has one.

Each is an order more, with what is done to it; the moments are drawn, so that it sometimes comes to what it is about.
"""

from __future__ import annotations

import random

from scripts.simulation.plan import BROKER, ORCHESTRATOR, Act, Fault, Item, Placed

# The order of a scenario, beside those of the plan.
NUMBER = 9


def scenario(rng: random.Random) -> tuple[Item, ...]:
    """One of them."""
    scenarios = (_overtaken_and_handed_over, _woken_up_and_killed, _adopted_and_cancelled, _purged_on_its_way)
    return rng.choice(scenarios)(rng, rng.uniform(0, 2))


def _overtaken_and_handed_over(rng: random.Random, at_s: float) -> tuple[Item, ...]:
    """A compensation overtakes its step, and the choreography takes the saga before it is closed (rules 1, 2 and 7)."""
    away = rng.choice(("inventory", "payments", "shipping"))
    return (
        _placed(rng, at_s, rng.choice(("ORCHESTRATED", "HYBRID"))),
        _fault(at_s, "partition", f"{ORCHESTRATOR}>{away}", rng.uniform(0.1, 0.6)),
        _act(at_s + rng.uniform(0.01, 0.05), "cancel by the orchestrator"),
        _fault(at_s + rng.uniform(0.03, 0.1), "partition", f"{ORCHESTRATOR}>orders", rng.uniform(2.0, 6.0)),
        _act(at_s + rng.uniform(0.5, 1.5), "hand over"),
    )


def _woken_up_and_killed(rng: random.Random, at_s: float) -> tuple[Item, ...]:
    """An orchestrator sleeps past its lease, wakes up beside its successor, and dies in the middle of what it does."""
    begins_s, sleeps_s = at_s + rng.uniform(0.005, 0.05), rng.uniform(4.5, 6.0)
    wakes_s = begins_s + sleeps_s + 0.0001
    return (
        _placed(rng, at_s, "ORCHESTRATED"),
        _fault(begins_s, "pause", ORCHESTRATOR, sleeps_s),
        _fault(wakes_s - 0.01, "slow", rng.choice(("payments", "shipping", "orders")), 3.0, rng.uniform(0.7, 1.0)),
        _fault(wakes_s, "crash", ORCHESTRATOR, rng.uniform(0.2, 4.0), rng.uniform(0.5, 0.9)),
    )


def _adopted_and_cancelled(rng: random.Random, at_s: float) -> tuple[Item, ...]:
    """What is compensated was started by others, or before a crash that forgot it (rule 3)."""
    return (
        _placed(rng, at_s, "CHOREOGRAPHED"),
        _act(at_s + rng.uniform(0.005, 0.03), "adopt"),
        _act(at_s + rng.uniform(0.01, 0.05), "cancel by the orchestrator"),
        _fault(at_s + rng.uniform(0.01, 0.1), "crash", ORCHESTRATOR, rng.uniform(0.2, 2.0), rng.uniform(0.0, 0.7)),
    )


def _purged_on_its_way(rng: random.Random, at_s: float) -> tuple[Item, ...]:
    """A part dies, and what it had to do is lost with the stream, on either side of the pivot (rule 10)."""
    dies_s = at_s + rng.uniform(0.002, 0.02)
    return (
        _placed(rng, at_s, "CHOREOGRAPHED"),
        _fault(dies_s, "crash", rng.choice(("payments", "shipping", "orders")), 2.0),
        _fault(dies_s + rng.uniform(0.2, 1.5), rng.choice(("events purged", "stream deleted")), BROKER),
    )


def _placed(rng: random.Random, at_s: float, style: str) -> Placed:
    return Placed(round(at_s, 4), NUMBER, style, False, ((rng.choice(("sku-1", "sku-2")), 1),), "tok_visa", "CH")


def _act(at_s: float, what: str) -> Act:
    return Act(round(at_s, 4), what, NUMBER)


def _fault(at_s: float, kind: str, where: str, for_s: float = 0.0, much: float = 0.0) -> Fault:
    return Fault(round(at_s, 4), kind, where, round(for_s, 3), round(much, 3))
