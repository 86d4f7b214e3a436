"""Whether every reaction can happen, and whether reactions come to an end.

never-fires       nothing that can happen triggers the method
impossible-join   a JOIN_ALL over events that exclude each other
cycle             events that trigger each other round and round
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from mesh import identity
from mesh.contract import Contract, Method
from mesh.verification.finding import Finding, listed
from mesh.verification.flow import Flow


def check_reactions(flow: Flow) -> Iterator[Finding]:
    """Checks every method that something triggers."""
    yield from _check_fired(flow)
    for method in flow.impossible_joins():
        what = f"{method.name} waits for all of {listed(method.on)}, which cannot all happen in one saga"
        yield Finding("impossible-join", method.descriptor, what, "take one of them out, or take out JOIN_ALL")
    yield from _check_cycles(flow)


def _check_fired(flow: Flow) -> Iterator[Finding]:
    for method in flow.contract.methods.values():
        if method.triggers and not flow.is_reached(method):
            how = "all of " if method.join_all else ""
            what = f"{method.name} can never run: no starting event leads to {how}{listed(method.triggers, 'or')}"
            help_ = "let what triggers it follow from an event with `starts`, and not from its own effect"
            yield Finding("never-fires", method.descriptor, what, help_)


def _check_cycles(flow: Flow) -> Iterator[Finding]:
    methods = {method.full_name: method for method in flow.reached}
    graph = {name: _followers(flow.contract, method) for name, method in methods.items()}
    while (cycle := _a_cycle(graph)) is not None:
        members = [methods[name] for name in cycle]
        if not _ends(flow.contract, members):
            how = "trigger each other" if len(cycle) > 1 else "triggers itself"
            what = f"{listed(cycle)} {how} for ever: a step that is triggered again emits its event again"
            help_ = "break the circle, or count its rounds by a `step_key` and let one method refuse or leave it"
            yield Finding("cycle", members[0].descriptor, what, help_)
        graph = {name: followers - set(cycle) for name, followers in graph.items() if name not in cycle}


def _a_cycle(graph: dict[str, set[str]]) -> list[str] | None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # Its first node is given again as its last; edges point from a follower to what it follows.
        found: list[str] = error.args[1][:-1]
        first = found.index(min(found))
        return found[first:] + found[:first]
    return None


def _ends(contract: Contract, members: list[Method]) -> bool:
    """Whether the rounds of a circle are different steps, and a way leads out of it."""
    names = {method.full_name for method in members}
    counted = any(identity.step_key_paths(method.descriptor.input_type) for method in members)
    outcomes = [event for method in members for event in (method.emits, method.refuses) if event]
    leaving = any(not names & {one.full_name for one in contract.triggered_by(event)} for event in outcomes)
    return counted and leaving


def _followers(contract: Contract, method: Method) -> set[str]:
    events = [event for event in (method.emits, method.refuses) if event]
    triggered = [one for event in events for one in (*contract.triggered_by(event), *contract.observing(event))]
    return {one.full_name for one in triggered}
