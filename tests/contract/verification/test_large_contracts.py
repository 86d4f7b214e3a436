"""A contract of a thousand services is proved in the blink of an eye, and its faults are found."""

from __future__ import annotations

from pathlib import Path

from tests.contract.verification.thousand import many_processes, one_process
from tests.contract.verification.travel import proof_of


def test_a_process_through_a_thousand_services_is_proved_and_one_fault_in_it_is_found(tmp_path: Path) -> None:
    files = one_process(1000)
    proof, _ = proof_of(files, tmp_path)
    assert proof.findings == []
    assert (proof.services, proof.methods, proof.processes, proof.unfinished) == (1000, 2001, 1, ())
    ending = "long/end/v1/end.proto"
    files[ending] = files[ending].replace('"long.part500.v1.Refused", ', "")
    proof, source = proof_of(files, tmp_path)
    assert [finding.check for finding in proof.findings] == ["nobody-hears", "no-outcome"]
    assert {source.places.of(one.subject).file for one in proof.findings} == {"long/part500/v1/part.proto"}


def test_many_processes_are_proved_each_by_itself(tmp_path: Path) -> None:
    proof, _ = proof_of(many_processes(40), tmp_path)
    assert proof.findings == []
    assert (proof.services, proof.processes, proof.paths) == (40, 20, 40)
