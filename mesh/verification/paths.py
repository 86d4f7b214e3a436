"""Walks through a process as its choreography would, without messages: which methods run, and where it ends.

Each method runs once, as the ledgers have it; pivot and abort are the two sides of one decision, which the first of
them takes.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Set
from dataclasses import dataclass, field

from ensemble.coordination.v1 import coordination_pb2
from mesh.contract import Contract, Method, Process


@dataclass
class Path:
    """One walk through a process."""

    refusing: Set[str]  # methods, by full name, which refuse where they run
    ran: dict[str, bool] = field(default_factory=dict)  # whether they succeeded, by full name
    happened: set[str] = field(default_factory=set)  # events
    arrived: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # at joins that do not run yet

    def ends(self, contract: Contract, outcome: coordination_pb2.Outcome.ValueType) -> bool:
        """Whether an event with this outcome has happened."""
        return any(contract.events[event].outcome == outcome for event in self.happened if event in contract.events)

    def has_run(self, method: Method | None) -> bool:
        """Whether a method has run with success."""
        return method is not None and self.ran.get(method.full_name, False)


def walk(contract: Contract, process: Process, refusing: Set[str] = frozenset()) -> Path:
    """Walks through a process from its starting event."""
    return _Walk(contract, Path(refusing)).go([], [process.start.full_name])


def walk_back(contract: Contract, aborting: Method) -> Path:
    """Walks through what follows when the aborting method decides before anything else has happened.

    Whatever else happens, this happens too: no compensation waits for its step.
    """
    return _Walk(contract, Path(frozenset())).go([aborting], [])


class _Walk:
    def __init__(self, contract: Contract, path: Path) -> None:
        self._contract = contract
        self._path = path
        self._waiting: deque[str] = deque()

    def go(self, methods: list[Method], events: list[str]) -> Path:
        for method in methods:
            self._run(method)
        self._waiting += events
        while self._waiting:
            event = self._waiting.popleft()
            if event not in self._path.happened:
                self._path.happened.add(event)
                for method in self._contract.triggered_by(event):
                    self._arrive(method, event)
        return self._path

    def _arrive(self, method: Method, event: str) -> None:
        if method.full_name in self._path.ran:
            return
        if method.join_all:
            arrived = self._path.arrived[method.full_name]
            arrived.add(event)
            if arrived != set(method.on):
                return
            del self._path.arrived[method.full_name]
        self._run(method)

    def _run(self, method: Method) -> None:
        succeeds = method.full_name not in self._path.refusing and not self._is_decided_otherwise(method)
        self._path.ran[method.full_name] = succeeds
        event = method.emits if succeeds else method.refuses
        if event:
            self._waiting.append(event)

    def _is_decided_otherwise(self, method: Method) -> bool:
        if method.aborts:
            return self._path.ran.get(method.aborts, False)
        return method.pivot and any(self._path.ran.get(one.full_name, False) for one in self._contract.aborting(method))
