"""What must hold: in every state, and from every state on, whoever goes on with the case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.explicit_model.case import (
    CANCELLED,
    COMPENSATED,
    COMPLETED,
    CONFIRMED,
    DONE,
    FORWARD,
    NEVER,
    NOTHING,
    STEPS_MAX,
    Case,
    Rules,
    Shop,
    State,
)
from scripts.explicit_model.search import Search

Holds = Callable[[Shop, State], bool]

ALWAYS: dict[str, Holds] = {
    "no effect happens twice": lambda shop, s: all(count == 1 for _, count in s.effects),
    "the pivot decides once": lambda shop, s: not s.row("ConfirmOrder") == s.row("CancelOrder") == DONE,
    "a confirmed order has all that was held for it": lambda shop, s: (
        s.order not in (CONFIRMED, COMPLETED) or all(s.effect(step) for step in shop.steps)
    ),
    "a completed order is paid and sent": lambda shop, s: (
        s.order != COMPLETED or all(s.effect(step) for step in FORWARD)
    ),
    "a cancelled order is neither paid nor sent": lambda shop, s: (
        s.order not in (CANCELLED, COMPENSATED) or not any(s.effect(step) for step in FORWARD)
    ),
    "a compensated order has no effects, ever": lambda shop, s: s.order != COMPENSATED or not s.effects,
    "an orchestrator says what the order's row says": lambda shop, s: s.told in ("", s.order),
}

BY_EVENTS = "choreography alone brings every case to its end"
BY_CALLS = "an orchestrator alone brings every case to its end"
ACKNOWLEDGED = "a cancellation that was acknowledged reaches the pivot"
CLAIMS = (*ALWAYS, BY_EVENTS, BY_CALLS, ACKNOWLEDGED)


@dataclass(frozen=True)
class Broken:
    """A claim that does not hold, and the shortest way to see it."""

    claim: str
    trace: tuple[str, ...]


@dataclass
class Verdict:
    """What became of the claims under a set of rules."""

    states: dict[str, int] = field(default_factory=dict)  # visited, by what for
    broken: list[Broken] = field(default_factory=list)

    def breaks(self, claim: str) -> bool:
        """Whether a counterexample is known already."""
        return any(one.claim == claim for one in self.broken)


def check(rules: Rules, steps: int = STEPS_MAX, *, first_only: bool = False) -> Verdict:
    """Checks all claims on a shop with so many steps before its pivot. `first_only`: one counterexample is enough."""
    shop = Shop(steps)
    verdict = Verdict()
    search = Search(Case(shop, rules).everything)
    cut_off: dict[State, int] = {}  # what is durable, after all that is on its way is lost; and the shortest way there
    reached: dict[State, State] = {}
    for state, distance, _ in search.reach({State(): 0}):
        durable = state._replace(published=NOTHING)
        if durable not in cut_off:
            cut_off[durable], reached[durable] = distance, state
        for claim, holds in ALWAYS.items():
            if not verdict.breaks(claim) and not holds(shop, state):
                verdict.broken.append(Broken(claim, tuple(search.trace(state))))
        if first_only and verdict.broken:
            break
    verdict.states["in every state"] = len(search.before)
    if first_only and verdict.broken:
        return verdict
    # Without losses from here on, and with nothing that is ever taken back, every way on is finite: it is enough to
    # look at where nothing can change any more.
    case = Case(shop, rules, losing=False)
    adopted = {state._replace(orchestrated=True): distance for state, distance in reversed(cut_off.items())}
    reached.update({state._replace(orchestrated=True): reached[state] for state in reversed(cut_off)})
    for who, begin, moves, claims in (
        ("choreography alone", cut_off, case.healing, {BY_EVENTS: _has_ended}),
        ("an orchestrator alone", adopted, case.calls, {BY_CALLS: _has_ended, ACKNOWLEDGED: _is_decided}),
    ):
        onward = Search(moves)
        for state, _, goes_on in onward.reach(begin):
            for claim, is_good in claims.items():
                if not goes_on and not verdict.breaks(claim) and not is_good(state):
                    way = search.trace(reached[onward.root(state)])
                    lost = f"all that is on its way is lost; {who} goes on"
                    verdict.broken.append(Broken(claim, (*way, lost, *onward.trace(state))))
            if first_only and verdict.broken:
                break
        verdict.states[f"from every state on, {who}"] = len(onward.before)
        if first_only and verdict.broken:
            break
    return verdict


def _has_ended(state: State) -> bool:
    return state.order in (COMPLETED, COMPENSATED)


def _is_decided(state: State) -> bool:
    return not state.acknowledged or state.row("CancelOrder") != NEVER
