"""The comparison as one page of HTML that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from console.comparison import plots
from console.comparison.result import STYLES, Comparison, Scenario
from console.comparison.table import seconds
from mesh.percentile import percentile

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111827}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .8rem;border-bottom:1px solid #e5e7eb;"
    "text-align:right}td:first-child,th:first-child{text-align:left}.machine{color:#6b7280}.bad{color:#b91c1c}"
    "svg{max-width:100%;height:auto}"
)

READ_ME = (
    "All figures are of one run on one machine: compare them with each other, not with those of another page. "
    "Healthy: the styles took turns. Under a fault: the same fault hit orders of all styles at the same time; a dot is "
    "an order, at the time at which it was placed, as high as the time that it took; red is when something was wrong."
)


def page(comparison: Comparison) -> str:
    """The page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>ensemble compare</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(_body(comparison))}</body></html>\n"
    )


def _body(comparison: Comparison) -> Iterator[str]:
    yield f'<h1>The styles compared</h1><p class="machine">{escape(comparison.machine)}</p>'
    yield f"<p>{READ_ME}</p><p>{plots.legend()}</p>"
    yield f"<h2>Healthy, {comparison.at_once} at a time</h2>{_healthy(comparison)}"
    yield plots.bars({style: one.per_second for style, one in comparison.healthy.items()}, "orders a second")
    yield "<p>How long orders took:</p>"
    yield plots.distribution({style: one.latencies_ms for style, one in comparison.healthy.items()}, "ms")
    yield f"<h2>Who has to know whom</h2>{_coupling(comparison)}"
    for scenario in comparison.scenarios:
        yield from _scenario(scenario)
    if comparison.left_out:
        yield f"<p>Left out, for want of time: {escape(', '.join(comparison.left_out))}.</p>"
    yield "<h2>The books</h2>"
    if comparison.faults:
        yield f'<ul class="bad">{"".join(f"<li>{escape(fault)}</li>" for fault in comparison.faults)}</ul>'
    else:
        yield "<p>The books of all services are right.</p>"


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{body}</table>"


def _healthy(comparison: Comparison) -> str:
    return _rows(
        ("", "orders", "a second", "p50, ms", "p99, ms", "messages an order", "calls an order"),
        (
            (
                style.lower(),
                f"{one.orders:,}",
                f"{one.per_second:.0f}",
                f"{percentile(one.latencies_ms, 0.5):.0f}",
                f"{percentile(one.latencies_ms, 0.99):.0f}",
                f"{one.messages_per_order:.1f}",
                f"{one.calls_per_order:.1f}",
            )
            for style, one in comparison.healthy.items()
        ),
    )


def _coupling(comparison: Comparison) -> str:
    parts = sorted({part for one in comparison.coupling.values() for part in one.knows})
    return _rows(
        ("", *(style.lower() for style in STYLES)),
        (
            (part, *(", ".join(comparison.coupling[style].knows.get(part, ())) or "nobody" for style in STYLES))
            for part in parts
        ),
    )


def _scenario(scenario: Scenario) -> Iterator[str]:
    yield f"<h2>{escape(scenario.title)}</h2>"
    yield _rows(
        (
            "",
            "taken meanwhile",
            "ended meanwhile",
            "p50 of these, s",
            "the slowest took, s",
            "all caught up after, s",
            "never ended",
        ),
        (
            (
                style.lower(),
                f"{one.accepted_during} of {len(one.during)}",
                f"{one.ended_during} of {len(one.during)}",
                seconds(one.p50_s),
                seconds(one.longest_s),
                seconds(one.recovery_s),
                str(one.open),
            )
            for style, one in scenario.styles.items()
        ),
    )
    first = next(iter(scenario.styles.values()))
    points = {
        style: [(s.placed_s, s.latency_s) for s in one.samples if s.latency_s is not None]
        for style, one in scenario.styles.items()
    }
    yield plots.timeline(points, first.began_s, first.ended_s, "placed at, s", "took, s")
