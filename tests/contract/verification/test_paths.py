"""Few paths are walked, and what is proved on them holds on all."""

from __future__ import annotations

from itertools import chain, combinations
from pathlib import Path

from ensemble.coordination.v1.coordination_pb2 import OUTCOME_COMPENSATED, OUTCOME_COMPLETED
from mesh.contract import Contract
from mesh.verification.paths import walk
from tests.contract.verification.travel import proof_of, travel


def test_every_combination_of_refusals_ends_though_two_paths_were_walked(tmp_path: Path) -> None:
    proof, source = proof_of(travel(), tmp_path)
    assert (proof.paths, proof.findings) == (2, [])
    process = source.contract.processes["travel"]
    refusing = [method.full_name for method in process.methods if method.refuses and not method.aborts]
    subsets = [*chain.from_iterable(combinations(refusing, size) for size in range(len(refusing) + 1))]
    assert len(subsets) == 8
    for subset in subsets:
        path = walk(source.contract, process, frozenset(subset))
        outcome = OUTCOME_COMPENSATED if subset else OUTCOME_COMPLETED
        assert path.ends(source.contract, outcome), subset
        assert path.has_run(process.pivot) is not path.has_run(process.aborting)


def test_a_method_runs_once_on_a_path_and_a_join_when_all_has_arrived() -> None:
    shop = Contract.of_packages("shop")
    path = walk(shop, shop.processes["fulfil-order"])
    ran = [name.rpartition(".")[2] for name in path.ran]
    assert ran.index("ConfirmOrder") > max(map(ran.index, ("ReserveStock", "AuthorizePayment", "BookShipment")))
    assert "CloseOrder" not in ran
    assert not path.arrived
