"""The simulation has teeth, and they can be shown to anybody."""

from __future__ import annotations

import ast

import pytest

import mesh.clock
from scripts.simulation.mutants import ALL, MUTANTS, SETTLED
from scripts.simulation.mutation import ROOT, Edit, Mutant, mutate


def test_there_are_at_least_twenty() -> None:
    assert len(MUTANTS) >= 20


def test_of_each_that_is_not_run_it_is_said_what_stands_behind_it() -> None:
    assert ALL.keys() - MUTANTS.keys() == SETTLED.keys()
    for why in SETTLED.values():
        assert (ROOT / why.split()[-1]).exists()


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_can_be_made_of_the_present_sources(name: str) -> None:
    sources = ALL[name].sources()
    assert sources
    for source in sources.values():
        ast.parse(source)


def test_a_mutant_whose_text_is_gone_says_so() -> None:
    stale = Mutant("stale", "nothing", (Edit("mesh/clock.py", "no such text", ""),))
    with pytest.raises(LookupError, match=r"mesh/clock.py has 0 times, and not once: no such text"):
        stale.sources()


def test_what_is_imported_already_cannot_be_mutated() -> None:
    assert mesh.clock.WallClock
    late = Mutant("late", "nothing", (Edit("mesh/clock.py", "class WallClock:", "class WallClock :"),))
    with pytest.raises(RuntimeError, match=r"too late: mesh.clock"):
        mutate(late)
