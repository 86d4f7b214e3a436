"""For programs."""

from __future__ import annotations

import json

from console.graph.chart import Chart, role_of


def as_json(chart: Chart) -> str:
    """Methods and events by their full names; edges by their short ones, as they are drawn."""
    methods = [
        {
            "method": method.full_name,
            "role": role_of(method),
            "on": list(method.on),
            "join": "ALL" if method.join_all else "ANY",
            "emits": method.emits,
            "refuses": method.refuses,
            "compensates": method.compensates,
            "pivot": method.pivot,
            "aborts": method.aborts,
            "observes": list(method.observes),
        }
        for method in chart.methods
    ]
    events = [
        {"event": name, "starts": event.starts, "outcome": chart.outcome_of(name), "public": event.public}
        for name, event in chart.contract.events.items()
    ]
    drawn = {
        "processes": sorted(chart.contract.processes),
        "methods": methods,
        "events": events,
        "edges": [vars(edge) for edge in chart.edges],
    }
    return json.dumps(drawn, indent=2)
