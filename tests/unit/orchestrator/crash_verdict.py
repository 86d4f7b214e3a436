"""What must hold once a trial is over, wherever its processes died: every effect once, or none and nothing left."""

from __future__ import annotations

from collections.abc import Sequence

from google.rpc import error_details_pb2

from orchestrator.journal import Journal, SagaStatus
from services.participant.ledger import State
from services.payments.tables import CAPTURED, OPEN, VOIDED
from services.shipping.tables import BOOKED, CANCELLED, DISPATCHED
from shop.orders.v1.order_pb2 import OrderStatus
from tests.unit.orchestrator.counted_shop import Books
from tests.unit.orchestrator.crash_trial import Trial
from tests.unit.orchestrator.engine_bench import BACK

COMPLETED, COMPENSATED = SagaStatus.SAGA_STATUS_COMPLETED, SagaStatus.SAGA_STATUS_COMPENSATED
UNDOES = {"ReserveStock": "ReleaseStock", "AuthorizePayment": "VoidPayment", "BookShipment": "CancelBooking"}


def check(trial: Trial) -> None:
    """Fails where something was done twice, or by halves, or was forgotten."""
    assert trial.saga_id in trial.journals, "an acknowledged saga is gone"
    effects = trial.books.effects
    assert len(set(effects)) == len(effects), f"done twice: {effects}"
    assert trial.books.unpublished == 0
    for journal in trial.journals.values():
        _check_saga(trial, journal)
    if trial.must_turn_back:
        assert trial.journals[trial.saga_id].status == COMPENSATED, "an acknowledged cancellation was forgotten"
    check_stock(trial.books)


def outline(trial: Trial) -> dict[str, object]:
    """What a trial came to: the same, wherever its processes died."""
    return {saga_id: _outline(trial, journal) for saga_id, journal in sorted(trial.journals.items())}


def _outline(trial: Trial, journal: Journal) -> tuple[str, str, dict[str, str]]:
    ledger = {} if trial.scenario.varies else _ledger(trial.books, journal.saga_id)
    if journal.status == COMPENSATED:  # whether a step came before its compensation is a matter of time
        ledger.update({step: "NO EFFECT" for step in UNDOES if step in ledger})
    reason = error_details_pb2.ErrorInfo.FromString(journal.refusal).reason
    return (SagaStatus.Name(journal.status), reason, ledger)


def _ledger(books: Books, saga_id: str) -> dict[str, str]:
    return {method: state for (one, method), state in books.ledgers.items() if one == saga_id}


def _check_saga(trial: Trial, journal: Journal) -> None:
    assert journal.ended, f"{journal.saga_id} is {SagaStatus.Name(journal.status)} {journal.stalled_reason}"
    assert (journal.owner, journal.due_us) == (None, None)
    assert bool(journal.refusal) == (journal.status == COMPENSATED), "a refusal and no way back, or none and one"
    ledger = _ledger(trial.books, journal.saga_id)
    effects = [method for saga_id, method in trial.books.effects if saga_id == journal.saga_id]
    done = {method for method, state in ledger.items() if state == State.DONE}
    assert set(effects) <= done, "an effect that no ledger knows"
    if trial.scenario.contract.processes[journal.process].pivot is None:
        _check_without_pivot(journal, effects)
        _check_money_and_parcel(trial.books, journal)
    else:
        check_order(trial.books, journal, trial.scenario.steps)


def check_order(books: Books, journal: Journal, steps: Sequence[str]) -> None:
    """Fails where an order that a pivot decides, and whose saga has ended, has not all of its effects, or some."""
    ledger = _ledger(books, journal.saga_id)
    effects = [method for saga_id, method in books.effects if saga_id == journal.saga_id]
    done = {method for method, state in ledger.items() if state == State.DONE}
    if journal.status == COMPLETED:
        assert sorted(effects) == sorted(steps)
        assert set(ledger) - set(effects) <= {"CancelOrder"}
        assert ledger.get("CancelOrder", State.REFUSED) == State.REFUSED
        assert books.orders[journal.saga_id] == OrderStatus.ORDER_STATUS_COMPLETED
        assert len(set(books.tracking.get(journal.saga_id, ()))) <= 1, "another number than the parcel's"
    else:
        assert set(BACK) <= done, "the way back is not complete"
        assert not done & {"ConfirmOrder", "CapturePayment", "DispatchShipment", "CompleteOrder"}
        assert books.orders[journal.saga_id] == OrderStatus.ORDER_STATUS_COMPENSATED
        _check_undone(effects)
        way_back = [method for method in effects if method in BACK]
        assert (way_back[0], way_back[-1]) == ("CancelOrder", "CloseOrder"), way_back
    _check_money_and_parcel(books, journal)


def _check_without_pivot(journal: Journal, effects: list[str]) -> None:
    if journal.status == COMPLETED:
        assert not set(effects) & set(UNDOES.values())
        return
    _check_undone(effects)
    forward = [method for method in effects if method in UNDOES]
    assert [method for method in effects if method not in UNDOES] == [UNDOES[method] for method in reversed(forward)]


def _check_undone(effects: list[str]) -> None:
    for step, compensation in UNDOES.items():
        assert (step in effects) == (compensation in effects), f"{step} and {compensation} are not even: {effects}"


def _check_money_and_parcel(books: Books, journal: Journal) -> None:
    with_pivot = "CompleteOrder" in _ledger(books, journal.saga_id)
    money, parcel = (CAPTURED, DISPATCHED) if with_pivot else (OPEN, BOOKED)
    if journal.status == COMPENSATED:
        money, parcel = VOIDED, CANCELLED
    assert books.money.get(journal.saga_id, money) == money
    assert books.parcels.get(journal.saga_id, parcel) == parcel


def check_stock(books: Books) -> None:
    """Fails where another sum is reserved than the orders hold."""
    held = sum(method == "ReserveStock" for _, method in books.effects)
    assert books.reserved == held - sum(method == "ReleaseStock" for _, method in books.effects)
