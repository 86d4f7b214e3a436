"""Whether every path of a process ends in an outcome.

A path is a choice of who refuses. Once the aborting method has decided, what follows is the same on every path, so the
way back is walked once, and a refusal that the pivot waits for and that triggers the aborting method needs no walk of
its own. All other combinations of refusals are walked, up to PATHS_MAX a process; the fewest refusals first.

no-outcome     nothing happens any more, and no event with an outcome has
starved-join   the same, and a join still waits for an event that does not come on this path
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from ensemble.coordination.v1.coordination_pb2 import OUTCOME_COMPENSATED, OUTCOME_COMPLETED
from mesh.contract import Contract, Method, Process
from mesh.verification.finding import Finding, agreeing, listed
from mesh.verification.flow import Flow
from mesh.verification.paths import Path, walk, walk_back
from mesh.verification.pivots import is_back

PATHS_MAX = 256


@dataclass
class Endings:
    """How the paths of a process end."""

    findings: list[Finding]
    paths: int  # that were walked
    all_walked: bool


def check_endings(flow: Flow, process: Process) -> Endings:
    """Walks the paths of a process. Of several faults that show at one place only the shortest path is told."""
    found: dict[str, Finding] = {}
    walked = 0

    def look_at(path: Path, when: str, last: Method | None) -> None:
        nonlocal walked
        walked += 1
        if (finding := _judge(flow.contract, process, path, when, last)) is not None:
            found.setdefault(finding.subject.full_name, finding)

    if (aborting := process.aborting) is not None:
        look_at(walk_back(flow.contract, aborting), f"{aborting.name} calls it off", aborting)
    waiting = deque([_Choice(frozenset(), frozenset())])
    while waiting and walked < PATHS_MAX:
        choice = waiting.popleft()
        path = walk(flow.contract, process, choice.refusing)
        refused = sorted(name for name, succeeded in path.ran.items() if not succeeded)
        when = agreeing(refused, "refuses") if refused else "nobody refuses"
        look_at(path, when, flow.contract.methods[refused[0]] if refused else None)
        waiting += _further(flow, process, path, choice)
    return Endings(list(found.values()), walked, not waiting)


@dataclass(frozen=True)
class _Choice:
    refusing: frozenset[str]
    settled: frozenset[str]  # methods about which this path, and those that follow from it, have chosen


def _further(flow: Flow, process: Process, path: Path, choice: _Choice) -> Iterator[_Choice]:
    """The paths on which one more of those refuses who ran; each combination comes up once."""
    settled = set(choice.settled)
    for name in path.ran:
        if name not in settled and _is_open(flow, process, flow.contract.methods[name]):
            settled.add(name)
            yield _Choice(choice.refusing | {name}, frozenset(settled))


def _is_open(flow: Flow, process: Process, method: Method) -> bool:
    if not method.refuses or method.aborts:
        return False
    pivot, aborting = process.pivot, process.aborting
    if pivot is not None and (flow.needs_success(method, pivot) or is_back(flow, process, method)):
        return False  # a fault, found elsewhere
    if pivot is None or aborting is None:
        return True
    turns_back = aborting in flow.contract.triggered_by(method.refuses) and not aborting.join_all
    return not (turns_back and (method.pivot or flow.needs_success(pivot, method)))


def _judge(contract: Contract, process: Process, path: Path, when: str, last: Method | None) -> Finding | None:
    completed, compensated = path.ends(contract, OUTCOME_COMPLETED), path.ends(contract, OUTCOME_COMPENSATED)
    if path.has_run(process.aborting):
        ended, outcome = compensated, "OUTCOME_COMPENSATED"
    elif path.has_run(process.pivot):
        ended, outcome = completed, "OUTCOME_COMPLETED"
    else:
        ended, outcome = completed or compensated, "an outcome"
    if ended:
        return None
    for name, arrived in path.arrived.items():
        join = contract.methods[name]
        lacking = [event for event in join.on if event not in arrived]
        what = f"{join.name} waits for ever for {listed(lacking)} when {when}, and {process.name} does not end"
        help_ = "let what happens then lead to the aborting method, or to an event with an outcome"
        return Finding("starved-join", join.descriptor, what, help_)
    subject = last.descriptor if last is not None else process.start.descriptor
    what = f"{process.name} comes to no event with {outcome} when {when}"
    return Finding("no-outcome", subject, what, "mark the event that ends it with `outcome`, or let one follow")
