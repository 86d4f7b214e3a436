"""What seeds of the simulation have found, as small as it went."""

from __future__ import annotations

from scripts.simulation import trial
from scripts.simulation.plan import ORCHESTRATOR, Fault, Placed, Plan

ORDER = Placed(0.02, 0, "ORCHESTRATED", False, (("sku-1", 1),), "tok_visa", "CH")


def test_an_orchestrator_that_cannot_take_its_lease_yet_waits_and_does_not_end() -> None:
    found = (Fault(0.01, "disk full", ORCHESTRATOR, 4.0, 0.0), Fault(0.02, "crash", ORCHESTRATOR, 0.1, 0.0))
    verdict = trial.run(Plan(1, orchestrators=1, replicas="", sync_every_s=0.0, items=(ORDER, *found)))
    assert verdict.faults == []
    assert verdict.endings == {"COMPLETED": 1}
