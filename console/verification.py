"""What `ensemble verify` finds: by the checks of the contract, and by comparing its workflows with the choreography."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh import descriptors
from mesh.contract_faults import Report
from mesh.descriptors import Source
from mesh.places import Place, Places
from mesh.verification import Collected, Finding, Proof, Severity, prove
from orchestrator.equivalence import Comparison, compare
from orchestrator.workflow import registered


@dataclass(frozen=True)
class Verification:
    """All findings, in the order of their places, and how much was looked at."""

    findings: list[tuple[Place, Finding]]
    proof: Proof
    comparison: Comparison
    compared: bool  # workflows were; else they could not be

    @property
    def errors(self) -> int:
        """How many findings forbid to run this contract."""
        return sum(finding.severity is Severity.ERROR for _, finding in self.findings)

    @property
    def without_lines(self) -> bool:
        """Whether a place is known by its file only."""
        return any(not place.line for place, _ in self.findings)

    def lines(self) -> list[str]:
        """A line for each finding."""
        return [f"{place}: {one.severity}: {one.what}; {one.help} [{one.check}]" for place, one in self.findings]

    def summary(self) -> list[str]:
        """What was looked at, and how it turned out."""
        proof, comparison = self.proof, self.comparison
        severities = Counter(finding.severity for _, finding in self.findings)
        counts = [_count(severities[one], one) for one in Severity if severities[one]]
        proved = [
            f"{' and '.join(counts) or 'nothing wrong'} in {_count(proof.services, 'service')}, "
            f"{_count(proof.methods, 'method')}, {_count(proof.events, 'event')}, "
            f"{_count(proof.processes, 'process', 'processes')} ({_count(proof.paths, 'path')} walked)"
        ]
        if comparison.workflows:
            agree = "differs from" if any(one.check == "equivalence" for one in comparison.findings) else "agrees with"
            proved.append(
                f"{_count(comparison.workflows, 'workflow')} compared, on {_count(comparison.paths, 'path')}: "
                f"orchestration {agree} choreography"
            )
        elif not self.compared:
            proved.append("no workflow was compared: that takes generated contracts without errors")
        unfinished = (*proof.unfinished, *comparison.unfinished)
        return proved + [f"{name} has more paths than these, which have the fewest refusals" for name in unfinished]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        proof = self.proof
        return {
            "findings": [
                {
                    "check": one.check,
                    "severity": one.severity,
                    "file": place.file,
                    "line": place.line,
                    "what": one.what,
                    "help": one.help,
                }
                for place, one in self.findings
            ],
            "services": proof.services,
            "methods": proof.methods,
            "events": proof.events,
            "processes": proof.processes,
            "paths": proof.paths,
            "workflows": self.comparison.workflows,
            "paths_compared": self.comparison.paths,
            "unfinished": [*proof.unfinished, *self.comparison.unfinished],
        }


def read(packages: Iterable[str], file: Path | None, report: Report) -> Source:
    """The contract of generated packages, or of a descriptor set; raises UnknownName, WrongDescriptors."""
    return descriptors.of_file(file, report) if file else descriptors.of_packages(*packages, report=report)


def verify(packages: Iterable[str], file: Path | None) -> Verification:
    """Verifies a contract; workflows are compared with the one that they were generated from."""
    collected = Collected()
    source = read(packages, file, collected)
    proof = prove(source.contract, collected.findings)
    sound = not any(one.severity is Severity.ERROR for one in proof.findings)
    comparison = Comparison()
    if comparable := sound and file is None:
        importlib.import_module("orchestrator.workflows")  # registers them
        comparison = compare(source.contract, registered())
    return Verification(_placed(source.places, proof.findings + comparison.findings), proof, comparison, comparable)


def _placed(places: Places, findings: Iterable[Finding]) -> list[tuple[Place, Finding]]:
    placed = [(places.of(finding.subject), finding) for finding in findings]
    return sorted(placed, key=lambda one: (one[0], one[1].severity, one[1].check, one[1].what))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
