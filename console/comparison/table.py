"""The comparison in a terminal, a hundred columns wide."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from console.comparison.result import STYLES, Comparison, UnderFault
from mesh.percentile import percentile


def show(comparison: Comparison) -> RenderableType:
    """All of it."""
    return Group(*_parts(comparison))


def _parts(comparison: Comparison) -> Iterator[RenderableType]:
    yield Text(comparison.machine, style="dim")
    yield _healthy(comparison)
    yield _coupling(comparison)
    if comparison.scenarios:
        yield _faults(comparison)
    if comparison.left_out:
        yield Text(f"left out, for want of time: {', '.join(comparison.left_out)}", style="yellow")
    verdict = "; ".join(comparison.faults) or "the books of all services are right"
    yield Text(verdict, style="red" if comparison.faults else "green")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column(columns[0], max_width=40)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _healthy(comparison: Comparison) -> Table:
    table = _table(f"Healthy, {comparison.at_once} at a time", "", *(style.lower() for style in STYLES))
    all_of = [comparison.healthy[style] for style in STYLES]
    for name, cells in (
        ("orders measured", [f"{one.orders:,}" for one in all_of]),
        ("orders a second", [f"{one.per_second:.0f}" for one in all_of]),
        ("p50, ms", [f"{percentile(one.latencies_ms, 0.5):.0f}" for one in all_of]),
        ("p99, ms", [f"{percentile(one.latencies_ms, 0.99):.0f}" for one in all_of]),
        ("messages an order", [f"{one.messages_per_order:.1f}" for one in all_of]),
        ("calls an order", [f"{one.calls_per_order:.1f}" for one in all_of]),
    ):
        table.add_row(name, *cells)
    return table


def _coupling(comparison: Comparison) -> Table:
    table = _table("Who has to know whom", "", *(style.lower() for style in STYLES))
    all_of = [comparison.coupling[style] for style in STYLES]
    table.add_row("pairs of parts", *(str(one.edges) for one in all_of))
    table.add_row("knows most others", *(f"{one.widest} ({len(one.knows[one.widest])})" for one in all_of))
    joining = ", ".join(comparison.joining)
    table.add_row(
        "a new step changes, beside its service",
        "orchestrator",
        joining,
        ", ".join(["orchestrator", *comparison.joining]),
    )
    return table


def _faults(comparison: Comparison) -> Table:
    table = _table("Under a fault", "", *(style.lower() for style in STYLES))
    for scenario in comparison.scenarios:
        table.add_section()
        table.add_row(Text(scenario.title, style="bold"))
        all_of = [scenario.styles[style] for style in STYLES]
        table.add_row("taken meanwhile", *(f"{one.accepted_during} of {len(one.during)}" for one in all_of))
        table.add_row("ended meanwhile", *(f"{one.ended_during} of {len(one.during)}" for one in all_of))
        table.add_row("p50 of these, s", *(seconds(one.p50_s) for one in all_of))
        table.add_row("the slowest took, s", *(seconds(one.longest_s) for one in all_of))
        table.add_row("all caught up after, s", *(seconds(one.recovery_s) + _open(one) for one in all_of))
    return table


def seconds(value: float) -> str:
    """A time for people."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def _open(one: UnderFault) -> str:
    return f" ({one.open} never)" if one.open else ""
