"""What an audit found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Books:
    """What was found."""

    orders: dict[str, int] = field(default_factory=dict)  # by status
    stock: dict[str, dict[str, int]] = field(default_factory=dict)  # by article
    money_nanos: dict[str, dict[str, int]] = field(default_factory=dict)  # by customer and currency
    in_flight: list[str] = field(default_factory=list)  # order ids
    strays: list[str] = field(default_factory=list)  # reserved by somebody's plain call, and no order: not judged
    unpublished: dict[str, int] = field(default_factory=dict)  # by service
    behind: list[str] = field(default_factory=list)  # order ids: ended, and for the orchestrator not yet
    open_sagas: list[str] = field(default_factory=list)  # ids of sagas that have not ended, and are not an order's
    faults: list[str] = field(default_factory=list)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way any more."""
        return not (self.in_flight or self.unpublished or self.behind or self.open_sagas)

    def judge_as_settled(self) -> None:
        """Makes a fault of everything that is under way: nothing may be."""
        self.faults += [f"order {id_} has not ended" for id_ in self.in_flight]
        self.faults += [f"saga {id_} has not ended" for id_ in self.open_sagas]
        self.faults += [f"order {id_} has ended, and for the orchestrator it has not" for id_ in self.behind]
        if self.in_flight:  # else it is a fault in any case
            self.judge_unpublished()

    def judge_unpublished(self) -> None:
        """Makes a fault of every event that waits for publication."""
        self.faults += [f"{name}: {count} events are due and unpublished" for name, count in self.unpublished.items()]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)
