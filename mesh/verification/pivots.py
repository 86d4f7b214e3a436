"""The theory of sagas: what can be taken back stands before the pivot, what only goes forward behind it.

no-pivot              a choreographed process in which somebody may refuse, and nothing decides
no-abort              a pivot without the method that `aborts` it
one-sided             the pivot, or the method that aborts it, cannot refuse, though the other one may have been first
two-pivots            two pivots that can both succeed in one saga
no-compensation       a step before the pivot that nothing takes back
unused-compensation   a compensation that the way back never comes to
refusal-after-pivot   a step behind the pivot that may refuse
refusal-on-way-back   a compensation, or what follows from one, that may refuse
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from google.protobuf.descriptor_pb2 import MethodOptions

from mesh.contract import Method, Process
from mesh.verification.finding import Finding, listed
from mesh.verification.flow import Flow
from mesh.verification.paths import walk_back


def check_pivot(flow: Flow, process: Process) -> Iterator[Finding]:
    """Checks one process."""
    yield from _check_decision(flow, process)
    if process.pivot is not None:
        yield from _check_refusals(flow, process, process.pivot)
    if process.aborting is not None:
        yield from _check_compensations(flow, process, process.aborting)


def _check_decision(flow: Flow, process: Process) -> Iterator[Finding]:
    refusing = [method.full_name for method in process.methods if method.refuses]
    pivots = [method for method in process.methods if method.pivot]
    if refusing and not pivots:
        what = f"in {process.name}, {listed(refusing)} may refuse, and no method decides between go and no-go"
        help_ = "mark the method that decides with `pivot: true`, and the one that calls off with `aborts`"
        yield Finding("no-pivot", process.start.descriptor, what, help_)
    elif pivots and process.aborting is None:
        what = f"nothing aborts {pivots[0].name}, so {process.name} cannot be called off"
        yield Finding("no-abort", pivots[0].descriptor, what, "let a method of its service `aborts` it, `on` a refusal")
    if pivots and process.aborting is not None:
        yield from _check_sides(pivots[0], process.aborting)
    for one, other in combinations(pivots, 2):
        if flow.both_can_succeed(one, other):
            what = f"{one.name} and {other.name} both decide in one saga of {process.name}"
            yield Finding("two-pivots", other.descriptor, what, "leave the decision to one of them")


def _check_sides(pivot: Method, aborting: Method) -> Iterator[Finding]:
    for one, other in ((pivot, aborting), (aborting, pivot)):
        if not one.refuses:
            what = f"{one.name} has no `refuses`, though {other.name} may have decided before it comes"
            yield Finding("one-sided", one.descriptor, what, "name an event with which it says that it was too late")


def _check_refusals(flow: Flow, process: Process, pivot: Method) -> Iterator[Finding]:
    for method in process.methods:
        if not method.refuses or method.pivot or method.aborts:
            continue
        if flow.needs_success(method, pivot):
            what = f"{method.name} comes behind the pivot {pivot.name} and may refuse, when there is no way back"
            help_ = "take out `refuses` (it is then retried until it succeeds), or let it come before the pivot"
            yield Finding("refusal-after-pivot", method.descriptor, what, help_)
        elif is_back(flow, process, method):
            what = f"{method.name} is on the way back of {process.name} and may refuse"
            yield Finding("refusal-on-way-back", method.descriptor, what, "take out `refuses`: it must always succeed")


def _check_compensations(flow: Flow, process: Process, aborting: Method) -> Iterator[Finding]:
    contract = flow.contract
    taken = walk_back(contract, aborting).ran
    for method in process.methods:
        compensation = contract.compensation_of(method)
        if compensation is None:
            if _has_to_be_taken_back(flow, process, method):
                what = f"{method.name} may be followed by a refusal or by {aborting.name}, and nothing takes it back"
                help_ = "give its service a method that `compensates` it; or, if it changes nothing, "
                help_ += "mark it with `option idempotency_level = NO_SIDE_EFFECTS`"
                yield Finding("no-compensation", method.descriptor, what, help_)
        elif compensation.full_name not in taken and not (compensation.on and not flow.is_reached(compensation)):
            emitted = listed([aborting.emits]) or "an event"
            what = f"{compensation.name} is not triggered on the way back of {process.name}, so {method.name} stays"
            help_ = f"let it be `on` {emitted} (of {aborting.name}), or on what follows from that"
            yield Finding("unused-compensation", compensation.descriptor, what, help_)


def _has_to_be_taken_back(flow: Flow, process: Process, method: Method) -> bool:
    pivot = process.pivot
    if pivot is None or method.pivot or method.aborts or method.service == pivot.service:
        return False
    changes = method.descriptor.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    return (
        changes
        and flow.can_run(method)
        and not flow.needs_success(method, pivot)
        and not is_back(flow, process, method)
    )


def is_back(flow: Flow, process: Process, method: Method) -> bool:
    """Whether a method belongs to the way back of its process."""
    aborting = process.aborting
    return bool(method.compensates or (aborting is not None and flow.needs_success(method, aborting)))
