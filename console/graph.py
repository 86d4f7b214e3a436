"""Draws the choreography from the contracts: text, Mermaid, DOT or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesh.contract import Contract, Method, service_name


@dataclass(frozen=True)
class Edge:
    """One event on its way from the method that emits it to a method that it triggers."""

    source: str  # "" for the start
    event: str
    target: str  # "" where nobody hears it
    kind: str  # "emits", "refuses" or "observes"
    joined: bool


def edges(contract: Contract) -> list[Edge]:
    """All edges, in the order of the processes."""
    return list(dict.fromkeys(_edges(contract)))


def _edges(contract: Contract) -> Iterator[Edge]:
    for event in contract.events.values():
        name = short(event.full_name)
        sources = [
            (label(method), event.full_name == method.refuses) for method in contract.sources_of(event.full_name)
        ]
        for source, refused in sources or [("", False)]:
            kind = "refuses" if refused else "emits"
            inside = contract.triggered_by(event.full_name)
            observing = contract.observing(event.full_name)
            for method in inside:
                yield Edge(source, name, label(method), kind, method.join_all)
            for method in observing:
                yield Edge(source, name, label(method), "observes", False)
            if not inside and not observing:
                yield Edge(source, name, "", kind, False)


def short(full_name: str) -> str:
    """The last part of a full name."""
    return full_name.rpartition(".")[2]


def label(method: Method) -> str:
    """E.g. inventory.ReserveStock."""
    return f"{service_name(method.service)}.{method.name}"


def as_text(contract: Contract) -> str:
    """For a terminal: each method with what triggers it and what it emits, process by process."""
    lines: list[str] = []
    for process in contract.processes.values():
        lines += [f"{process.name}  (starts with {short(process.start.full_name)})", ""]
        for method in process.methods:
            lines += _method_lines(method)
    observers = [method for method in contract.methods.values() if method.observes]
    if observers:
        lines += ["observers, in either style", ""]
        for method in observers:
            lines += _method_lines(method)
    return "\n".join(lines).rstrip()


def _method_lines(method: Method) -> list[str]:
    roles = [
        text
        for text, there in (
            ("pivot: go", method.pivot),
            (f"no-go: the other side of {short(method.aborts)}", method.aborts),
            (f"compensates {short(method.compensates)}", method.compensates),
        )
        if there
    ]
    how = "all of " if method.join_all else ""
    lines = [f"  {label(method)}{'  [' + ', '.join(roles) + ']' if roles else ''}"]
    lines.append(f"    ← {how}{', '.join(short(event) for event in method.triggers)}")
    if method.emits:
        lines.append(f"    → {short(method.emits)}{'  or ' + short(method.refuses) if method.refuses else ''}")
    return [*lines, ""]


def as_mermaid(contract: Contract) -> str:
    """For a README: a Mermaid flowchart."""
    lines = ["flowchart LR"]
    for edge in edges(contract):
        arrow = "-.->" if edge.kind == "observes" else "-->"
        lines.append(f"  {_node(edge.source or 'start')} {arrow}|{edge.event}| {_node(edge.target or 'end')}")
    lines += [f"  style {_id(label(m))} stroke-width:3px" for m in contract.methods.values() if m.pivot]
    return "\n".join(lines)


def _id(name: str) -> str:
    return name.replace(".", "_").replace("-", "_") + "_"


def _node(name: str) -> str:
    return f"{_id(name)}(({name}))" if name in ("start", "end") else f'{_id(name)}["{name}"]'


def as_dot(contract: Contract) -> str:
    """For Graphviz."""
    styles = {"emits": "solid", "refuses": "bold", "observes": "dashed"}
    lines = ["digraph choreography {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{label(m)}" [peripheries=2];' for m in contract.methods.values() if m.pivot]
    for edge in edges(contract):
        source, target = edge.source or "start", edge.target or "end"
        lines.append(f'  "{source}" -> "{target}" [label="{edge.event}", style={styles[edge.kind]}];')
    return "\n".join([*lines, "}"])


def as_json(contract: Contract) -> str:
    """For programs."""
    methods = [
        {
            "method": method.full_name,
            "on": list(method.on),
            "join": "ALL" if method.join_all else "ANY",
            "emits": method.emits,
            "refuses": method.refuses,
            "compensates": method.compensates,
            "pivot": method.pivot,
            "aborts": method.aborts,
            "observes": list(method.observes),
        }
        for method in contract.methods.values()
        if method.participates
    ]
    drawn = [vars(edge) for edge in edges(contract)]
    return json.dumps({"processes": sorted(contract.processes), "methods": methods, "edges": drawn}, indent=2)


FORMATS: dict[str, Callable[[Contract], str]] = {
    "text": as_text,
    "mermaid": as_mermaid,
    "dot": as_dot,
    "json": as_json,
}
