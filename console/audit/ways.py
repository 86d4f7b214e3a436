"""What an ended saga has done and has not, as its contract says: derived from it, never listed a second time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ensemble.coordination.v1 import coordination_pb2
from mesh.contract import Contract, Method, Process


@dataclass(frozen=True)
class Way:
    """What must be done, and what must not, once an event has ended a saga."""

    done: tuple[Method, ...]
    never: tuple[Method, ...]


def ways_of(contract: Contract) -> dict[str, Way]:
    """The way that each ending event stands for, by the event's full name."""
    ways = {}
    for process in contract.processes.values():
        for event in _emitted(contract, process):
            outcome = contract.events[event].outcome
            if outcome == coordination_pb2.OUTCOME_COMPLETED:
                ways[event] = _forward(contract, process, event)
            elif outcome == coordination_pb2.OUTCOME_COMPENSATED:
                ways[event] = _back(contract, process, event)
    return ways


def _forward(contract: Contract, process: Process, end: str) -> Way:
    """All that the end follows from; nothing that decides otherwise, and nothing undone."""
    turned = [method for method in process.methods if method.aborts or method.compensates]
    return Way(tuple(_before(contract, process, end)), tuple(turned))


def _back(contract: Contract, process: Process, end: str) -> Way:
    """All that the end follows from, and every compensation that there is (rule 3); nothing from the pivot on."""
    compensations = [method for method in process.methods if method.compensates]
    done = dict.fromkeys([*_before(contract, process, end), *compensations])
    if process.pivot is None:
        return Way(tuple(done), ())
    after = [method for method in contract.following(process.pivot.emits) if method not in done]
    return Way(tuple(done), (process.pivot, *after))


def _before(contract: Contract, process: Process, event: str) -> Iterator[Method]:
    """The steps that must have succeeded before an event, back to the start, or to the decision to turn back.

    Of several events that trigger a method any may have, so nothing can be said of what is before them.
    """
    seen, waiting = set(), [event]
    while waiting:
        for method in contract.sources_of(name := waiting.pop()):
            if method.emits != name or method.full_name in seen or method not in process.methods:
                continue
            seen.add(method.full_name)
            yield method
            if not method.aborts and (method.join_all or len(method.on) == 1):
                waiting += method.on


def _emitted(contract: Contract, process: Process) -> set[str]:
    return {method.emits for method in process.methods if method.emits} & set(contract.events)
