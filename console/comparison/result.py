"""What was measured, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from statistics import median

from console.comparison.coupling import Coupling
from console.comparison.flow import Sample
from mesh.percentile import percentile

STYLES = ("ORCHESTRATED", "CHOREOGRAPHED", "HYBRID")


def _known(value: float, digits: int) -> float | None:
    """For JSON, which has no nan."""
    return None if math.isnan(value) else round(value, digits)


@dataclass(frozen=True)
class Round:
    """A style on a healthy mesh, for a while."""

    samples: list[Sample]
    seconds: float
    messages: int
    calls: int


@dataclass(frozen=True)
class Healthy:
    """A style on a healthy mesh: all its rounds."""

    rounds: list[Round]

    @property
    def latencies_ms(self) -> list[float]:
        """Of all orders."""
        return [s.latency_s * 1000 for one in self.rounds for s in one.samples if s.latency_s is not None]

    @property
    def orders(self) -> int:
        """How many ended."""
        return len(self.latencies_ms)

    @property
    def per_second(self) -> float:
        """The median round's."""
        return median(len(one.samples) / one.seconds for one in self.rounds)

    @property
    def messages_per_order(self) -> float:
        """Of all rounds."""
        return sum(one.messages for one in self.rounds) / max(self.orders, 1)

    @property
    def calls_per_order(self) -> float:
        """Of all rounds."""
        return sum(one.calls for one in self.rounds) / max(self.orders, 1)

    def to_json(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "orders": self.orders,
            "per_second": round(self.per_second, 1),
            "p50_ms": _known(percentile(self.latencies_ms, 0.5), 2),
            "p99_ms": _known(percentile(self.latencies_ms, 0.99), 2),
            "messages_per_order": round(self.messages_per_order, 2),
            "calls_per_order": round(self.calls_per_order, 2),
        }


@dataclass(frozen=True)
class UnderFault:
    """A style whose orders came at a steady pace while something was wrong from `began_s` to `ended_s`."""

    samples: list[Sample]
    began_s: float
    ended_s: float

    @property
    def during(self) -> list[Sample]:
        """The orders of the time in which something was wrong."""
        return [one for one in self.samples if self.began_s <= one.placed_s < self.ended_s]

    @property
    def accepted_during(self) -> int:
        """How many of these the shop took while it was wrong."""
        return sum(one.accepted_s is not None and one.accepted_s < self.ended_s for one in self.during)

    @property
    def ended_during(self) -> int:
        """How many of these also came to their end while it was wrong."""
        return sum(one.ended_s is not None and one.ended_s < self.ended_s for one in self.during)

    @property
    def p50_s(self) -> float:
        """How long the orders took that were placed while it was wrong: the median of those that have ended."""
        return percentile([one.latency_s for one in self.during if one.latency_s is not None], 0.5)

    @property
    def longest_s(self) -> float:
        """How long the slowest order took; nan where none has ended."""
        return max((one.latency_s for one in self.samples if one.latency_s is not None), default=float("nan"))

    @property
    def recovery_s(self) -> float:
        """How long after the end of the fault the last of the orders that came before it had ended."""
        ends = [one.ended_s for one in self.samples if one.placed_s < self.ended_s and one.ended_s is not None]
        return max(0.0, max(ends, default=self.ended_s) - self.ended_s)

    @property
    def open(self) -> int:
        """How many had not ended when the measurement did."""
        return sum(one.ended_s is None for one in self.samples)

    def to_json(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "orders": len(self.samples),
            "placed_during": len(self.during),
            "accepted_during": self.accepted_during,
            "ended_during": self.ended_during,
            "p50_s": _known(self.p50_s, 3),
            "longest_s": _known(self.longest_s, 2),
            "recovery_s": round(self.recovery_s, 2),
            "open": self.open,
            "samples": [asdict(one) for one in self.samples],
        }


@dataclass(frozen=True)
class Scenario:
    """A fault, and what each style made of it."""

    name: str
    title: str
    styles: dict[str, UnderFault]

    def to_json(self) -> dict[str, object]:
        """As `--json` prints it."""
        first = next(iter(self.styles.values()))
        return {
            "name": self.name,
            "title": self.title,
            "began_s": round(first.began_s, 2),
            "ended_s": round(first.ended_s, 2),
            "styles": {style: one.to_json() for style, one in self.styles.items()},
        }


@dataclass
class Comparison:
    """All of it."""

    machine: str
    at_once: int
    healthy: dict[str, Healthy] = field(default_factory=dict)
    coupling: dict[str, Coupling] = field(default_factory=dict)
    joining: tuple[str, ...] = ()  # which services' contracts a further step before the pivot changes, choreographed
    scenarios: list[Scenario] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # names of faults for which no time was left
    faults: list[str] = field(default_factory=list)  # what the audit of all books found at the end

    @property
    def good(self) -> bool:
        """Every order has ended, and the books are right."""
        return not self.faults and not any(one.open for s in self.scenarios for one in s.styles.values())

    def to_json(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "machine": self.machine,
            "at_once": self.at_once,
            "healthy": {style: one.to_json() for style, one in self.healthy.items()},
            "coupling": {style: one.to_json() for style, one in self.coupling.items()},
            "joining": list(self.joining),
            "scenarios": [one.to_json() for one in self.scenarios],
            "left_out": self.left_out,
            "audit": self.faults,
        }
