"""What the contract says will follow from what was seen of a saga."""

from __future__ import annotations

import pytest

from mesh.contract import Contract, Method
from orchestrator.expectations import describe, expectations, observers
from tests.unit.orchestrator.engine_bench import CONTRACT, PROCESS

SHOP = CONTRACT.processes[PROCESS]
PLACED = "shop.orders.v1.OrderPlaced"


def full(*names: str) -> set[str]:
    """Full names of events: `inventory.StockReserved`."""
    return {"shop.{}.v1.{}".format(*name.split(".")) for name in names}


def after(*names: str) -> tuple[set[str], set[str]]:
    """Which steps are triggered, and which will be, by their short names."""
    found = expectations(CONTRACT, SHOP, full(*names))
    return {e.method.name for e in found if e.triggered}, {e.method.name for e in found if not e.triggered}


def said(*names: str) -> list[str]:
    """What is waited for."""
    return describe(CONTRACT, expectations(CONTRACT, SHOP, full(*names)))


HELD = ("inventory.StockReserved", "payments.PaymentAuthorized", "shipping.ShipmentBooked")
LATER = {"CapturePayment", "DispatchShipment", "CompleteOrder"}
WAY_BACK = {"ReleaseStock", "VoidPayment", "CancelBooking"}


def test_at_the_start_the_first_steps_are_triggered_and_the_way_forward_is_planned() -> None:
    first = {"RecordOrder", "ReserveStock", "AuthorizePayment", "BookShipment"}
    assert after() == (first, {"ConfirmOrder", *LATER})


def test_a_join_waits_for_what_has_not_come_and_names_its_source() -> None:
    assert said(HELD[0], HELD[2]) == [
        "payments.AuthorizePayment has not answered OrderPlaced",
        "orders.ConfirmOrder waits for PaymentAuthorized from payments.AuthorizePayment",
    ]


def test_a_join_that_is_complete_waits_for_nobody_else() -> None:
    assert after(*HELD) == ({"RecordOrder", "ConfirmOrder"}, LATER)
    assert said(*HELD) == ["orders.ConfirmOrder has not answered StockReserved, PaymentAuthorized, ShipmentBooked"]


def test_after_a_refusal_the_way_back_is_planned_and_the_pivot_is_not() -> None:
    triggered, planned = after(HELD[0], "payments.PaymentDeclined")
    assert triggered == {"RecordOrder", "BookShipment", "CancelOrder"}
    assert planned == {*WAY_BACK, "CloseOrder"}


def test_once_cancelled_nothing_of_the_way_forward_is_waited_for() -> None:
    assert after(HELD[0], "orders.OrderCancelled") == ({"RecordOrder", *WAY_BACK}, {"CloseOrder"})


def test_once_confirmed_nobody_cancels() -> None:
    assert after(*HELD, "inventory.StockRefused", "orders.OrderConfirmed") == (
        {"RecordOrder", "CapturePayment"},
        {"DispatchShipment", "CompleteOrder"},
    )


@pytest.mark.parametrize("end", ["orders.OrderCompleted", "orders.OrderCompensated"])
def test_an_ended_saga_waits_for_nobody_and_what_emits_nothing_is_not_known_to_be_done(end: str) -> None:
    assert after(end) == ({"RecordOrder"}, set())
    assert said(end) == []


def test_observers_are_known_by_the_events_that_triggered_them() -> None:
    assert [m.name for m in observers(CONTRACT, full("orders.OrderCompleted"))] == ["NotifyCustomer"]
    assert observers(CONTRACT, full("orders.OrderConfirmed")) == []


def test_on_every_path_what_is_triggered_leads_to_an_end() -> None:
    """All that the contract lets happen: each step that is triggered succeeds, or refuses; the pivot decides once."""
    ends: set[str] = set()
    met: set[frozenset[str]] = set()
    waiting = [frozenset({PLACED})]
    while waiting:
        seen = waiting.pop()
        if seen in met:
            continue
        met.add(seen)
        if over := {name for name in seen if CONTRACT.events[name].outcome}:
            ends |= over
            continue
        answers = [answer for m in triggered(CONTRACT, seen) for answer in answers_of(m)]
        assert answers, f"nothing follows after {sorted(seen)}"
        waiting += [seen | {answer} for answer in answers]
    assert ends == full("orders.OrderCompleted", "orders.OrderCompensated")
    assert len(met) > 50


def triggered(contract: Contract, seen: frozenset[str]) -> list[Method]:
    return [e.method for e in expectations(contract, SHOP, seen) if e.triggered and e.method.emits]


def answers_of(method: Method) -> list[str]:
    """The two sides of the pivot refuse only where the other one has decided, and then they are not waited for."""
    may_refuse = method.refuses and not (method.pivot or method.aborts)
    return [method.emits, method.refuses] if may_refuse else [method.emits]
