"""Results as a run would leave them."""

from __future__ import annotations

from console.comparison.coupling import Coupling
from console.comparison.flow import Sample
from console.comparison.result import STYLES, Comparison, Healthy, Round, Scenario, UnderFault


def ended(placed_s: float, took_s: float, accepted_after_s: float = 0.0) -> Sample:
    return Sample(f"order-{placed_s}", placed_s, placed_s + accepted_after_s, placed_s + took_s, "COMPLETED")


def under_fault(*samples: Sample) -> UnderFault:
    """Something was wrong from the second to the sixth second."""
    return UnderFault(list(samples), began_s=2.0, ended_s=6.0)


def a_comparison(**changes: object) -> Comparison:
    healthy = Healthy([Round([ended(0.0, 0.1), ended(0.1, 0.3)], seconds=0.5, messages=16, calls=0)])
    scenario = Scenario("dead-broker", "the broker is dead", {style: under_fault(ended(3.0, 4.0)) for style in STYLES})
    values: dict[str, object] = {
        "machine": "2 cores",
        "at_once": 16,
        "healthy": dict.fromkeys(STYLES, healthy),
        "coupling": dict.fromkeys(STYLES, Coupling({"orders": ("payments",), "payments": ()})),
        "joining": ("orders",),
        "scenarios": [scenario],
    }
    return Comparison(**(values | changes))  # type: ignore[arg-type]
