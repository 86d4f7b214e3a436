"""The fakes' ledger: the rules of a participant hold, whatever functions stand behind it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.rpc import status_pb2

from mesh import errors
from mesh.contract import Contract
from mesh.errors import Invalid, Refused, StepCompensated, StepMismatch
from orchestrator.testing.fake_participants import FakeParticipants, WrongFake
from shop.inventory.v1.inventory_pb2 import ReserveStockResponse
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order

CONTRACT = Contract.of_packages("shop")


@pytest.fixture
def participants() -> FakeParticipants:
    return FakeParticipants(CONTRACT)


def perform(participants: FakeParticipants, name: str, order: Order, **fields: Any) -> Message:
    method = participants.method(name)
    return participants.perform(method, method.request_class(order=order, **fields).SerializeToString())


def reason(answer: Message) -> str:
    assert isinstance(answer, status_pb2.Status), answer
    info = errors.error_info_of(answer)
    return info.reason if info else ""


def counting(participants: FakeParticipants, name: str) -> list[Message]:
    """Lets a method answer emptily, and returns what its function is given."""
    method, given = participants.method(name), []

    def fake(request: Message) -> Message:
        given.append(request)
        return method.response_class()

    participants.fake(method, fake)
    return given


def test_a_method_without_a_function_answers_emptily(participants: FakeParticipants) -> None:
    assert perform(participants, "ReserveStock", an_order()) == ReserveStockResponse()


def test_the_same_step_has_the_same_answer(participants: FakeParticipants) -> None:
    answers = iter("ab")
    reserve = participants.method("ReserveStock")
    participants.fake(reserve, lambda _: ReserveStockResponse(reservation_id=next(answers)))
    order = an_order()
    assert perform(participants, "ReserveStock", order) == perform(participants, "ReserveStock", order)
    assert perform(participants, "ReserveStock", an_order()) == ReserveStockResponse(reservation_id="b")


def test_a_refusal_is_recorded_like_a_success(participants: FakeParticipants) -> None:
    reserve, order = participants.method("ReserveStock"), an_order()
    participants.refuse(reserve, Refused("OUT_OF_STOCK", sku="sku-1"))
    first = perform(participants, "ReserveStock", order)
    participants.mend(reserve)
    assert perform(participants, "ReserveStock", order) == first
    assert reason(first) == "OUT_OF_STOCK"


def test_the_same_step_with_another_request_is_a_mismatch(participants: FakeParticipants) -> None:
    order = an_order()
    perform(participants, "ReserveStock", order)
    order.customer_id = "another"
    with pytest.raises(StepMismatch):
        perform(participants, "ReserveStock", order)


def test_a_compensation_reverses_what_was_done_once(participants: FakeParticipants) -> None:
    released, order = counting(participants, "ReleaseStock"), an_order()
    perform(participants, "ReserveStock", order)
    for _ in range(2):
        perform(participants, "ReleaseStock", order)
    assert len(released) == 1


def test_a_compensation_that_comes_before_its_step_buries_it(participants: FakeParticipants) -> None:
    released, order = counting(participants, "ReleaseStock"), an_order()
    perform(participants, "ReleaseStock", order)
    assert released == []
    with pytest.raises(StepCompensated):
        perform(participants, "ReserveStock", order)


def test_a_refused_step_has_nothing_to_reverse(participants: FakeParticipants) -> None:
    released, order = counting(participants, "ReleaseStock"), an_order()
    participants.refuse(participants.method("ReserveStock"), Refused("OUT_OF_STOCK"))
    perform(participants, "ReserveStock", order)
    perform(participants, "ReleaseStock", order)
    assert released == []


def test_a_compensation_that_says_something_else_than_its_step_is_a_mismatch(participants: FakeParticipants) -> None:
    order = an_order()
    perform(participants, "ReserveStock", order)
    order.customer_id = "another"
    with pytest.raises(StepMismatch, match="must say what its step said"):
        perform(participants, "ReleaseStock", order)


@pytest.mark.parametrize(
    ("first", "second", "refusal"),
    [("ConfirmOrder", "CancelOrder", "ALREADY_CONFIRMED"), ("CancelOrder", "ConfirmOrder", "ALREADY_CANCELLED")],
)
def test_pivot_and_abort_decide_once(participants: FakeParticipants, first: str, second: str, refusal: str) -> None:
    order = an_order()
    perform(participants, first, order)
    assert reason(perform(participants, second, order)) == refusal
    assert not isinstance(perform(participants, first, order), status_pb2.Status)


def test_a_pivot_that_refused_has_decided_nothing(participants: FakeParticipants) -> None:
    order = an_order()
    participants.refuse(participants.method("ConfirmOrder"), Refused("TOO_LATE"))
    perform(participants, "ConfirmOrder", order)
    assert not isinstance(perform(participants, "CancelOrder", order), status_pb2.Status)


def test_the_rules_of_the_contract_hold(participants: FakeParticipants) -> None:
    with pytest.raises(Invalid):
        perform(participants, "ReserveStock", Order())


def test_what_no_participant_can_do_no_fake_does(participants: FakeParticipants) -> None:
    capture = participants.method("CapturePayment")
    with pytest.raises(WrongFake, match="cannot refuse"):
        participants.refuse(capture, Refused("NO_MONEY"))

    def refuse(_: object) -> Message:
        raise Refused("NO_MONEY")

    participants.fake(capture, refuse)
    with pytest.raises(WrongFake, match="cannot refuse"):
        perform(participants, "CapturePayment", an_order())
    participants.fake(capture, lambda _: ReserveStockResponse())
    with pytest.raises(WrongFake, match=r"not a shop\.payments\.v1\.CapturePaymentResponse"):
        perform(participants, "CapturePayment", an_order())


@pytest.mark.parametrize(
    "name", ["ReserveStock", "InventoryService.ReserveStock", "shop.inventory.v1.InventoryService.ReserveStock"]
)
def test_a_method_is_named_by_the_end_of_its_full_name(participants: FakeParticipants, name: str) -> None:
    assert participants.method(name).full_name == "shop.inventory.v1.InventoryService.ReserveStock"


@pytest.mark.parametrize("name", ["Stock", "reserveStock", "OrdersService.ReserveStock", ""])
def test_a_name_that_is_none_is_told_what_there_is(participants: FakeParticipants, name: str) -> None:
    with pytest.raises(LookupError, match=r"there are .*ReserveStock"):
        participants.method(name)
