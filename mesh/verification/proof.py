"""All checks of a contract, and what they looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.contract import Contract, Process
from mesh.verification.endings import check_endings
from mesh.verification.events import check_events
from mesh.verification.finding import Finding, Severity
from mesh.verification.flow import Flow
from mesh.verification.names import check_names
from mesh.verification.pivots import check_pivot
from mesh.verification.projections import check_projections
from mesh.verification.reactions import check_reactions


@dataclass(frozen=True)
class Proof:
    """What was found, and how much was looked at."""

    findings: list[Finding]
    services: int
    methods: int  # that take part in a process
    events: int
    processes: int
    paths: int  # through all processes
    unfinished: tuple[str, ...]  # processes with more paths than were walked


def prove(contract: Contract, found: Iterable[Finding] = ()) -> Proof:
    """Checks a contract. `found` was found while it was read (reading.Collected)."""
    flow = Flow(contract)
    findings = [*found, *check_names(contract)]
    misnamed = _broken(findings)
    findings += [*check_events(contract), *check_projections(contract), *check_reactions(flow)]
    broken = _broken(findings)
    paths, unfinished = 0, []
    for process in contract.processes.values():
        # One cause, one finding: where names are wrong, the theory has nothing to go by; and where something cannot
        # happen at all, or cannot be taken back, of course there are paths that do not end.
        names = _names(process)
        of_pivot = [] if misnamed & names else list(check_pivot(flow, process))
        findings += of_pivot
        if of_pivot or broken & names or not process.methods:  # without methods: driven by its workflow alone
            continue
        endings = check_endings(flow, process)
        findings += endings.findings
        paths += endings.paths
        if not endings.all_walked:
            unfinished.append(process.name)
    participating = [method for method in contract.methods.values() if method.participates]
    return Proof(
        findings=list(dict.fromkeys(findings)),
        services=len({method.service for method in participating}),
        methods=len(participating),
        events=len(contract.events),
        processes=len(contract.processes),
        paths=paths,
        unfinished=tuple(unfinished),
    )


def _broken(findings: list[Finding]) -> set[str]:
    return {one.subject.full_name for one in findings if one.severity is Severity.ERROR}


def _names(process: Process) -> set[str]:
    methods = {method.full_name for method in process.methods}
    return methods.union({process.start.full_name}, *(method.names_of_events for method in process.methods))
