"""Every message that the mesh builds by itself can be built in full, and belongs to one saga."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from mesh import identity
from mesh.contract import Contract, EventType, Method
from mesh.verification import prove

SHOP = Contract.of_packages("shop")
PARTICIPATING = [method for method in SHOP.methods.values() if method.participates]
REFUSING = [method for method in PARTICIPATING if method.refuses]


def named(values: list[Method] | list[EventType]) -> list[str]:
    return [value.full_name.rpartition(".")[2] for value in values]


@pytest.mark.parametrize("method", PARTICIPATING, ids=named(PARTICIPATING))
def test_a_participating_request_reaches_exactly_one_saga_id(method: Method) -> None:
    assert identity.saga_id_path(method.descriptor.input_type) == "order.order_id"


@pytest.mark.parametrize("event", SHOP.events.values(), ids=named([*SHOP.events.values()]))
def test_an_event_reaches_exactly_one_saga_id(event: EventType) -> None:
    assert identity.saga_id_path(event.descriptor) == "order.order_id"


@pytest.mark.parametrize("method", PARTICIPATING, ids=named(PARTICIPATING))
def test_an_event_keeps_the_rules_of_the_requests_that_it_fills(method: Method) -> None:
    """It is what is checked of a request that events make: what no call may say, no event may either."""
    for event in method.triggers:
        for field in method.descriptor.input_type.fields:
            given = SHOP.events[event].descriptor.fields_by_name.get(field.name)
            if given is not None:
                assert _rules(given) == _rules(field), f"{event}.{field.name}"


def _rules(field: FieldDescriptor) -> Message:
    return field.GetOptions().Extensions[validate_pb2.field]


@pytest.mark.parametrize("method", REFUSING, ids=named(REFUSING))
def test_an_event_of_refusal_says_why(method: Method) -> None:
    assert "refusal" in SHOP.events[method.refuses].descriptor.fields_by_name


def test_nothing_is_wrong_with_the_shops_contract() -> None:
    proof = prove(SHOP)
    assert proof.findings == []
    assert (proof.services, proof.methods, proof.events, proof.processes) == (
        5,
        len(PARTICIPATING),
        len(SHOP.events),
        2,  # of which one is a workflow's alone
    )


def test_the_shop_has_one_process_with_one_decision() -> None:
    assert [name for name, process in SHOP.processes.items() if process.methods] == ["fulfil-order"]
    process = SHOP.processes["fulfil-order"]
    assert [method.name for method in process.methods if method.pivot] == ["ConfirmOrder"]
    assert [method.name for method in process.methods if method.aborts] == ["CancelOrder"]
    assert {method.full_name for method in process.methods} == {
        method.full_name for method in PARTICIPATING if not method.observes
    }
