"""What a contract says will follow, once some of a saga's events were seen.

It assumes the best: whoever has not answered yet will succeed. So a step is expected if its own events were seen, or
will be emitted by steps that are expected; and not where one of them was refused instead, or where the pivot has
decided for the other side. What is expected and cannot happen is what a saga that does not get on waits for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mesh.contract import Contract, Method, Process
from mesh.verification.finding import short


@dataclass(frozen=True)
class Expectation:
    """A step that was not seen to be answered."""

    method: Method
    arrived: tuple[str, ...]  # those of its events that were seen
    waits_for: tuple[str, ...]  # those that will have to be; empty: it is triggered

    @property
    def triggered(self) -> bool:
        """Whether all that it needs was seen."""
        return not self.waits_for


def expectations(contract: Contract, process: Process, seen: Collection[str]) -> list[Expectation]:
    """What follows once these events, and the starting one, were seen: in the order of the process."""
    seen = {process.start.full_name, *seen}
    coming = set(seen)
    expected: set[str] = set()
    possible = [method for method in _possible(contract, process, seen) if not {method.emits, method.refuses} & seen]
    while new := [m for m in possible if m.full_name not in expected and _is_triggered(m, coming)]:
        expected.update(method.full_name for method in new)
        coming.update(method.emits for method in new)
    return [_expectation(method, seen, coming) for method in possible if method.full_name in expected]


def observers(contract: Contract, seen: Collection[str]) -> list[Method]:
    """Those outside the saga that events have triggered."""
    return [method for method in contract.methods.values() if set(method.observes) & set(seen)]


def describe(contract: Contract, expected: Collection[Expectation]) -> list[str]:
    """What is waited for, a line each: answers to what was triggered, and what joins still lack."""
    return [line for line in (_line(contract, expectation) for expectation in expected) if line]


def _possible(contract: Contract, process: Process, seen: set[str]) -> list[Method]:
    """Those whose side of the pivot is not closed. What emits nothing belongs to no side, and ends nothing."""
    if any(contract.events[name].outcome for name in seen if name in contract.events):
        return [method for method in process.methods if not method.emits]
    go, no_go = process.pivot, process.aborting
    if no_go is not None and no_go.emits in seen:
        way_back = list(contract.following(no_go.emits))
        return [method for method in process.methods if method in way_back or not method.emits]
    confirmed = go is not None and go.emits in seen
    return [method for method in process.methods if not (confirmed and method.aborts)]


def _is_triggered(method: Method, events: set[str]) -> bool:
    return all(event in events for event in method.on) if method.join_all else bool(events.intersection(method.on))


def _expectation(method: Method, seen: set[str], coming: set[str]) -> Expectation:
    arrived = tuple(event for event in method.on if event in seen)
    to_come = tuple(event for event in method.on if event not in seen and event in coming)
    return Expectation(method, arrived, () if _is_triggered(method, seen) else to_come)


def _line(contract: Contract, expected: Expectation) -> str:
    if expected.triggered:
        return f"{expected.method.label} has not answered {_names(expected.arrived)}" if expected.method.emits else ""
    if not (expected.method.join_all and expected.arrived):
        return ""  # it is far from its turn
    lacking = (f"{short(event)} from {_sources(contract, event)}" for event in expected.waits_for)
    return f"{expected.method.label} waits for {', '.join(lacking)}"


def _sources(contract: Contract, event: str) -> str:
    return " or ".join(source.label for source in contract.sources_of(event))


def _names(events: tuple[str, ...]) -> str:
    return ", ".join(map(short, events))
