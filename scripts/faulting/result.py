"""What came of a fault: counts, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Any

HELD, FAILED, NOT_POSSIBLE = "held", "FAILED", "not possible here"


@dataclass
class Result:
    """One run of one fault."""

    name: str
    does: str
    seed: int
    orders: int = 0
    acknowledged: int = 0
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)  # by status
    verdicts: Counter[str] = field(default_factory=Counter)  # of cancellations
    happened: Counter[str] = field(default_factory=Counter)  # how often the fault was done, and what it met
    delays_s: list[float] = field(default_factory=list)  # of each order, from its placing to its end
    books: dict[str, int] = field(default_factory=dict)  # of the audit: how many orders, by status
    figures: list[str] = field(default_factory=list)  # what was measured, a line each
    faults: list[str] = field(default_factory=list)  # what did not hold
    missing: str = ""  # why this machine cannot do it

    @property
    def verdict(self) -> str:
        """HELD, FAILED, or NOT_POSSIBLE."""
        return NOT_POSSIBLE if self.missing else FAILED if self.faults else HELD

    @property
    def worst_delay_s(self) -> float:
        """Of the slowest order."""
        return max(self.delays_s, default=0.0)

    @property
    def median_delay_s(self) -> float:
        """Of half of the orders, at most."""
        return median(self.delays_s) if self.delays_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        shown = {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}
        del shown["delays_s"]
        delays = {"median_delay_s": round(self.median_delay_s, 2), "worst_delay_s": round(self.worst_delay_s, 2)}
        return {"verdict": self.verdict, **shown, **delays}

    def text(self) -> str:
        """A line, and one for each thing that matters."""
        if self.missing:
            return f"{self.name}: {NOT_POSSIBLE}: {self.missing}"
        lines = [
            f"{self.name}: {self.verdict}: {self.orders} orders in {self.seconds:.1f} s: {counted(self.ends)}; "
            f"delay {self.median_delay_s:.1f} s, at worst {self.worst_delay_s:.1f} s"
        ]
        lines += [f"  {counted(self.happened)}", *(f"  {figure}" for figure in self.figures)]
        return "\n".join(lines + [f"  FAULT: {fault}" for fault in self.faults])


def counted(counts: Counter[str]) -> str:
    """Counts, for people: "3 killed, 3 replaced"."""
    return ", ".join(f"{count:,} {what.lower()}" for what, count in sorted(counts.items()) if count) or "nothing"
