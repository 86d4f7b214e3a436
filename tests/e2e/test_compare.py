"""`ensemble compare`, in its smallest form: over real processes, one of which really dies."""

from __future__ import annotations

from console.comparison import measuring
from console.comparison.faults import FAULTS
from console.comparison.measuring import Plan

SMALL = Plan(warm_s=0.1, rounds=1, round_s=0.4, at_once=4, per_second=5, before_s=0.5, fault_s=2.0, after_s=0.5)


def test_the_styles_are_compared_healthy_and_with_a_dead_orchestrator() -> None:
    said: list[str] = []
    fault = next(one for one in FAULTS if one.name == "dead-orchestrator")
    comparison = measuring.compare(SMALL, [fault], said.append)
    assert comparison.good
    by_calls, by_events = comparison.healthy["ORCHESTRATED"], comparison.healthy["CHOREOGRAPHED"]
    # StartSaga and the eight calls of the workflow; the one public event.
    assert by_calls.calls_per_order >= 9.0  # more, where one was tried again
    assert by_calls.messages_per_order == 1.0
    assert (by_events.calls_per_order, by_events.messages_per_order) == (0.0, 8.0)
    (scenario,) = comparison.scenarios
    dead = scenario.styles["ORCHESTRATED"]
    assert len(dead.during) >= 5
    assert dead.ended_during == 0
    assert scenario.styles["CHOREOGRAPHED"].ended_during > 0
    assert scenario.styles["HYBRID"].ended_during > 0
    assert said[-1] == "the books of all services"
