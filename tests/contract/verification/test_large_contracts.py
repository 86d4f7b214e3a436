"""A contract of a thousand services is proved in the blink of an eye, and its faults are found."""

from __future__ import annotations

from pathlib import Path

from tests.contract.verification.thousand import many_processes, one_process
from tests.contract.verification.travel import proof_of


def test_a_process_through_a_thousand_services_is_proved(tmp_path: Path) -> None:
    proof, _ = proof_of(one_process(1000), tmp_path)
    assert proof.findings == []
    assert (proof.services, proof.methods, proof.processes, proof.unfinished) == (1000, 2001, 1, ())


def test_a_fault_in_the_middle_of_a_long_process_is_found(tmp_path: Path) -> None:
    files = one_process(40)
    files["long/end.proto"] = files["long/end.proto"].replace('"long.part20.v1.Refused", ', "")
    proof, source = proof_of(files, tmp_path)
    assert [finding.check for finding in proof.findings] == ["nobody-hears", "no-outcome"]
    assert {source.places.of(one.subject).file for one in proof.findings} == {"long/part20.proto"}


def test_many_processes_are_proved_each_by_itself(tmp_path: Path) -> None:
    proof, _ = proof_of(many_processes(40), tmp_path)
    assert proof.findings == []
    assert (proof.services, proof.processes, proof.paths) == (40, 20, 40)
