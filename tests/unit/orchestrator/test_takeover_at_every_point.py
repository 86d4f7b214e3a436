"""One style takes over from the other at every point of an order, in both directions: every effect once.

The points are enumerated, as for crashes (test_every_crash_point): of the engine (before and after each write, call and
reply), and of the choreography (before and after each delivery). Each case takes every 13th, beginning with another
one; TAKEOVER_EVERY=1 takes them all, in a minute. A point that fails is run alone with TAKEOVER_POINT=7.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable

import pytest

from mesh import virtual_time
from mesh.inline_database import InlineDatabase
from orchestrator.journal import SagaStatus
from orchestrator.tables import METADATA
from tests.unit.orchestrator.counted_shop import CountedShop
from tests.unit.orchestrator.crash_scenarios import order
from tests.unit.orchestrator.crash_verdict import check_order, check_stock
from tests.unit.orchestrator.engine_bench import FORWARD
from tests.unit.orchestrator.local_bus import LocalBus
from tests.unit.orchestrator.takeover_trial import Case, Plan, Side, Trial
from tests.unit.participant.participant_bench import lines, ship_to

CASES = {
    "completing": Case(order(), ends="COMPLETED"),
    "out of stock": Case(order(lines=lines(("sku-1", 11)))),
    "declined": Case(order(payment_token="tok_declined")),
    "no carrier": Case(order(ship_to=ship_to("AQ"))),
}
CANCELLED = {
    "cancelled before the fan-out": Case(order(), "call RecordOrder", ends=""),
    # Else it would be on its way to the pivot before anybody can hand the saga over.
    "cancelled by a slow call": Case(order(), "call RecordOrder", ends="", slow_s={"CancelOrder": 0.3}),
    "cancelled in the fan-out": Case(order(), "done AuthorizePayment", ends=""),
    "cancelled at the pivot": Case(order(), "call ConfirmOrder", ends=""),
    "cancelled behind the pivot": Case(order(), "reply ConfirmOrder", ends="COMPLETED"),
    "cancelled by the customer": Case(order(), "call BookShipment", by_customer=True, ends=""),
}
CANCELLED_BETWEEN_EVENTS = {
    "cancelled by the customer": Case(order(), "after StockReserved to orders", by_customer=True, ends=""),
    "cancelled by the customer, too late": Case(order(), "after PaymentCaptured to shipping", True, "COMPLETED"),
}
ALL = [*CASES.values(), *CANCELLED.values(), *CANCELLED_BETWEEN_EVENTS.values()]
ONLY = [int(point) for point in os.environ.get("TAKEOVER_POINT", "").split(",") if point]
EVERY = int(os.environ.get("TAKEOVER_EVERY", "13"))
FAILURES_MAX = 10


class Trials:
    """Runs trials one after the other, on the same databases."""

    def __init__(self) -> None:
        self._bus = LocalBus()
        self._shop = CountedShop(self._bus)
        self._bus.connect(self._shop.reactors())
        self._journal = InlineDatabase(METADATA)

    def run(self, case: Case, plan: Plan) -> Trial:
        """Runs one; raises what fails."""
        trial = Trial(self._shop, self._bus, self._journal, case, plan)
        virtual_time.run(trial.run)
        check(trial, self._bus)
        return trial

    def points(self, case: Case, **plan: object) -> int:
        """Lets the other style take over at one point after the other; returns how many there were."""
        failures: list[str] = []
        taken = 0
        for point in _points(case):
            try:
                trial = self.run(case, Plan(at=point, **plan))  # type: ignore[arg-type]
            except Exception as error:
                failures.append(f"at {point}: {type(error).__name__}: {error}")
                if len(failures) == FAILURES_MAX:
                    break
                continue
            if not trial.taken:
                break
            taken += 1
        assert not failures, "\n".join(failures)
        return taken


def _points(case: Case) -> Iterable[int]:
    return ONLY or itertools.count(ALL.index(case) % EVERY, EVERY)


def check(trial: Trial, bus: LocalBus) -> None:
    """Fails where an effect came twice or by halves, or where orchestrator and orders say different things."""
    effects = trial.books.effects
    assert len(set(effects)) == len(effects), f"done twice: {effects}"
    assert trial.books.unpublished == 0
    assert bus.dead_letters == []
    assert trial.journal.ended, f"{SagaStatus.Name(trial.journal.status)} {trial.journal.stalled_reason}"
    assert (trial.journal.owner, trial.journal.due_us) == (None, None)
    check_order(trial.books, trial.journal, FORWARD)
    check_stock(trial.books)
    ended = SagaStatus.Name(trial.journal.status).removeprefix("SAGA_STATUS_")
    assert trial.case.ends in ("", ended), f"it is {ended}"
    assert not trial.must_turn_back or ended == "COMPENSATED", "an acknowledged cancellation was forgotten"


@pytest.fixture(autouse=True)
def quick_sweeps() -> None:
    """Sweeps as seldom as in life: in virtual time nobody waits for them, and each is a transaction."""


@pytest.fixture(scope="module")
def trials() -> Trials:
    return Trials()


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("case", [*CASES, *CANCELLED])
def test_choreography_takes_over_at_any_point_from_an_orchestrator(trials: Trials, case: str, side: Side) -> None:
    assert trials.points({**CASES, **CANCELLED}[case], orchestrated=True, side=side) > 20 / EVERY


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("case", [*CASES, *CANCELLED_BETWEEN_EVENTS])
def test_the_orchestrator_takes_over_at_any_point_from_choreography(trials: Trials, case: str, side: Side) -> None:
    assert trials.points({**CASES, **CANCELLED_BETWEEN_EVENTS}[case], orchestrated=False, side=side) > 20 / EVERY


@pytest.mark.parametrize("back_after", [0, 6, 20])
@pytest.mark.parametrize("case", ["completing", "declined"])
def test_a_saga_may_be_handed_over_at_any_point_and_adopted_again(trials: Trials, case: str, back_after: int) -> None:
    assert trials.points(CASES[case], orchestrated=True, back_after=back_after) > 20 / EVERY
