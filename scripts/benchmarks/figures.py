"""Medians and ranges over rounds, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from scripts.benchmarks.load import Round


@dataclass(frozen=True)
class Spread:
    """A median, and the range that it comes from."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        """For people."""
        return f"{self.median:,.{digits}f} [{self.least:,.{digits}f} … {self.most:,.{digits}f}]"

    def to_json(self, name: str, digits: int) -> dict[str, float]:
        """The median under the name, the range beside it."""
        return {
            name: round(self.median, digits),
            f"{name}_min": round(self.least, digits),
            f"{name}_max": round(self.most, digits),
        }


@dataclass(frozen=True)
class Figures:
    """What all rounds of one subject measured."""

    per_second: Spread
    p50_ms: Spread
    p99_ms: Spread
    cpu_us: dict[str, float]  # for each that ended, by process: the median round's

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> Figures:
        """Of at least one round."""
        return cls(
            Spread.of([one.per_second for one in rounds]),
            Spread.of([one.p50_ms for one in rounds]),
            Spread.of([one.p99_ms for one in rounds]),
            {
                name: spent
                for name in rounds[0].cpu_us
                if round(spent := median(one.cpu_us.get(name, 0.0) for one in rounds))
            },
        )

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints them."""
        return {
            **self.per_second.to_json("per_second", 1),
            **self.p50_ms.to_json("p50_ms", 3),
            **self.p99_ms.to_json("p99_ms", 3),
            "cpu_us": {name: round(spent) for name, spent in self.cpu_us.items()},
        }

    def text(self) -> str:
        """For people, in one line."""
        return (
            f"{self.per_second.text(0):>26} a second   p50 {self.p50_ms.text(2):>22} ms   "
            f"p99 {self.p99_ms.text(1)} ms   CPU {sum(self.cpu_us.values()):,.0f} µs"
        )

    def cell(self) -> str:
        """For a table."""
        cpu_us = sum(self.cpu_us.values())
        return f"{self.per_second.median:,.0f}, {self.p50_ms.median:,.1f} ms, {cpu_us:,.0f} µs"


def ratio(of: Sequence[float], to: Sequence[float]) -> Spread:
    """Of pairs that were measured one right after the other: what shakes the machine shakes both."""
    return Spread.of([one / other for one, other in zip(of, to, strict=True)])
