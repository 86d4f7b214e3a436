"""Compares a workflow with the choreography of its process on every path, up to a number of paths."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from mesh.contract import Contract, Process
from mesh.verification.finding import Finding, Severity, short
from mesh.verification.flow import Flow
from mesh.verification.pivots import is_back
from orchestrator.equivalence.choreographed import choreograph
from orchestrator.equivalence.conditions import Conditions, may_refuse, turned_back, with_faults
from orchestrator.equivalence.orchestrated import orchestrate
from orchestrator.equivalence.participants import Trace
from orchestrator.mismatch import fields_to_mark
from orchestrator.workflow import Workflow, Workflows

PATHS_MAX = 2_000


@dataclass
class Comparison:
    """What was compared, and what was found."""

    findings: list[Finding] = field(default_factory=list)
    workflows: int = 0
    paths: int = 0
    unfinished: list[str] = field(default_factory=list)  # processes with more paths than were compared


def compare(contract: Contract, workflows: Workflows, *, paths_max: int = PATHS_MAX) -> Comparison:
    """Compares each workflow (every version) with the choreography of its process, where that has one.

    The contract has to be without errors. At most `paths_max` paths of each, those without technical failures first.
    Takes milliseconds a path; not to be called on a running event loop.
    """
    result = Comparison()
    flow = Flow(contract)
    for workflow in workflows:
        process = contract.processes.get(workflow.process)
        started = process.start.full_name if process is not None else ""
        if process is None or started != workflow.input_class.DESCRIPTOR.full_name:
            result.findings.append(_unknown(workflow, started))
        elif process.methods:  # else its workflow is all there is
            result.workflows += 1
            _Compared(contract, flow, workflows, workflow, process).into(result, paths_max)
    return result


def _unknown(workflow: Workflow, started: str) -> Finding:
    given: Any = workflow.input_class.DESCRIPTOR
    what = f"the workflow {workflow.process!r} takes {given.name}, and "
    what += f"{short(started)} starts that process" if started else "no event starts a process of that name"
    help_ = f'let {given.name} have `starts: "{workflow.process}"`, or register the workflow under another name'
    # Without such a process it may belong to contracts that were not given; with another event it can never start.
    severity = Severity.ERROR if started else Severity.WARNING
    return Finding("workflow", given, what, help_, severity)


class _Compared:
    def __init__(
        self, contract: Contract, flow: Flow, workflows: Workflows, workflow: Workflow, process: Process
    ) -> None:
        self._contract = contract
        self._flow = flow
        self._workflows = workflows
        self._workflow = workflow
        self._process = process
        self._name = f"{workflow.process}{f' (version {workflow.version})' if workflow.version > 1 else ''}"
        self._paths = 0
        self._found: dict[str, tuple[Descriptor | MethodDescriptor, Conditions, int]] = {}

    def into(self, result: Comparison, paths_max: int) -> None:
        """Walks all paths: those of refusals first, then each of them with technical failures."""
        waiting = deque([(Conditions(), frozenset[str]())])
        ways: list[tuple[Conditions, set[str]]] = []
        while waiting and self._paths < paths_max:
            conditions, settled = waiting.popleft()
            ran = self._look_at(conditions)
            ways.append((conditions, ran))
            for name in may_refuse(self._contract, ran - settled):
                settled |= {name}
                waiting.append((Conditions(conditions.refusing | {name}), settled))
        further = deque(turned_back(self._flow, self._process, ways[0][1]))
        further += [one for conditions, ran in ways for one in with_faults(conditions, ran)]
        while further and self._paths < paths_max:
            self._look_at(further.popleft())
        if waiting or further:
            result.unfinished.append(self._name)
        result.paths += self._paths
        result.findings += self._findings()

    def _look_at(self, conditions: Conditions) -> set[str]:
        self._paths += 1
        workflow = orchestrate(self._contract, self._workflows, self._workflow, conditions)
        choreography = choreograph(self._contract, self._process, conditions)
        for what, subject in self._differences(workflow, choreography):
            _, first, times = self._found.get(what, (subject, conditions, 0))
            self._found[what] = (subject, first, times + 1)
        return workflow.ran | choreography.ran

    def _differences(self, ours: Trace, theirs: Trace) -> Iterator[tuple[str, Descriptor | MethodDescriptor]]:
        start = self._process.start.descriptor
        if ours.outcome != theirs.outcome:
            yield f"the workflow ends {ours.outcome}, the choreography {theirs.outcome}", start
            return
        for only, effects in (
            ("the choreography", theirs.effects - ours.effects),
            ("the workflow", ours.effects - theirs.effects),
        ):
            for method, key in sorted(effects):
                if ours.outcome == "COMPENSATED" and self._is_on_the_row_of_the_pivot(method):
                    continue
                which = f" ({key})" if key else ""
                yield f"only {only} does {short(method)}{which}", self._contract.methods[method].descriptor
        for step in sorted(ours.requests.keys() & theirs.requests.keys()):
            if ours.requests[step] != theirs.requests[step]:
                fields = fields_to_mark(ours.requests[step], theirs.requests[step])
                what = f"{short(step[0])} gets another request from the workflow than from the events, in {fields}"
                yield what, self._contract.methods[step[0]].descriptor
        for event in sorted(ours.published.keys() | theirs.published.keys()):
            mine, other = ours.published.get(event), theirs.published.get(event)
            if mine != other:
                only = "the workflow" if other is None else "the choreography" if mine is None else ""
                how = f"only {only} leads to" if only else "there is another"
                yield f"{how} {short(event)}", self._contract.events[event].descriptor

    def _is_on_the_row_of_the_pivot(self, name: str) -> bool:
        """Whether a step before the pivot needs no compensation, since its row says itself that it came to nothing."""
        pivot, method = self._process.pivot, self._contract.methods[name]
        if pivot is None or method.service != pivot.service or is_back(self._flow, self._process, method):
            return False
        return not self._contract.compensation_of(method) and not self._flow.needs_success(method, pivot)

    def _findings(self) -> Iterator[Finding]:
        for what, (subject, conditions, times) in self._found.items():
            more = f" (and on {times - 1} further paths)" if times > 1 else ""
            yield Finding(
                "equivalence",
                subject,
                f"{self._name}: when {conditions}, {what}{more}",
                "let the workflow do what the contract says, or change the contract",
            )
