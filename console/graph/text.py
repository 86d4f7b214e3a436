"""For a terminal: each process from its start to its ends, first the way forward, then the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from console.graph.chart import Chart, Role, label, role_of, said_of
from mesh.contract import Method, Process
from mesh.verification.finding import short

_SIGNS = {Role.PIVOT: "◆", Role.NO_GO: "◇"}
_LEGEND = "→ emits   ✘ refuses   ↶ is undone by   ◆ pivot   ◇ no-go   ■ the end"

Columns = tuple[str, str, str, str]  # method, what it emits, what it refuses with, and what else is to be said


def as_text(chart: Chart) -> str:
    """The whole contract."""
    parts = [_process(chart, process) for process in chart.contract.processes.values()]
    drawn = {method.full_name for process in chart.contract.processes.values() for method in process.methods}
    rest = [method for method in chart.methods if method.full_name not in drawn]
    observing = [method for method in rest if method.observes]
    calling = [method for method in rest if not method.observes]
    if observing:
        parts.append(["observers, in either style", *_rows(chart, observing, branching=False)])
    if calling:
        parts.append(["called by workflows only", *_rows(chart, calling, branching=False)])
    return "\n\n".join("\n".join(lines) for lines in [*parts, [_LEGEND]])


def _process(chart: Chart, process: Process) -> list[str]:
    within = process.start.deadline_s
    by_when = f", to end within {within:g} s" if within is not None else ""
    alone = "" if process.methods else "; no service follows it, its workflow says what happens"
    lines = [f"{process.name}: starts with {short(process.start.full_name)}{by_when}{alone}"]
    forward = [method for method in process.methods if not chart.is_back(process, method)]
    back = [method for method in process.methods if chart.is_back(process, method)]
    for title, methods in (("forward", forward), ("back", back)):
        if methods:
            lines += ["", f"  {title}", *_groups(chart, methods)]
    return lines


def _groups(chart: Chart, methods: list[Method]) -> Iterator[str]:
    """The methods that the same events trigger stand together."""
    groups: dict[tuple[tuple[str, ...], bool], list[Method]] = {}
    for method in methods:
        groups.setdefault((method.on, method.join_all), []).append(method)
    rows = iter(_rows(chart, [method for group in groups.values() for method in group], branching=True))
    for (events, join_all), group in groups.items():
        how = "all of " if join_all else "any of " if len(events) > 1 else ""
        yield f"    {how}{', '.join(short(event) for event in events) or '(called)'}"
        for index in range(len(group)):
            row = next(rows)
            yield row if index < len(group) - 1 else row.replace("├", "└", 1)


def _rows(chart: Chart, methods: list[Method], *, branching: bool) -> list[str]:
    """The methods in columns, a line each."""
    cells = [_columns(chart, method) for method in methods]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    start = "    ├─" if branching else "   "
    lines = []
    for method, row in zip(methods, cells, strict=True):
        sign = _SIGNS.get(role_of(method), "─" if branching else " ")
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
        lines.append(f"{start}{sign} {text}".rstrip())
    return lines


def _columns(chart: Chart, method: Method) -> Columns:
    outcome = chart.outcome_of(method.emits) if method.emits else ""
    emits = f"→ {short(method.emits)}{f' ■ {outcome}' if outcome else ''}" if method.emits else ""
    refuses = f"✘ {short(method.refuses)}" if method.refuses else ""
    compensation = chart.contract.compensation_of(method)
    said = _listed(
        [
            said_of(method),
            f"↶ {compensation.name}" if compensation is not None else "",
            f"on {', '.join(short(event) for event in method.observes)}" if method.observes else "",
        ]
    )
    return (label(method), emits, refuses, said)


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(filter(None, parts))
