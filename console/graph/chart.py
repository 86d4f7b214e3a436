"""What is drawn of a contract: methods and their roles, and the events between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ensemble.coordination.v1 import coordination_pb2
from mesh.contract import Contract, Method, Process
from mesh.verification.finding import short
from mesh.verification.flow import Flow
from mesh.verification.pivots import is_back

START = "start"
OUTCOMES = {coordination_pb2.OUTCOME_COMPLETED: "completed", coordination_pb2.OUTCOME_COMPENSATED: "compensated"}


class Role(StrEnum):
    """What a method is to its process."""

    STEP = "step"
    PIVOT = "pivot"
    NO_GO = "no-go"
    COMPENSATION = "compensation"
    OBSERVER = "observer"


@dataclass(frozen=True)
class Edge:
    """One event on its way from the method that emits it to a method that it triggers."""

    source: str  # START where no method emits it
    event: str
    target: str  # "completed" or "compensated" where it ends its process; "" where nobody hears it
    kind: str  # "emits", "refuses" or "observes"
    joined: bool


class Chart:
    """A contract, as it is drawn. Names are short, those of methods with their service: inventory.ReserveStock."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._flow = Flow(contract)
        along = [method for process in contract.processes.values() for method in process.methods]
        further = [method for method in contract.methods.values() if method.participates]
        # In the order in which things happen, so that the drawing can be read from its beginning.
        self.methods = list({method.full_name: method for method in (*along, *further)}.values())
        self.edges = list(dict.fromkeys(self._edges()))

    def is_back(self, process: Process, method: Method) -> bool:
        """Whether a method is on the way back of its process."""
        return bool(method.aborts) or is_back(self._flow, process, method)

    def outcome_of(self, event: str) -> str:
        """How an event, by its full name, ends its process; empty where it does not."""
        return OUTCOMES.get(self.contract.events[event].outcome, "")

    def _events(self) -> Iterator[str]:
        """Full names, in the order in which the events happen."""
        starting = [name for name, event in self.contract.events.items() if event.starts]
        emitted = [name for method in self.methods for name in (method.emits, method.refuses) if name]
        return iter(dict.fromkeys([*starting, *emitted, *self.contract.events]))

    def _edges(self) -> Iterator[Edge]:
        for name in self._events():
            sources = [(label(one), name == one.refuses) for one in self.contract.sources_of(name)]
            for source, refused in sources or [(START, False)]:
                kind = "refuses" if refused else "emits"
                outcome = self.outcome_of(name)
                inside, observing = self.contract.triggered_by(name), self.contract.observing(name)
                for method in inside:
                    yield Edge(source, short(name), label(method), kind, method.join_all)
                for method in observing:
                    yield Edge(source, short(name), label(method), "observes", False)
                if outcome or (not inside and not observing):
                    yield Edge(source, short(name), outcome, kind, False)


def label(method: Method) -> str:
    """E.g. inventory.ReserveStock."""
    return method.label


def role_of(method: Method) -> Role:
    """The one role by which a method is marked."""
    if method.pivot:
        return Role.PIVOT
    if method.aborts:
        return Role.NO_GO
    if method.compensates:
        return Role.COMPENSATION
    return Role.OBSERVER if method.observes and not method.on else Role.STEP


def captions(method: Method) -> list[str]:
    """The lines in a method's box: its name, its role, and whether it waits for several events."""
    joined = f"waits for all {len(method.on)}" if method.join_all else ""
    return list(filter(None, [label(method), said_of(method), joined]))


def said_of(method: Method) -> str:
    """A method's role in words; empty for a plain step."""
    words = {
        Role.PIVOT: "pivot: go",
        Role.NO_GO: f"no-go: the other side of {short(method.aborts)}",
        Role.COMPENSATION: f"undoes {short(method.compensates)}",
    }
    return words.get(role_of(method), "")
