"""For Graphviz."""

from __future__ import annotations

from console.graph.chart import OUTCOMES, START, Chart, Role, captions, label, role_of

_NODES = {
    Role.PIVOT: "peripheries=2, style=bold",
    Role.NO_GO: "peripheries=2, style=bold, color=red",
    Role.COMPENSATION: "style=dashed",
    Role.OBSERVER: "style=dotted",
}
_EDGES = {"emits": "style=solid", "refuses": "style=bold, color=red", "observes": "style=dashed"}


def as_dot(chart: Chart) -> str:
    """Refusals are red, compensations dashed; pivot and no-go have a double frame."""
    lines = ["digraph choreography {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{name}" [shape=circle];' for name in (START, *OUTCOMES.values())]
    for method in chart.methods:
        text = "\\n".join(captions(method))
        style = _NODES.get(role_of(method))
        lines.append(f'  "{label(method)}" [label="{text}"{f", {style}" if style else ""}];')
    for edge in chart.edges:
        if edge.target:
            lines.append(f'  "{edge.source}" -> "{edge.target}" [label="{edge.event}", {_EDGES[edge.kind]}];')
    return "\n".join([*lines, "}"])
