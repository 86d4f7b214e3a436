"""Who has to know whom, from the shop's contracts."""

from __future__ import annotations

from console.comparison import coupling
from mesh.contract import Contract

CONTRACT = Contract.of_packages("shop")
PROCESS = CONTRACT.processes["fulfil-order"]


def test_orchestrated_one_part_knows_all_and_of_these_only_the_starting_one_knows_it() -> None:
    assert coupling.orchestrated(PROCESS).knows == {
        "orchestrator": ("inventory", "orders", "payments", "shipping"),
        "orders": ("orchestrator",),
        "inventory": (),
        "payments": (),
        "shipping": (),
    }


def test_choreographed_each_knows_those_whose_events_it_reacts_to() -> None:
    assert coupling.choreographed(CONTRACT, PROCESS).knows == {
        "inventory": ("orders",),
        "orders": ("inventory", "payments", "shipping"),
        "payments": ("orders",),
        "shipping": ("orders", "payments"),
    }


def test_where_both_may_happen_there_are_the_pairs_of_both() -> None:
    both = coupling.both(coupling.orchestrated(PROCESS), coupling.choreographed(CONTRACT, PROCESS))
    assert (both.edges, both.knows["orders"]) == (5 + 7, ("inventory", "orchestrator", "payments", "shipping"))


def test_a_further_step_before_the_pivot_changes_those_who_join_such_steps() -> None:
    assert coupling.joining(PROCESS) == ("orders",)
