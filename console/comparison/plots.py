"""Plots as SVG, drawn here: they stand inside a page that needs nothing else, and are few and simple."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 36
COLOURS = {"ORCHESTRATED": "#2563eb", "CHOREOGRAPHED": "#d97706", "HYBRID": "#059669"}

Point = tuple[float, float]


class Axes:
    """Maps values to the picture. Both axes begin at zero."""

    def __init__(self, x_most: float, y_most: float) -> None:
        self._x_most = x_most or 1.0
        self._y_most = y_most or 1.0

    def x(self, value: float) -> float:
        """Where a value lies, from the left."""
        return LEFT + value / self._x_most * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value lies, from the top."""
        return HEIGHT - BOTTOM - value / self._y_most * (HEIGHT - TOP - BOTTOM)

    def frame(self, x_title: str, y_title: str) -> str:
        """Ticks and titles."""
        parts = []
        for step in range(5):
            x, y = self._x_most * step / 4, self._y_most * step / 4
            parts.append(_text(self.x(x), HEIGHT - BOTTOM + 14, f"{x:.3g}", "middle"))
            parts.append(_text(LEFT - 6, self.y(y) + 4, f"{y:.3g}", "end"))
            parts.append(_line(LEFT, self.y(y), WIDTH - RIGHT, self.y(y), "#e5e7eb"))
        parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 4, x_title, "middle"))
        parts.append(_text(4, TOP - 2, y_title, "start"))
        return "".join(parts)


def distribution(values_of: Mapping[str, Sequence[float]], x_title: str) -> str:
    """What share of each one's values lies below a value."""
    axes = Axes(max((max(values, default=0.0) for values in values_of.values()), default=0.0), 100.0)
    lines = []
    for name, values in values_of.items():
        ordered = sorted(values)
        points = [(value, 100.0 * (rank + 1) / len(ordered)) for rank, value in enumerate(ordered)]
        lines.append(_path([(axes.x(x), axes.y(y)) for x, y in [(0.0, 0.0), *points]], COLOURS[name]))
    return _svg(axes.frame(x_title, "% of orders") + "".join(lines))


def bars(value_of: Mapping[str, float], title: str) -> str:
    """A bar for each."""
    axes = Axes(max(value_of.values(), default=0.0), len(value_of))
    parts = []
    for number, (name, value) in enumerate(value_of.items()):
        top = TOP + number * 28
        parts.append(
            f'<rect x="{LEFT}" y="{top}" width="{axes.x(value) - LEFT:.1f}" height="20" fill="{COLOURS[name]}"/>'
        )
        parts.append(_text(LEFT + 6, top + 14, f"{name.lower()}: {value:.3g} {title}", "start", "#fff"))
    return _svg("".join(parts), TOP + 28 * len(value_of))


def timeline(points_of: Mapping[str, Sequence[Point]], began: float, ended: float, x_title: str, y_title: str) -> str:
    """A dot for each order, over the time in which something was wrong."""
    every = [point for points in points_of.values() for point in points]
    axes = Axes(max([ended, *(x for x, _ in every)]), max((y for _, y in every), default=0.0))
    shade = (
        f'<rect x="{axes.x(began):.1f}" y="{TOP}" width="{axes.x(ended) - axes.x(began):.1f}" '
        f'height="{HEIGHT - TOP - BOTTOM}" fill="#fee2e2"/>'
    )
    dots = [
        f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2" fill="{COLOURS[name]}" fill-opacity="0.7"/>'
        for name, points in points_of.items()
        for x, y in points
    ]
    return _svg(shade + axes.frame(x_title, y_title) + "".join(dots))


def legend() -> str:
    """Whose colour is whose."""
    return " ".join(f'<span style="color:{colour}">■</span> {name.lower()}' for name, colour in COLOURS.items())


def _svg(inside: str, height: float = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">{inside}</svg>'


def _text(x: float, y: float, text: str, anchor: str, fill: str = "#374151") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" fill="{fill}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _path(points: Sequence[Point], colour: str) -> str:
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
