"""The orchestrator's process dies before and after every write, every call and every reply: each effect happens once.

The points are enumerated: a process dies at one, in another trial at the next, and so on, until one gets to the end
without having reached its last point (mortal_process says which points there are; crash_trial, what a trial is;
crash_verdict, what must hold). Each test takes every third, beginning with another one; CRASH_EVERY=1 takes them all,
in a minute. A point that fails is run alone with CRASH_POINT=7; of two deaths, CRASH_POINT=7,3.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from mesh import virtual_time
from mesh.inline_database import InlineDatabase
from orchestrator.tables import METADATA
from tests.unit.orchestrator.counted_shop import CountedShop
from tests.unit.orchestrator.crash_scenarios import COMPLETING, SCENARIOS
from tests.unit.orchestrator.crash_trial import Plan, Scenario, Trial
from tests.unit.orchestrator.crash_verdict import check, outline
from tests.unit.orchestrator.engine_bench import BACK, FORWARD

ONLY = [int(point) for point in os.environ.get("CRASH_POINT", "").split(",") if point]
EVERY = int(os.environ.get("CRASH_EVERY", "3"))
FAILURES_MAX = 10


class Trials:
    """Runs trials of one scenario after the other, on the same databases."""

    def __init__(self) -> None:
        self._shop = CountedShop()
        self._journal = InlineDatabase(METADATA)

    def run(self, scenario: Scenario, plan: Plan) -> Trial:
        """Runs one; raises what fails."""
        trial = Trial(self._shop, self._journal, scenario, plan)
        virtual_time.run(trial.run)
        if not trial.moot:
            check(trial)
        return trial

    def undisturbed(self, scenario: Scenario) -> object:
        """What a scenario comes to where nobody dies; None where that depends on when it is asked to turn back."""
        trial = self.run(scenario, Plan())
        asked = bool(scenario.cancelled_at) or scenario.cancelled_after_s is not None
        assert trial.cancelled == asked, "the moment to cancel it does not come"
        assert asked or trial.refusal == scenario.refusal
        return None if asked else outline(trial)


class Enumeration:
    """Trials of one scenario; what fails is told at the end, with its points."""

    def __init__(self, trials: Trials, scenario: Scenario) -> None:
        self._trials = trials
        self._scenario = scenario
        self._expected = trials.undisturbed(scenario)
        self._failures: list[str] = []
        self._failure: Exception | None = None
        self._deaths = 0

    def every_point(self, **changes: Any) -> None:
        """Lets a process die at every point."""
        begins = list(SCENARIOS.values()).index(self._scenario) % EVERY
        for last in _points(begins=begins, step=EVERY):
            if not self._reached(Plan((last,), **changes)):
                return

    def every_pair(self, *, every: int) -> None:
        """Lets a process die at every so-manieth point, and then the next one at every so-manieth of its own."""
        for first in _points(step=every):
            for nth, second in enumerate(_points(nth=1, step=every)):
                if not self._reached(Plan((first, second))):
                    if nth == 0:
                        return
                    break

    def end(self) -> None:
        """Says how many deaths there were, and fails where one was not survived."""
        print(f"{self._deaths} deaths")
        if self._failure is not None:
            raise AssertionError("\n".join(self._failures[:FAILURES_MAX])) from self._failure

    def _reached(self, plan: Plan) -> bool:
        """Whether the processes came to their last points, and there may be others."""
        try:
            trial = self._trials.run(self._scenario, plan)
            assert trial.moot or self._expected in (None, outline(trial)), "the outcome is not that without a death"
        except Exception as error:
            self._failures.append(f"{plan}: {type(error).__name__}: {error}")
            self._failure = error
            return len(self._failures) < FAILURES_MAX
        self._deaths += trial.reached and not trial.moot
        return trial.reached or trial.moot


def _points(nth: int = 0, *, begins: int = 0, step: int) -> Iterable[int]:
    return ONLY[nth : nth + 1] or itertools.count(begins, step)


@pytest.fixture(autouse=True)
def quick_sweeps() -> None:
    """Sweeps as seldom as in life: in virtual time nobody waits for them, and each is a transaction."""


@pytest.fixture(scope="module")
def trials() -> Trials:
    return Trials()


@pytest.fixture
def enumeration(trials: Trials, scenario: str) -> Iterator[Enumeration]:
    return Enumeration(trials, SCENARIOS[scenario])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_process_may_die_at_any_point(enumeration: Enumeration) -> None:
    enumeration.every_point()
    enumeration.end()


@pytest.mark.parametrize("scenario", ["completing", "declined", "waiting"])
def test_where_others_may_live_a_dead_ones_sagas_wait_for_the_end_of_its_lease(enumeration: Enumeration) -> None:
    enumeration.every_point(shared=True)
    enumeration.end()


@pytest.mark.parametrize("late", [2, None], ids=["in between", "after the end"])
@pytest.mark.parametrize("scenario", ["completing", "cancelled in the fan-out", "without a pivot, no carrier"])
def test_calls_of_the_dead_may_arrive_when_another_has_taken_over(enumeration: Enumeration, late: int | None) -> None:
    enumeration.every_point(held=True, late=late)
    enumeration.end()


@pytest.mark.parametrize("scenario", ["completing", "declined", "waiting", "a child"])
def test_the_next_process_may_die_too(enumeration: Enumeration) -> None:
    enumeration.every_pair(every=8)
    enumeration.end()


@pytest.mark.parametrize("late", [0, 3, None], ids=["at once", "in between", "after the end"])
@pytest.mark.parametrize("scenario", ["completing", "declined"])
def test_a_process_may_be_paused_at_any_point_and_go_on_beside_its_successor(
    enumeration: Enumeration, late: int | None
) -> None:
    enumeration.every_point(paused=True, late=late)
    enumeration.end()


@pytest.mark.parametrize(("scenario", "steps"), [(COMPLETING, FORWARD), (SCENARIOS["declined"], BACK)])
def test_every_call_of_a_step_and_every_write_are_points(trials: Trials, scenario: Scenario, steps: list[str]) -> None:
    points = trials.run(scenario, Plan()).points
    assert {f"{kind} {step}" for kind in ("call", "done", "reply") for step in steps} <= set(points)
    commits = [point.removeprefix("commit ") for point in points if point.startswith("commit ")]
    assert commits == [point.removeprefix("committed ") for point in points if point.startswith("committed ")]
    assert len(commits) >= 3


def test_trials_are_repeatable(trials: Trials) -> None:
    for scenario in (COMPLETING, SCENARIOS["a child"]):
        first, second = (trials.run(scenario, Plan((20,))) for _ in range(2))
        assert first.points == second.points
