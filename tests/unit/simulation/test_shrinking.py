"""What fails is made smaller for as long as it fails."""

from __future__ import annotations

import random

import pytest

from scripts.simulation.drawing import FAULTS, draw
from scripts.simulation.plan import Fault, told
from scripts.simulation.shrinking import TRIALS_MAX, shrink


@pytest.mark.parametrize("needed", [(), (3,), (0, 7), (1, 2, 9)])
def test_what_is_left_is_what_it_takes(needed: tuple[int, ...]) -> None:
    assert shrink(10, lambda kept: set(needed) <= set(kept)) == needed


def test_of_two_reasons_one_is_left() -> None:
    assert len(shrink(10, lambda kept: 2 in kept or 8 in kept)) == 1


def test_what_never_fails_is_left_as_it_is() -> None:
    assert shrink(5, lambda kept: False) == (0, 1, 2, 3, 4)


def test_a_failure_by_chance_ends_it_too() -> None:
    rng, trials = random.Random(1), []

    def fails(kept: tuple[int, ...]) -> bool:
        trials.append(kept)
        return rng.random() < 0.05

    shrink(150, fails)
    assert len(trials) <= TRIALS_MAX


def test_a_seed_has_one_plan_and_another_seed_another() -> None:
    assert draw(5) == draw(5)
    assert draw(5).items != draw(6).items


def test_every_kind_of_fault_is_drawn_and_told() -> None:
    items = [item for seed in range(200) for item in draw(seed).items]
    assert {item.kind for item in items if isinstance(item, Fault)} == set(FAULTS)
    assert all(told(item) for item in items)


def test_a_plan_with_fewer_items_is_otherwise_the_same() -> None:
    plan = draw(7)
    fewer = plan.only([1, 0])
    assert fewer.items == plan.items[:2]
    assert (fewer.seed, fewer.replicas) == (plan.seed, plan.replicas)
