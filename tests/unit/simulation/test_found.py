"""What seeds of the simulation have found, each as small as it went."""

from __future__ import annotations

import pytest

from scripts.simulation import trial
from scripts.simulation.plan import ORCHESTRATOR, Fault, Item, Placed, Plan

ORDER = Placed(0.02, 0, "ORCHESTRATED", False, (("sku-1", 1),), "tok_visa", "CH")


@pytest.mark.parametrize(
    "found",
    [
        # An orchestrator that could not take its lease at its start ended, and was started again, and ended.
        (Fault(0.01, "disk full", ORCHESTRATOR, 4.0, 0.0), Fault(0.02, "crash", ORCHESTRATOR, 0.1, 0.0)),
        # A stream that was purged in the second before orders first looked at it lost ends that nobody told again.
        (Fault(0.045, "events purged", "broker", 0.1, 0.0),),
    ],
    ids=["no lease at the start", "purged before it was seen"],
)
def test_it_is_mended(found: tuple[Item, ...]) -> None:
    verdict = trial.run(Plan(1, orchestrators=1, replicas="", sync_every_s=0.0, items=(ORDER, *found)))
    assert verdict.faults == []
    assert verdict.endings == {"COMPLETED": 1}
