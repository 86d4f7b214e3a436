"""For a README: a Mermaid flowchart."""

from __future__ import annotations

import re

from console.graph.chart import OUTCOMES, START, Chart, Role, captions, label, role_of

_STYLES = {
    Role.PIVOT: "stroke-width:4px",
    Role.NO_GO: "stroke-width:4px,stroke:#b3261e",
    Role.COMPENSATION: "stroke-dasharray:6 3",
    Role.OBSERVER: "stroke-dasharray:2 3",
}
_SHAPES = {Role.PIVOT: ("{{", "}}"), Role.NO_GO: ("{{", "}}"), Role.OBSERVER: ("([", "])")}


def as_mermaid(chart: Chart) -> str:
    """Refusals are red, compensations dashed; pivot and no-go are hexagons."""
    edges = [edge for edge in chart.edges if edge.target]
    lines = ["flowchart LR"]
    lines += [f"  {name}(({name}))" for name in (START, *OUTCOMES.values()) if _is_used(name, chart)]
    for method in chart.methods:
        left, right = _SHAPES.get(role_of(method), ("[", "]"))
        text = "<br/>".join(captions(method))
        lines.append(f'  {_id(label(method))}{left}"{text}"{right}')
    for edge in edges:
        arrow = "-.->" if edge.kind == "observes" else "-->"
        lines.append(f"  {_id(edge.source)} {arrow}|{edge.event}| {_id(edge.target)}")
    refusing = [str(number) for number, edge in enumerate(edges) if edge.kind == "refuses"]
    lines += [f"  linkStyle {','.join(refusing)} stroke:#b3261e"] if refusing else []
    for role, style in _STYLES.items():
        if names := [_id(label(method)) for method in chart.methods if role_of(method) is role]:
            class_ = role.replace("-", "")
            lines += [f"  classDef {class_} {style}", f"  class {','.join(names)} {class_}"]
    return "\n".join(lines)


def _is_used(name: str, chart: Chart) -> bool:
    return any(name in (edge.source, edge.target) for edge in chart.edges)


def _id(name: str) -> str:
    return re.sub(r"\W", "_", name)
